//! Instructions of the hot paths, counted by valgrind in a release build. They hardly depend on the machine and its load, so
//! a change that makes a path slower shows here. Counted is the whole program, twice with different numbers of the same
//! operation: the difference is what the operation costs.

use std::{fs, path::PathBuf};

use tautan_simulator::Simulator;
use tautan_test_support::{Binary, Program, Settings};

use crate::load::run;

/// Between what is kept in the repository and what is counted.
const DEVIATION_MAX: f64 = 0.03;
const READERS: u64 = 300;

fn kept_file() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/bench/counts.txt")
}

struct Counted {
    folder: tempfile::TempDir,
    program: Program,
}

impl Counted {
    fn start(whatsapp_url: &str) -> Self {
        let folder = tempfile::tempdir().expect("a directory");
        let path = folder.path().to_str().expect("a plain name");
        let out = format!("--callgrind-out-file={path}/counts");
        let program = Settings::new(folder.path(), whatsapp_url)
            .binary(Binary::SimRelease)
            .run_by(&["valgrind", "--quiet", "--tool=callgrind", &out])
            .with("SIM_STUBS", path)
            .with("TAUTAN_HEARTBEAT", "60s")
            .with("TAUTAN_MAX_STREAMS_PER_TENANT", "2000")
            .with("TAUTAN_LIMIT_DIALS", "100000/10m")
            .start();
        Self { folder, program }
    }

    /// Ends it. Answers how many instructions it has run.
    fn end_and_count(mut self) -> u64 {
        self.program.terminate();
        assert!(self.program.wait().success());
        let text = fs::read_to_string(self.folder.path().join("counts")).expect("valgrind writes it");
        let line = text.lines().find_map(|line| line.strip_prefix("totals: ")).expect("it ends with the totals");
        line.trim().parse().expect("a number")
    }
}

/// Instructions of one operation: of `words(most)` more than of `words(least)`.
fn each(whatsapp_url: &str, [least, most]: [u64; 2], words: impl Fn(u64) -> String) -> u64 {
    let [few, many] = [least, most].map(|count| {
        let counted = Counted::start(whatsapp_url);
        run(&format!("{} --url {}", words(count), counted.program.base()));
        counted.end_and_count()
    });
    many.saturating_sub(few) / (most - least)
}

/// Counts all paths and compares them with what is kept. `COUNTS=renew` keeps what is counted.
pub async fn compare() {
    let simulator = Simulator::start().await.expect("a free port");
    let url = simulator.url();
    let counts = tokio::task::block_in_place(|| {
        let round = |rounds| {
            format!(
                "pair --tenants 1 --tenant idle-{{n}} --readers {READERS} --rounds {rounds} --until \"status\":\"connected\""
            )
        };
        [
            ("open a stream", each(&url, [100, 600], |streams| format!("hold --streams {streams} --seconds 1"))),
            ("connect and disconnect, 301 streams", each(&url, [5, 25], round)),
            ("POST to QR code", each(&url, [10, 40], |rounds| format!("pair --rounds {rounds}"))),
        ]
    });
    let text: String = counts.iter().map(|(name, count)| format!("{count:>10} {name}\n")).collect();
    print!("{text}");
    if std::env::var("COUNTS").is_ok_and(|mode| mode == "renew") {
        fs::write(kept_file(), text).expect("it can be written");
        return;
    }
    let kept = fs::read_to_string(kept_file()).expect("it is kept in the repository");
    let kept: Vec<(f64, &str)> = kept.lines().filter_map(parse).collect();
    assert_eq!(kept.len(), counts.len());
    for ((kept, kept_name), (name, count)) in kept.into_iter().zip(counts) {
        assert_eq!(kept_name, name);
        let deviation = count as f64 / kept - 1.0;
        assert!(deviation.abs() <= DEVIATION_MAX, "{name}: {count} instructions, {:+.1} %", deviation * 100.0);
    }
}

fn parse(line: &str) -> Option<(f64, &str)> {
    let (count, name) = line.trim().split_once(' ')?;
    Some((count.parse().ok()?, name))
}
