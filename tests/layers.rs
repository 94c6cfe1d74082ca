//! The order of modules in `src/lib.rs` is a rule. This reads the sources and checks it, so that a new use is a decision.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Uses that the order of modules permits and the design forbids.
const ONLY: &[(&str, &[&str])] = &[
    // Only `session` reaches WhatsApp, through its `Connector`.
    ("whatsapp", &["app"]),
    // Only `config` knows the names of variables.
    ("config", &["app"]),
    ("http", &["app", "config"]),
    ("webhook", &["app", "config"]),
    ("auth", &["http", "config", "app"]),
    ("session", &["whatsapp", "http", "config", "app"]),
    ("shutdown", &["app"]),
    ("app", &[]),
];

/// Types of the store that readers must not see: what can write.
const WRITERS: &[&str] = &[
    "Ownership",
    "Commands",
    "CredentialStore",
    "Lease",
    "Stores",
    "Generation",
    "Tenants",
    "Revocations",
    "ClientVersions",
];
/// And what can read everything: the webhook sends only the outbox.
const ALL_BUT_OUTBOX: &[&str] = &["Journal", "Subscription"];

const LINES_MAX: usize = 400;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// The modules in the order of the map.
fn order() -> Vec<String> {
    let map = fs::read_to_string(root().join("lib.rs")).unwrap();
    let modules = map.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'));
    modules.map(str::to_owned).collect()
}

fn files(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() {
            files(&entry, into);
        } else if entry.extension().is_some_and(|extension| extension == "rs") {
            into.push(entry);
        }
    }
}

/// Each source file with its module.
fn sources() -> Vec<(String, PathBuf, String)> {
    let mut paths = Vec::new();
    files(&root(), &mut paths);
    let mut sources = Vec::new();
    for path in paths {
        let inside = path.strip_prefix(root()).unwrap();
        let first = inside.components().next().unwrap().as_os_str().to_str().unwrap();
        let module = first.strip_suffix(".rs").unwrap_or(first).to_owned();
        if module != "lib" && module != "main" {
            let text = fs::read_to_string(&path).unwrap();
            sources.push((module, inside.to_owned(), text));
        }
    }
    sources
}

/// The code without comments, so that prose may name any module.
fn code(text: &str) -> String {
    let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

/// The modules that `crate::x` and `crate::{x, y::{z}}` name.
fn used(code: &str) -> BTreeSet<String> {
    named_after("crate::", code)
}

/// The modules that stand right behind a prefix, alone or in a group.
fn named_after(prefix: &str, code: &str) -> BTreeSet<String> {
    let mut modules = BTreeSet::new();
    let word = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    for (at, found) in code.match_indices(prefix) {
        let rest = &code[at + found.len()..];
        let Some(group) = rest.strip_prefix('{') else {
            modules.insert(word(rest));
            continue;
        };
        let (mut depth, mut begins) = (0, true);
        for (at, c) in group.char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => begins = true,
                c if begins && depth == 0 && c.is_alphabetic() => {
                    modules.insert(word(&group[at..]));
                    begins = false;
                }
                _ => {}
            }
        }
    }
    modules
}

