//! The documents say what the code does: each fact of a closed list stands in its document and no other does, links and
//! names lead somewhere, and commands run.

mod commands;
mod deploy;
mod endings;
mod facts;
mod limits;
mod metrics;
mod names;
mod promises;
mod redis;
mod scaling;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every file below a folder with this extension, in order.
fn files(folder: &Path, extension: &str, into: &mut Vec<PathBuf>) {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    for entry in entries.collect::<BTreeSet<PathBuf>>() {
        if entry.is_dir() && !entry.ends_with("node_modules") {
            files(&entry, extension, into);
        } else if entry.extension().is_some_and(|found| found == extension) {
            into.push(entry);
        }
    }
}

/// All Rust code of these folders as one text.
fn code(folders: &[&str]) -> String {
    let mut paths = Vec::new();
    folders.iter().for_each(|folder| files(&root().join(folder), "rs", &mut paths));
    paths.iter().map(|path| fs::read_to_string(path).unwrap() + "\n").collect()
}

/// Every document, by its path from the root, with its text.
fn documents() -> Vec<(String, String)> {
    let mut paths = Vec::new();
    files(&root().join("docs"), "md", &mut paths);
    files(&root().join(".github"), "md", &mut paths);
    let here = fs::read_dir(root()).unwrap().map(|entry| entry.unwrap().path());
    paths.extend(here.filter(|path| path.extension().is_some_and(|extension| extension == "md")));
    assert!(paths.len() > 14, "the documents were found: {paths:?}");
    let named = |path: PathBuf| {
        let name = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
        let text = fs::read_to_string(path).unwrap();
        (name, text)
    };
    paths.into_iter().map(named).collect()
}

/// The text without its blocks of code.
fn prose(text: &str) -> String {
    let mut inside = false;
    let lines = text.lines().filter(|line| {
        let fence = line.starts_with("```");
        inside ^= fence;
        !fence && !inside
    });
    lines.flat_map(|line| [line, "\n"]).collect()
}

/// What stands in backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.lines().flat_map(|line| line.split('`').skip(1).step_by(2))
}

/// From a heading to the next one of the same or a higher level.
fn section<'t>(text: &'t str, heading: &str) -> &'t str {
    let level = heading.find(' ').expect("a heading has a space");
    let (_, rest) = text.split_once(&format!("\n{heading}\n")).unwrap_or_else(|| panic!("there is no {heading}"));
    let mut length = 0;
    for line in rest.split_inclusive('\n') {
        let hashes = line.bytes().take_while(|byte| *byte == b'#').count();
        if (1..=level).contains(&hashes) {
            break;
        }
        length += line.len();
    }
    &rest[..length]
}

/// The cells of each row of the tables in a text, without the heads.
fn rows(text: &str) -> Vec<Vec<String>> {
    let lines: Vec<&str> = text.lines().collect();
    let is_head = |at: usize| lines.get(at + 1).is_some_and(|next| next.starts_with("|---"));
    let body = lines
        .iter()
        .enumerate()
        .filter(|(at, line)| line.starts_with('|') && !line.starts_with("|---") && !is_head(*at));
    let cells = |line: &str| {
        let inner = line.trim_start_matches('|').trim_end_matches('|');
        inner.split(" | ").map(|cell| cell.trim().to_owned()).collect()
    };
    body.map(|(_, line)| cells(line)).collect()
}

/// Compares a list of the code with the one of a document, both ways.
fn assert_same(document: &str, in_code: &BTreeSet<String>, in_document: &BTreeSet<String>) {
    let missing: Vec<_> = in_code.difference(in_document).collect();
    let unknown: Vec<_> = in_document.difference(in_code).collect();
    assert!(!in_code.is_empty(), "the code was read");
    assert!(missing.is_empty(), "{document} lacks {missing:?}");
    assert!(unknown.is_empty(), "{document} names {unknown:?}, which the code does not have");
}
