//! Closed lists of the code: variables, problems, events, endpoints, and what the element offers.

use std::{collections::BTreeSet, process::Command};

use tautan::http::Code;

use crate::{assert_same, documents, quoted, read, rows, section};

/// Variables that Kubernetes injects. The documents name them as examples of variables that are ignored.
const INJECTED: [&str; 2] = ["TAUTAN_PORT", "TAUTAN_REDIS_SERVICE_HOST"];
/// The beginning of a name, in a sentence about all of them.
const PREFIXES: [&str; 2] = ["TAUTAN_", "JWT_"];

/// What stands between the first two of these, each time.
fn between<'t>(text: &'t str, before: &'t str, after: &'t str) -> impl Iterator<Item = &'t str> {
    text.split(before).skip(1).filter_map(move |rest| Some(rest.split_once(after)?.0))
}

fn literals(line: &str) -> impl Iterator<Item = &str> {
    line.split('"').skip(1).step_by(2)
}

fn set(names: impl IntoIterator<Item = impl Into<String>>) -> BTreeSet<String> {
    names.into_iter().map(Into::into).collect()
}

/// Each variable with its default as `tautan --help` prints them; `–`: it has none.
fn variables() -> Vec<(String, String)> {
    let help = Command::new(env!("CARGO_BIN_EXE_tautan")).arg("--help").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let listed = help.lines().filter_map(|line| {
        let name = line.strip_prefix("  ")?.split(' ').next().filter(|name| !name.is_empty())?;
        let default =
            between(line, "[default: ", "]").next().map_or("–".to_owned(), |default| format!("`{default}`"));
        name.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_').then(|| (name.to_owned(), default))
    });
    listed.collect()
}

#[test]
fn configuration_lists_every_variable_with_its_default() {
    let document = read("docs/configuration.md");
    let listed = rows(section(&document, "## Variables")).into_iter();
    let listed = listed.map(|row| (row[0].trim_matches('`').to_owned(), row[1].clone(), row[2].clone()));
    let listed: Vec<_> = listed.collect();
    let known = variables();
    assert_same(
        "docs/configuration.md",
        &set(known.iter().map(|(name, default)| format!("{name} {default}"))),
        &set(listed.iter().map(|(name, default, _)| format!("{name} {default}"))),
    );
    assert!(listed.iter().all(|(_, _, meaning)| !meaning.is_empty()));
}

#[test]
fn documents_name_no_variable_that_the_program_refuses() {
    let known = set(variables().into_iter().map(|(name, _)| name));
    for (path, text) in documents() {
        let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        for word in words.filter(|word| PREFIXES.iter().any(|prefix| word.starts_with(prefix))) {
            let name = word.strip_suffix("_FILE").unwrap_or(word);
            let is_example = INJECTED.contains(&name) || PREFIXES.contains(&name);
            let is_known = known.contains(name) || crate::deploy::OTHERS.contains(&name);
            assert!(is_known || is_example, "{path} names {word}");
        }
    }
}

#[test]
fn every_problem_stands_in_the_api_document_with_its_status() {
    let document = read("docs/api.md");
    let listed = rows(section(&document, "## Errors")).into_iter();
    let listed = listed.map(|row| format!("{} {} {}", row[0].trim_matches('`'), row[1], !row[2].is_empty()));
    let all = Code::ALL.iter().map(|code| format!("{} {} true", code.as_str(), code.status().as_str()));
    assert_same("docs/api.md", &all.collect(), &listed.collect());
}

#[test]
fn api_document_lists_every_event() {
    let source = read("src/http/events/frame.rs");
    let names = source.split_once("fn as_str").unwrap().1.split_once("\n}").unwrap().0;
    let document = read("docs/api.md");
    let listed = rows(section(&document, "## Events")).into_iter().map(|row| row[0].trim_matches('`').to_owned());
    assert_same("docs/api.md", &set(between(names, "=> \"", "\"")), &listed.collect());
}

#[test]
fn api_document_lists_every_endpoint_with_its_methods() {
    let source = read("src/http/routes.rs");
    let value = |name: &str| {
        let line = source.lines().find(|line| line.starts_with(&format!("const {name}: &[&str]")));
        set(literals(line.unwrap_or_else(|| panic!("there is no {name}"))))
    };
    let page = read("src/http/page.rs");
    let page = between(&page, "pub const PATH: &str = \"", "\"").next().unwrap();
    let mut known = BTreeSet::new();
    for endpoint in between(&source, ": Endpoint = Endpoint { path: ", " };") {
        let (path, methods) = endpoint.split_once(", methods: ").unwrap();
        let path = if path == "page::PATH" { page } else { path.trim_matches('"') };
        let methods = if methods.starts_with('&') { set(literals(methods)) } else { value(methods) };
        // Wherever GET is answered: the document says so in one sentence.
        let methods = methods.into_iter().filter(|method| method != "HEAD");
        known.extend(methods.map(|method| format!("{method} {}", if path == "/static/" { "/static/…" } else { path })));
    }
    let document = read("docs/api.md");
    let document = section(&document, "## Endpoints");
    let is_endpoint = |word: &&str| word.split_once(' ').is_some_and(|(_, path)| path.starts_with('/'));
    assert_same("docs/api.md", &known, &set(quoted(document).filter(is_endpoint)));
}

#[test]
fn element_document_lists_attributes_events_and_properties() {
    let (script, style) = (read("static/whatsapp-link.js"), read("static/whatsapp-link.css"));
    let document = read("docs/element.md");
    let listed = |heading| {
        let names = rows(section(&document, heading)).into_iter().map(|row| row[0].clone());
        names.flat_map(|names| quoted(&names).map(str::to_owned).collect::<Vec<_>>()).collect::<BTreeSet<_>>()
    };
    let attributes = between(&script, "`<whatsapp-link ", ">`").next().unwrap();
    assert_same("docs/element.md", &set(attributes.split(' ')), &listed("## Attributes"));
    // The card's own events, and each status by its name.
    let statuses = tautan_statuses().map(|status| status.replace('_', "-"));
    let emitted = between(&script, "#emit('", "'").map(str::to_owned).chain(statuses);
    assert_same("docs/element.md", &emitted.collect(), &listed("## Events"));
    let properties = between(&style, "var(--whatsapp-link-", ",").map(|name| format!("--whatsapp-link-{name}"));
    let looks = set(quoted(section(&document, "## Looks")).filter(|word| word.starts_with("--")));
    assert_same("docs/element.md", &properties.collect(), &looks);
}

fn tautan_statuses() -> impl Iterator<Item = String> {
    let api = read("docs/api.md");
    let line = api.lines().find(|line| line.starts_with("- `status` is one of ")).unwrap().to_owned();
    quoted(&line).skip(1).take(4).map(str::to_owned).collect::<Vec<_>>().into_iter()
}
