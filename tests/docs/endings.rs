//! The tables of endings name tests and reasons: none of them may be made up, and none left out.

use std::{collections::BTreeSet, fs};

use tautan::events::{ConnectingReason, EndReason, PairRefusal};

use crate::{code, quoted, read, root, rows, section};

/// Words in backticks that are names of tests, with the last part of each.
fn tests(text: &str) -> Vec<(&str, &str)> {
    let name = |word| <str>::rsplit(word, "::").next().unwrap_or(word);
    let is_test = |name: &str| {
        name.matches('_').count() >= 3
            && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
    };
    quoted(text).map(|word| (word, name(word))).filter(|(_, name)| is_test(name)).collect()
}

#[test]
fn every_test_that_the_table_of_endings_names_exists() {
    let table = read("docs/endings.md");
    let code = code(&["tests", "src"]);
    let mut named = 0;
    for (word, name) in tests(&table) {
        named += 1;
        assert!(code.contains(&format!("fn {name}()")), "there is no test {word}");
        if let Some((file, _)) = word.split_once("::") {
            let file = fs::read_to_string(root().join(format!("tests/process/{file}.rs"))).unwrap();
            assert!(file.contains(&format!("fn {name}()")), "{word} is elsewhere");
        }
    }
    assert!(named > 40, "the table was read: {named}");
}

#[test]
fn every_test_that_the_security_document_names_exists() {
    let document = read("SECURITY.md");
    let code = code(&["tests", "src"]);
    let named = tests(section(&document, "## Attacks"));
    assert!(named.len() > 30, "the table was read: {}", named.len());
    for (word, name) in named {
        assert!(code.contains(&format!("fn {name}()")), "there is no test {word}");
    }
}

#[test]
fn every_reason_stands_in_the_table_of_endings() {
    let table = read("docs/endings.md");
    let received: BTreeSet<&str> = quoted(&table).collect();
    let reasons = EndReason::ALL.iter().map(|reason| reason.as_str());
    for reason in reasons.chain(PairRefusal::ALL.iter().map(|refusal| refusal.as_str())) {
        assert!(received.contains(reason), "{reason} is missing");
    }
}

#[test]
fn api_document_lists_every_reason_of_each_status() {
    let document = read("docs/api.md");
    let text = section(&document, "## Reasons");
    let mut status = String::new();
    let mut listed = BTreeSet::new();
    for row in rows(text) {
        if !row[0].is_empty() {
            status.clone_from(&row[0]);
        }
        if row[1] != "–" {
            listed.insert(format!("{status} {}", row[1]));
        }
    }
    let ends = EndReason::ALL.iter().map(|reason| format!("`disconnected` `{}`", reason.as_str()));
    let connecting = ConnectingReason::ALL.iter().map(|reason| format!("`connecting` `{}`", reason.as_str()));
    crate::assert_same("docs/api.md", &ends.chain(connecting).collect(), &listed);
    let received: BTreeSet<&str> = quoted(text).collect();
    for refusal in PairRefusal::ALL {
        assert!(received.contains(refusal.as_str()), "docs/api.md lacks {}", refusal.as_str());
    }
}
