//! The document of Redis lists every key and field that the code writes, and no other.

use std::{collections::BTreeSet, fs};

use crate::{assert_same, files, quoted, read, root, rows, section};

/// `tautan:{{{tenant}}}:code:{id}` → `tautan:{TENANT}:code:ID`.
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

/// The names that `keys.rs` makes.
fn keys() -> BTreeSet<String> {
    let source = read("src/store/redis/keys.rs");
    let source = source.split("#[cfg(test)]").next().unwrap();
    let mut keys = BTreeSet::new();
    for line in source.lines().filter(|line| !line.trim_start().starts_with("//")) {
        for literal in line.split('"').skip(1).step_by(2) {
            if let Some(suffix) = literal.strip_prefix(':').filter(|_| line.starts_with("const ")) {
                keys.insert(format!("tautan:{{TENANT}}:{suffix}"));
            }
            // A pattern of many names, or the beginning of one.
            if literal.starts_with("tautan:") && !literal.contains('*') && !line.contains("strip_prefix") {
                keys.insert(spelled(literal, line.contains("format!")));
            }
        }
    }
    keys
}

fn scripts() -> String {
    let mut paths = Vec::new();
    files(&root().join("src/store/redis/scripts"), "lua", &mut paths);
    paths.iter().map(|path| fs::read_to_string(path).unwrap() + "\n").collect()
}

/// What scripts append to a record's name: a whole key, or its beginning where it ends with a colon.
fn suffixes(scripts: &str) -> BTreeSet<String> {
    let named = scripts.split("record .. '").skip(1).filter_map(|rest| Some(rest.split_once('\'')?.0));
    named.map(|suffix| format!("tautan:{{TENANT}}{suffix}")).collect()
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
    let others: BTreeSet<String> = of_entries.map(str::to_owned).chain(fields(&scripts, "KEYS[1]")).collect();
    assert!(others.len() >= 6, "the fields were read: {others:?}");
    others.iter().for_each(|name| assert!(received.contains(name.as_str()), "docs/redis.md lacks {name}"));
}

#[test]
fn key_format_is_spelled_as_in_the_document() {
    assert_eq!(spelled("tautan:{{{tenant}}}:code:{id}", true), "tautan:{TENANT}:code:ID");
    assert_eq!(spelled("tautan:{{/}}:alive:{incarnation}", true), "tautan:{/}:alive:INCARNATION");
    assert_eq!(spelled("tautan:{/}:incarnations", false), "tautan:{/}:incarnations");
}
