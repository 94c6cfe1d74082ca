//! Links lead somewhere, and files and terms that a document names exist.

use std::{collections::BTreeSet, fs, path::Path};

use crate::{code, documents, prose, quoted, read, root};

/// Folders whose files are named in documents by their path from the root.
const FOLDERS: [&str; 8] = ["src/", "tests/", "docs/", "ci/", "deploy/", "examples/", "static/", ".github/"];

/// The anchor that GitHub gives a heading.
fn anchor(heading: &str) -> String {
    let kept = |c: &char| c.is_alphanumeric() || [' ', '-', '_'].contains(c);
    let text: String = heading.chars().filter(kept).collect();
    text.to_lowercase().replace(' ', "-")
}

fn anchors(text: &str) -> BTreeSet<String> {
    let headings = prose(text);
    let headings = headings
        .lines()
        .filter_map(|line| line.trim_start_matches('#').strip_prefix(' ').filter(|_| line.starts_with('#')));
    headings.map(anchor).collect()
}

/// The targets of Markdown's links and pictures.
fn targets(text: &str) -> Vec<String> {
    let text = prose(text);
    let found = text.split("](").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0.to_owned()));
    found.collect()
}

#[test]
fn every_relative_link_leads_somewhere() {
    let mut followed = 0;
    for (path, text) in documents() {
        let folder = root().join(&path).parent().unwrap().to_owned();
        for target in targets(&text).iter().filter(|target| !target.contains("://")) {
            followed += 1;
            let (file, place) = target.split_once('#').unwrap_or((target, ""));
            let to = if file.is_empty() { root().join(&path) } else { folder.join(file) };
            assert!(to.exists(), "{path} links to {target}, and there is no such file");
            assert!(to.canonicalize().unwrap().starts_with(root()), "{path} links out of the repository: {target}");
            if !place.is_empty() {
                let text = fs::read_to_string(&to).unwrap();
                assert!(anchors(&text).contains(place), "{path} links to {target}, and there is no such heading");
            }
        }
    }
    assert!(followed > 60, "links were read: {followed}");
}

#[test]
fn every_document_is_linked_from_the_readme() {
    let readme = read("README.md");
    let linked: BTreeSet<String> = targets(&readme).into_iter().collect();
    for (path, _) in documents().into_iter().filter(|(path, _)| path != "README.md" && !path.starts_with(".github/")) {
        assert!(linked.contains(&path), "the README does not link to {path}");
    }
}

#[test]
fn every_file_that_a_document_names_exists() {
    let mut named = 0;
    for (path, text) in documents() {
        let text = prose(&text);
        let words = quoted(&text).filter(|word| FOLDERS.iter().any(|folder| word.starts_with(folder)));
        for word in words {
            named += 1;
            let file = word.trim_end_matches("**").trim_end_matches('/');
            assert!(root().join(Path::new(file)).exists(), "{path} names {word}, and there is no such file");
        }
    }
    assert!(named > 100, "files were read: {named}");
}

/// A type that was renamed stays in no document.
#[test]
fn every_type_that_glossary_and_architecture_name_exists() {
    let code = code(&["src", "tests/support", "tests/simulator", "tests/tautan-sim", "examples"]);
    let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
    let words: BTreeSet<&str> = lines.flat_map(|line| line.split(|c: char| !c.is_alphanumeric() && c != '_')).collect();
    let is_type = |word: &str| {
        word.starts_with(|c: char| c.is_ascii_uppercase())
            && word.contains(|c: char| c.is_ascii_lowercase())
            && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b':')
    };
    let mut named = 0;
    for path in ["docs/glossary.md", "docs/architecture.md"] {
        let text = prose(&read(path));
        for word in quoted(&text).filter(|word| is_type(word)) {
            named += 1;
            // Headers of HTTP are no types of ours.
            let parts = word.split("::").filter(|part| !["Authorization"].contains(part));
            parts.for_each(|part| assert!(words.contains(part), "{path} names {word}, and there is no {part}"));
        }
    }
    assert!(named > 60, "types were read: {named}");
}
