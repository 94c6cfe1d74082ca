//! How long a user waits for a code and for "connected", in release and with every commit on the disk. Run by its name:
//! `cargo test --release --test bench -- --ignored --nocapture`.

use std::time::{Duration, Instant};

use tautan_simulator::Simulator;
use tautan_test_support::{Binary, Settings, within};

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
    fn received(&mut self) -> bool {
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
    let kept = [code.received(), connected.received()];
    assert_eq!(kept, [true, true], "a bound is exceeded");
}
