//! Blocks of commands that are marked `run` are run, and print what the document says. `…` stands for anything.

use std::{collections::BTreeSet, path::Path, process::Command};

use tautan_test_support::FencedBlock;

use crate::{documents, root};

/// Blocks of commands that stand in no document of `process walkthrough` and are not marked `run`: the document, the heading
/// above them, and who runs them, or why no test does.
const OTHERS: [(&str, &str, &str); 11] = [
    ("README.md", "Try it", "`process demo` runs the demo; the other command links a real phone"),
    ("README.md", "With curl", "`process walkthrough::readme_links_an_account_with_curl`"),
    ("README.md", "In your product", "names of example hosts; `process deploy` starts it with its own"),
    ("docs/admin.md", "The token", "`process revocations` makes the same request"),
    ("docs/deployment.md", "Before the first start", "names of example hosts; the walk has the same commands"),
    ("docs/deployment.md", "Docker", "needs Docker, which is not there where the tests run"),
    ("docs/measurements.md", "Measure your own", "takes an hour: `make bench`"),
    ("docs/redis.md", "The user", "`process redis` gives a server this rule"),
    ("CONTRIBUTING.md", "Run one test", "runs tests"),
    ("CONTRIBUTING.md", "Random inputs", "runs tests: `make long`"),
    ("docs/operations.md", "Two instances on one Redis behind Caddy", "`process walkthrough` counts it"),
];
/// Their blocks `sh` are run, and those marked `sh by-hand` counted, by `process walkthrough`.
const WALKED: [&str; 3] = ["docs/operations.md", "docs/maintenance.md", "docs/storage.md"];

/// One block: its commands as one script, and what they are said to print.
struct Block {
    document: String,
    script: String,
    printed: String,
}

fn blocks(document: &str, text: &str) -> Vec<Block> {
    let marked = text.split("\n```console run\n").skip(1).filter_map(|rest| Some(rest.split_once("\n```")?.0));
    let read = |block: &str| {
        let (mut script, mut printed, mut goes_on) = (String::new(), String::new(), false);
        for line in block.lines() {
            let command = line.strip_prefix("$ ").or_else(|| line.strip_prefix("  ").filter(|_| goes_on));
            goes_on = command.is_some_and(|command| command.ends_with('\\'));
            let to = if command.is_some() { &mut script } else { &mut printed };
            to.extend([command.unwrap_or(line), "\n"]);
        }
        Block { document: document.to_owned(), script, printed }
    };
    marked.map(read).collect()
}

/// Whether the text is the pattern, in which `…` stands for anything.
fn fits(text: &str, pattern: &str) -> bool {
    let mut parts = pattern.split('…');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

#[test]
fn every_block_marked_run_runs_and_prints_what_it_says() {
    let blocks: Vec<Block> = documents().iter().flat_map(|(path, text)| blocks(path, text)).collect();
    assert!(blocks.len() >= 3, "the blocks were read: {}", blocks.len());
    let program = Path::new(env!("CARGO_BIN_EXE_tautan")).parent().unwrap();
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
    for Block { document, script, printed } in blocks {
        let mut command = Command::new("bash");
        command.args(["-eu", "-o", "pipefail", "-c", &script]).current_dir(root()).env("PATH", &path);
        // Under `make test` another make would say which folder it enters.
        ["MAKEFLAGS", "MAKELEVEL", "MFLAGS"].iter().for_each(|name| _ = command.env_remove(name));
        let output = command.output().unwrap();
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{document}: {script}\nfails: {err}");
        assert!(fits(&out, &printed), "{document}: {script}\nprints {out:?}, and the document says {printed:?}");
    }
}

#[test]
fn block_of_commands_is_run_or_listed() {
    let (mut found, mut run) = (BTreeSet::new(), 0);
    for (path, text) in documents() {
        for block in FencedBlock::all(&path, &text) {
            let words: Vec<&str> = block.info.split(' ').collect();
            match words.as_slice() {
                ["console", "run"] => run += 1,
                ["sh"] if WALKED.contains(&path.as_str()) => run += 1,
                ["console" | "sh" | "bash" | "shell" | "", ..] => drop(found.insert((path.clone(), block.heading))),
                _ => {}
            }
        }
    }
    let listed: BTreeSet<_> =
        OTHERS.iter().map(|(path, heading, _)| ((*path).to_owned(), (*heading).to_owned())).collect();
    assert!(run > 25, "the blocks were read: {run}");
    assert_eq!(found, listed, "on the left what the documents have, on the right what is listed here");
}

#[test]
fn pattern_matches_only_the_values_it_describes() {
    assert!(fits("ab", "ab") && fits("a-b", "a…b") && fits("whsec_x=\n", "whsec_…\n") && fits("", "…"));
    assert!(!fits("ab", "a") && !fits("xa", "a…") && !fits("a-c", "a…b") && !fits("ac", "a…b…c"));
}
