//! The document of Redis lists every key and field that the code writes, and no other.

use std::{collections::BTreeSet, fs};

use crate::{assert_same, files, quoted, read, root, rows, section};

/// `{{{tenant}}}:code:{id}` → `{TENANT}:code:ID`.
fn spelled(literal: &str, is_format: bool) -> String {
    if !is_format {
        return literal.to_owned();
    }
    let (mut out, mut name) = (String::new(), None::<String>);
    let mut rest = literal;
    while let Some(c) = rest.chars().next() {
        let double = rest.starts_with("{{") || rest.starts_with("}}");
        match (&mut name, c) {
            (None, '{' | '}') if double => out.push(c),
            (None, '{') => name = Some(String::new()),
            (Some(inside), '}') => {
                out.push_str(&inside.to_uppercase());
                name = None;
            }
            (Some(inside), c) => inside.push(c),
            (None, c) => out.push(c),
        }
        rest = &rest[if name.is_none() && double { 2 } else { c.len_utf8() }..];
    }
    out
}

/// The names that `schema.rs` makes, patterns and beginnings of names aside.
fn keys() -> BTreeSet<String> {
    let source = read("src/store/redis/schema.rs");
    let source = source.split("#[cfg(test)]").next().unwrap();
    let mut keys = BTreeSet::new();
    for line in source.lines().map(str::trim).filter(|line| !line.starts_with("//") && !line.contains("{rest}")) {
        let Some(literal) = line.split('"').nth(1) else { continue };
        let name = spelled(literal, line.contains("format!"));
        if line.starts_with("cell(") && !literal.contains('*') {
            keys.insert(format!("tautan:{{0}}:{name}"));
        } else if (line.starts_with("part(") && !literal.contains('*')) || line.starts_with("const EVENTS") {
            keys.insert(format!("{TENANT}{name}"));
        } else if line.starts_with("pub const ") && literal.starts_with("tautan:") {
            keys.insert(name);
        }
    }
    keys
}

/// The record's key, as the document spells it.
const TENANT: &str = "tautan:{0}:{TENANT}";

fn scripts() -> String {
    let mut paths = Vec::new();
    files(&root().join("src/store/redis/scripts"), "lua", &mut paths);
    paths.iter().map(|path| fs::read_to_string(path).unwrap() + "\n").collect()
}

/// What scripts append to a record's name: a whole key, or its beginning where it ends with a colon.
fn suffixes(scripts: &str) -> BTreeSet<String> {
    let named = scripts.split("record .. '").skip(1).filter_map(|rest| Some(rest.split_once('\'')?.0));
    named.map(|suffix| format!("{TENANT}{suffix}")).collect()
}

/// The arguments of each call of this command on this key, up to its closing bracket.
fn calls<'s>(scripts: &'s str, command: &str, key: &str) -> Vec<Vec<&'s str>> {
    let head = format!("redis.call('{command}', {key}, ");
    let mut calls = Vec::new();
    for (at, found) in scripts.match_indices(&head) {
        let rest = &scripts[at + found.len()..];
        let (mut depth, mut begin, mut arguments) = (0, 0, Vec::new());
        for (at, c) in rest.char_indices() {
            match c {
                ')' if depth == 0 => {
                    arguments.push(rest[begin..at].trim());
                    break;
                }
                ',' if depth == 0 => {
                    arguments.push(rest[begin..at].trim());
                    begin = at + 1;
                }
                '(' | '[' => depth += 1,
                ')' | ']' => depth -= 1,
                _ => {}
            }
        }
        calls.push(arguments);
    }
    calls
}

/// Names of a hash's fields, where a script spells them.
fn fields(scripts: &str, key: &str) -> BTreeSet<String> {
    let set = ["HSET", "HSETNX"].into_iter().flat_map(|command| calls(scripts, command, key));
    let set = set.flat_map(|arguments| arguments.into_iter().step_by(2));
    let one = ["HGET", "HINCRBY"].into_iter().flat_map(|command| calls(scripts, command, key));
    let one = one.filter_map(|arguments| arguments.into_iter().next());
    let deleted = calls(scripts, "HDEL", key).into_iter().flatten();
    let named = set.chain(one).chain(deleted).filter_map(|name| name.strip_prefix('\'')?.strip_suffix('\''));
    named.map(str::to_owned).collect()
}

#[test]
fn redis_document_lists_every_key() {
    let document = read("docs/redis.md");
    let listed: BTreeSet<String> = rows(section(&document, "## Keys"))
        .iter()
        .flat_map(|row| quoted(&row[0]))
        .filter(|word| word.starts_with("tautan:"))
        .map(str::to_owned)
        .collect();
    let mut known = keys();
    for suffix in suffixes(&scripts()) {
        let whole = listed.iter().find(|key| suffix.ends_with(':') && key.starts_with(&suffix)).cloned();
        known.insert(whole.unwrap_or(suffix));
    }
    assert!(known.len() > 15, "the keys were read: {known:?}");
    assert_same("docs/redis.md", &known, &listed);
}

#[test]
fn redis_document_lists_every_field() {
    let (document, scripts) = (read("docs/redis.md"), scripts());
    let listed: BTreeSet<String> = rows(section(&document, "### The record"))
        .iter()
        .flat_map(|row| quoted(&row[0]).map(str::to_owned).collect::<Vec<_>>())
        .collect();
    let mut known = fields(&scripts, "record");
    let read = scripts.split("read('").skip(1).filter_map(|rest| Some(rest.split_once('\'')?.0.to_owned()));
    known.extend(read);
    assert!(known.len() > 15, "the fields were read: {known:?}");
    assert_same("docs/redis.md", &known, &listed);

    let received: BTreeSet<&str> = quoted(&document).collect();
    let of_entries = calls(&scripts, "XADD", "history").into_iter().flatten();
    let of_entries = of_entries.filter_map(|name| name.strip_prefix('\'')?.strip_suffix('\''));
    let of_entries = of_entries.filter(|name| name.bytes().all(|byte| byte.is_ascii_lowercase()));
    let others = of_entries.map(str::to_owned).chain(fields(&scripts, "proof"));
    let others: BTreeSet<String> = others.chain(fields(&scripts, "idle_time")).collect();
    assert!(others.len() >= 6, "the fields were read: {others:?}");
    others.iter().for_each(|name| assert!(received.contains(name.as_str()), "docs/redis.md lacks {name}"));
}

/// A second place that spells a name would miss its change.
#[test]
fn names_in_redis_are_spelled_in_the_schema_alone() {
    let mut paths = Vec::new();
    files(&root().join("src/store/redis"), "rs", &mut paths);
    let schema = read("src/store/redis/schema.rs");
    let fields: Vec<&str> =
        schema.lines().filter_map(|line| line.strip_prefix("    pub const ")?.split('"').nth(1)).collect();
    assert!(paths.len() > 20 && fields.len() > 10, "the sources were read");
    for path in paths.iter().filter(|path| !path.ends_with("schema.rs")) {
        let source = fs::read_to_string(path).unwrap();
        assert!(!source.contains("\"tautan:"), "{} spells a key", path.display());
        for name in &fields {
            assert!(!source.contains(&format!("arg(\"{name}\")")), "{} spells the field {name}", path.display());
        }
    }
}

#[test]
fn key_format_is_spelled_as_in_the_document() {
    assert_eq!(spelled("{{{tenant}}}:code:{id}", true), "{TENANT}:code:ID");
    assert_eq!(spelled("alive:{incarnation}", true), "alive:INCARNATION");
    assert_eq!(spelled("{0}:incarnations", false), "{0}:incarnations");
}