#[test]
fn module_uses_only_modules_above_it_in_the_map() {
    let order = order();
    let place: BTreeMap<&str, usize> = order.iter().enumerate().map(|(at, module)| (module.as_str(), at)).collect();
    let mut wrong = Vec::new();
    for (module, path, text) in sources() {
        let mine = *place.get(module.as_str()).unwrap_or_else(|| panic!("{module} is not in the map"));
        for other in used(&code(&text)) {
            let Some(theirs) = place.get(other.as_str()) else { continue };
            let forbidden = ONLY.iter().any(|(name, by)| *name == other && !by.contains(&module.as_str()));
            if other != module && (*theirs > mine || forbidden) {
                wrong.push(format!("{} uses {other}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "uses that the map does not have:\n{}", wrong.join("\n"));
}

#[test]
fn http_and_webhook_name_no_type_that_writes() {
    for (module, path, text) in sources() {
        let code = code(&text);
        let body = code.split("#[cfg(test)]").next().unwrap();
        let unseen = if module == "webhook" { ALL_BUT_OUTBOX } else { &[] };
        if module == "http" || module == "webhook" {
            for name in WRITERS.iter().chain(unseen) {
                let named = body.match_indices(name).any(|(at, _)| {
                    let before = body[..at].chars().next_back().unwrap_or(' ');
                    let after = body[at + name.len()..].chars().next().unwrap_or(' ');
                    !before.is_alphanumeric() && !after.is_alphanumeric()
                });
                assert!(!named, "{} names {name}", path.display());
            }
        }
    }
}

/// Which parts of a module each of its parts uses; tests aside.
fn uses_within(module: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut uses: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (_, path, text) in sources().into_iter().filter(|(of, ..)| of == module) {
        let inside: Vec<_> = path.iter().skip(1).map(|part| part.to_str().unwrap()).collect();
        let is_test = inside.iter().any(|part| part.starts_with("tests"));
        if is_test || inside == ["mod.rs"] {
            continue;
        }
        let code = code(&text);
        let body = code.split("#[cfg(test)]").next().unwrap();
        let mut used = named_after(&format!("crate::{module}::"), body);
        // Deeper down it is the module's own siblings.
        if inside.len() == 1 || inside[1..] == ["mod.rs"] {
            used.extend(named_after("super::", body));
        }
        let part = inside[0].trim_end_matches(".rs").to_owned();
        uses.entry(part).or_default().extend(used);
    }
    uses
}

#[test]
fn modules_that_talk_to_whatsapp_use_each_other_in_no_circle() {
    let mut uses = uses_within("whatsapp");
    assert!(
        uses["link"].contains("driver") && uses["keys"].contains("termination"),
        "the reader of uses reads nothing"
    );
    let modules: BTreeSet<String> = uses.keys().cloned().collect();
    uses.iter_mut().for_each(|(module, used)| used.retain(|other| modules.contains(other) && other != module));
    // A module that uses none of the remaining modules is in no circle.
    while let Some(free) = uses.iter().find(|(_, used)| used.is_empty()).map(|(module, _)| module.clone()) {
        uses.remove(&free);
        uses.values_mut().for_each(|used| _ = used.remove(&free));
    }
    assert!(uses.is_empty(), "in a circle, or using one: {uses:?}");
}

/// What one module alone names, although the compiler would let every module do so.
#[test]
fn library_and_environment_have_one_reader_each() {
    let mut named = 0;
    for (module, path, text) in sources() {
        let code = code(&text);
        let body = code.split("#[cfg(test)]").next().unwrap();
        for (name, reader) in [("whatsapp_rust", "whatsapp"), ("env::var", "app")] {
            // What only tests compile may read variables.
            if body.contains(name) && path != Path::new("fuzz.rs") {
                assert_eq!(module, reader, "{} names {name}", path.display());
                named += 1;
            }
        }
    }
    assert!(named > 10, "nothing is found where it stands: {named}");
}

#[test]
fn source_file_has_at_most_400_lines() {
    for (_, path, text) in sources() {
        let lines = text.lines().count();
        assert!(lines <= LINES_MAX, "{} has {lines} lines", path.display());
    }
}

/// `make long` builds with these patches, days after the change that they no longer fit.
#[test]
fn planted_patches_apply_to_the_sources() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut patches = 0;
    for folder in ["tests/cluster/flaws", "tests/process/later"] {
        for entry in fs::read_dir(root.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "patch") {
                let applied = Command::new("git").args(["apply", "--check"]).arg(&path).current_dir(root).output();
                let applied = applied.expect("git runs");
                assert!(applied.status.success(), "{}", String::from_utf8_lossy(&applied.stderr));
                patches += 1;
            }
        }
    }
    assert!(patches > 8, "{patches}");
}

#[test]
fn nested_use_groups_are_read() {
    let modules = used("use crate::{\n auth::{A, b::{C}},\n store::X, clock,\n};\nlet x = crate::http::y();");
    assert_eq!(modules.into_iter().collect::<Vec<_>>(), ["auth", "clock", "http", "store"]);
}
