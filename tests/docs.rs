//! The tables in `docs/` name tests and reasons: none of them may be made up, and none left out.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use tautan::{
    events::{EndReason, PairRefusal},
    http::Code,
};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(folder: &Path, into: &mut String) {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    for entry in entries.collect::<BTreeSet<PathBuf>>() {
        if entry.is_dir() && !entry.ends_with("node_modules") {
            read(&entry, into);
        } else if entry.extension().is_some_and(|extension| extension == "rs") {
            into.push_str(&fs::read_to_string(&entry).unwrap());
        }
    }
}

/// What stands in backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.lines().flat_map(|line| line.split('`').skip(1).step_by(2))
}

#[test]
fn every_test_that_the_table_of_endings_names_exists() {
    let table = fs::read_to_string(root().join("docs/endings.md")).unwrap();
    let mut code = String::new();
    read(&root().join("tests"), &mut code);
    read(&root().join("src"), &mut code);
    let names = quoted(&table).filter_map(|word| {
        let name = word.rsplit("::").next().unwrap();
        (name.matches('_').count() >= 3).then_some((word, name))
    });
    let mut named = 0;
    for (word, name) in names {
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
fn every_reason_stands_in_the_table_of_endings() {
    let table = fs::read_to_string(root().join("docs/endings.md")).unwrap();
    let told: BTreeSet<&str> = quoted(&table).collect();
    let reasons = EndReason::ALL.iter().map(|reason| reason.as_str());
    for reason in reasons.chain(PairRefusal::ALL.iter().map(|refusal| refusal.as_str())) {
        assert!(told.contains(reason), "{reason} is missing");
    }
}

#[test]
fn every_problem_stands_in_the_readme_with_its_status() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let (_, errors) = readme.split_once("### Errors").unwrap();
    let (table, _) = errors.split_once("\n## ").unwrap();
    let row = |line: &str| {
        let (code, rest) = line.strip_prefix("| `")?.split_once("` | ")?;
        let (status, meaning) = rest.split_once(" | ")?;
        Some((code.to_owned(), status.to_owned(), !meaning.trim_end_matches('|').trim().is_empty()))
    };
    let told: BTreeSet<_> = table.lines().filter_map(row).collect();
    let all = Code::ALL.iter().map(|code| (code.as_str().to_owned(), code.status().as_str().to_owned(), true));
    assert_eq!(told, all.collect());
}
