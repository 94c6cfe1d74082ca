//! The figures of `docs/measurements.md`, in release and with every commit on the disk: `make bench`.

mod counts;
mod instances;
mod load;
mod peers;
mod rows;
mod sessions;
mod table;

use std::time::{Duration, Instant};

use table::Table;
use tautan_simulator::Simulator;
use tautan_test_support::{Binary, RedisServer, Settings, within};

const ROUNDS: usize = 100;
const TENANT: &str = "toko-sari";

/// Times of one kind, and the most they may be.
struct Times {
    name: &'static str,
    p50_max: Duration,
    p99_max: Duration,
    all: Vec<Duration>,
}

impl Times {
    fn new(name: &'static str, p50_max_ms: u64, p99_max_ms: u64) -> Self {
        let (p50_max, p99_max) = (Duration::from_millis(p50_max_ms), Duration::from_millis(p99_max_ms));
        Self { name, p50_max, p99_max, all: Vec::with_capacity(ROUNDS) }
    }

    /// Of the sorted times the one that so many percent do not exceed.
    fn percentile(&self, percent: usize) -> Duration {
        self.all[(self.all.len() * percent).div_ceil(100) - 1]
    }

    /// Prints them; whether they are within their bounds.
    fn print(&mut self) -> bool {
        self.all.sort();
        let [p50, p90, p99, max] = [50, 90, 99, 100].map(|percent| self.percentile(percent));
        let Self { name, p50_max, p99_max, .. } = self;
        println!("{name}: p50 {p50:.1?} (< {p50_max:?}), p90 {p90:.1?}, p99 {p99:.1?} (< {p99_max:?}), max {max:.1?}");
        p50 < *p50_max && p99 < *p99_max
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "figures need a release build and a quiet machine"]
async fn user_waits_no_longer_than_promised() {
    let simulator = Simulator::start().await.expect("a free port");
    let phone = simulator.phone("6281234567890", "Toko Sari");
    let directory = tempfile::tempdir().expect("a directory");
    let program = Settings::new(directory.path(), &simulator.url()).binary(Binary::SimRelease).start();
    let api = program.api(TENANT);
    let mut stream = api.events().await;
    let mut code = Times::new("connect → first code", 45, 150);
    let mut connected = Times::new("scan → connected", 150, 500);
    for _ in 0..ROUNDS {
        let asked = Instant::now();
        let (_, qr) = tokio::join!(api.connect(), stream.until_qr());
        code.all.push(asked.elapsed());
        let scanned = Instant::now();
        let (linked, _) =
            tokio::join!(within("the scan", phone.scan(qr.text("qrText"))), stream.until_status("connected"));
        connected.all.push(scanned.elapsed());
        linked.expect("a living code");
        api.disconnect().await;
        stream.until_status("disconnected").await;
    }
    let kept = [code.print(), connected.print()];
    assert_eq!(kept, [true, true], "a bound is exceeded");
}

/// All rows, or those that ROWS names, as in `make bench ROWS=idle,fan-out`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "figures need a release build and a quiet machine"]
async fn table_side_by_side() {
    let chosen = std::env::var("ROWS").unwrap_or_default();
    let is_chosen = |row: &str| chosen.is_empty() || chosen.split(',').any(|name| name == row);
    let mut table = Table::default();
    type Row = fn(&mut Table);
    let blocking: [(&str, Row); 5] = [
        ("idle", |table| rows::idle(table, 10_000, 45)),
        ("idle-most", |table| rows::idle(table, 19_000, 30)),
        ("fan-out", |table| rows::fan_out(table, 20)),
        ("stalled", |table| rows::stalled(table, 40)),
        ("tenants", instances::tenants),
    ];
    for (name, row) in blocking {
        if is_chosen(name) {
            tokio::task::block_in_place(|| row(&mut table));
        }
    }
    if is_chosen("codes") {
        sessions::codes(&mut table, 300).await;
    }
    if is_chosen("sessions") {
        sessions::memory(&mut table, None).await;
    }
    if is_chosen("sessions-redis") {
        sessions::memory(&mut table, Some(RedisServer::start())).await;
    }
    table.print(&peers::machine());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a release build and valgrind"]
async fn instructions_are_those_that_are_kept() {
    counts::compare().await;
}
