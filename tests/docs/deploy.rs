//! The files in `deploy` name settings that exist, and give the program the time that a drain takes.

use std::{collections::BTreeSet, fs, path::PathBuf};

use tautan::config::Variable;

use crate::{files, root};

/// A drain may take the drain delay and 25 s; the remaining tasks are ended within the other 5.
const AFTER_THE_DELAY_S: u64 = 30;
/// Variables that the files for Compose and Caddy define themselves.
pub const OTHERS: [&str; 2] = ["TAUTAN_DOMAIN", "TAUTAN_UPSTREAMS"];

/// Every file with its text, without comments.
fn deployed() -> Vec<(PathBuf, String)> {
    let mut paths = vec![root().join("deploy/Caddyfile"), root().join("Dockerfile")];
    for extension in ["yaml", "conf", "cfg", "service"] {
        files(&root().join("deploy"), extension, &mut paths);
    }
    assert!(paths.len() >= 8, "the files were found: {paths:?}");
    let settings = |path: &PathBuf| {
        let text = fs::read_to_string(path).unwrap();
        text.lines().filter(|line| !line.trim_start().starts_with('#')).flat_map(|line| [line, "\n"]).collect()
    };
    paths.into_iter().map(|path| (path.clone(), settings(&path))).collect()
}

fn names(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !c.is_ascii_uppercase() && !c.is_ascii_digit() && c != '_');
    words.filter(|word| ["TAUTAN_", "JWT_", "REDIS_"].iter().any(|prefix| word.starts_with(prefix))).collect()
}

#[test]
fn deployed_files_name_settings_that_exist() {
    let mut named = 0;
    for (path, text) in deployed() {
        for name in names(&text).into_iter().filter(|name| !OTHERS.contains(name)) {
            named += 1;
            let is_file = |name: &str| {
                name.strip_suffix("_FILE").and_then(Variable::find).is_some_and(|variable| variable.secret)
            };
            assert!(Variable::find(name).is_some() || is_file(name), "{} names {name}", path.display());
        }
    }
    assert!(named > 20, "settings were read: {named}");
}

/// The number behind each `key: `, or `key=`.
fn seconds(text: &str, key: &str) -> Vec<u64> {
    let values = text.split(key).skip(1).map(|rest| rest.trim_start_matches([':', '=', ' ', ',', '"']));
    let digits = values.map(|rest| rest.chars().take_while(char::is_ascii_digit).collect::<String>());
    digits.filter_map(|digits| digits.parse().ok()).collect()
}

#[test]
fn supervisors_wait_longer_than_a_drain_takes() {
    let mut waits = 0;
    for (path, text) in deployed() {
        let delays = [seconds(&text, "TAUTAN_DRAIN_DELAY"), seconds(&text, "TAUTAN_DRAIN_DELAY, value")].concat();
        let delay = delays.into_iter().max().unwrap_or(0);
        for key in ["stop_grace_period", "terminationGracePeriodSeconds", "TimeoutStopSec"] {
            // The time of Redis has another reason.
            for wait in seconds(&text, key).into_iter().take(1) {
                waits += 1;
                assert!(wait >= delay + AFTER_THE_DELAY_S, "{}: {key} {wait} beside {delay} s", path.display());
            }
        }
    }
    assert_eq!(waits, 4, "each kind of supervisor was read");
}
