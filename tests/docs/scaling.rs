//! docs/scaling.md: each number has its source, the sources exist, and the sums are those of the numbers.

use std::{fs, path::Path};

use crate::{documents, quoted, read, root, rows, section};

fn grows() -> Vec<Vec<String>> {
    rows(section(&read("docs/scaling.md"), "## What grows with what"))
}

/// The first number of a cell; commas separate thousands.
fn number(cell: &str) -> f64 {
    let begins = cell.find(|c: char| c.is_ascii_digit()).unwrap_or_else(|| panic!("{cell:?} has no number"));
    let digits: String = cell[begins..].chars().take_while(|c| c.is_ascii_digit() || ".,".contains(*c)).collect();
    digits.replace(',', "").trim_end_matches('.').parse().unwrap_or_else(|_| panic!("{cell:?} begins with no number"))
}

/// The number behind the words of a row.
fn cost(row: &str) -> f64 {
    let found = grows().into_iter().find(|cells| cells[1] == row);
    number(&found.unwrap_or_else(|| panic!("no row {row:?}"))[2])
}

fn sums(row: &str) -> [f64; 2] {
    let text = read("docs/scaling.md");
    let all = rows(section(&text, "## A hundred thousand, and a million"));
    let cells = all.into_iter().find(|cells| cells[0] == row).unwrap_or_else(|| panic!("no row {row:?}"));
    [number(&cells[1]), number(&cells[2])]
}

fn assert_near(what: &str, stands: f64, follows: f64) {
    assert!((stands / follows - 1.0).abs() < 0.06, "{what}: {stands} stands there, {follows} follows from the rest");
}

#[test]
fn scaling_names_a_source_for_each_number() {
    for row in grows() {
        assert_eq!(row.len(), 4, "{row:?}");
        assert!(!row[3].is_empty(), "{row:?} has no source");
    }
}

#[test]
fn rows_of_the_bench_that_documents_name_exist() {
    let bench = read("tests/bench/main.rs");
    let mut named = 0;
    for (path, text) in documents() {
        for rows in quoted(&text).filter_map(|command| Some(command.split_once("ROWS=")?.1)) {
            for row in rows.split([' ', ',']).filter(|row| !row.is_empty()) {
                named += 1;
                assert!(bench.contains(&format!("\"{row}\"")), "{path} names the row {row}");
            }
        }
    }
    assert!(named > 5, "the rows were found");
}

#[test]
fn constants_that_scaling_names_stand_in_their_files() {
    let text = read("docs/scaling.md");
    let lines = text.lines().filter(|line| line.contains("in `src/"));
    let mut named = 0;
    for line in lines {
        let quoted: Vec<&str> = quoted(line).collect();
        let file = quoted
            .iter()
            .find(|word| Path::new(word).extension().is_some_and(|extension| extension == "rs"))
            .expect("a file");
        let source = fs::read_to_string(root().join(file)).unwrap_or_else(|_| panic!("{file} is not there"));
        let is_constant = |word: &&&str| word.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_');
        for constant in quoted.iter().filter(is_constant).filter(|word| **word != "MGET" && **word != "SCAN") {
            named += 1;
            assert!(source.contains(&format!("const {constant}:")), "{file} has no {constant}");
        }
    }
    assert!(named >= 3, "the constants were found");
}

#[test]
fn sums_of_scaling_follow_from_its_numbers() {
    let instances = sums("instances");
    let [stored, idle] = ["memory of Redis", "commands to Redis, idle"].map(cost);
    let streams = grows().into_iter().find(|row| row[0] == "open stream").map(|row| number(&row[2])).expect("a row");
    let session = cost_of("session");
    for (at, tenants) in [1e5, 1e6].into_iter().enumerate() {
        let n = instances[at];
        assert_near("memory of Redis, GB", sums("memory of Redis")[at], stored * tenants / 1e9);
        assert_near("idle commands", sums("commands to Redis a second, idle")[at], idle * n);
        assert_near("heartbeats", sums("heartbeats that Redis reads a second")[at], n * n * 2.0);
        assert_near("descriptors", sums("descriptors of an instance")[at], tenants / n * 1.1 + 64.0);
        assert_near("events", sums("events a second, all instances")[at], tenants * 10.0 / 86_400.0);
        let memory = 36e6 + tenants / n * session * 1024.0 + tenants / n / 10.0 * streams;
        assert_near("memory of an instance, GB", sums("memory of an instance")[at], memory / 1e9);
    }
}

fn cost_of(thing: &str) -> f64 {
    number(&grows().into_iter().find(|row| row[0] == thing).unwrap_or_else(|| panic!("no row {thing:?}"))[2])
}
