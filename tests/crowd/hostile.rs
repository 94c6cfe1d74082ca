//! Two thousand clients without a token connect and disconnect, and users pair beside them.

use std::{
    net::{IpAddr, Ipv4Addr},
    time::{Duration, Instant},
};

use futures::{StreamExt as _, stream};
use tautan_test_support::{Api, Attack, Kind, Program, stage::Stage};

use crate::{is_linked, until};

const HOSTILE: usize = 2_000;
const PAIRINGS: u32 = 500;
const AT_ONCE: usize = 8;
/// For all hostile clients to be there.
const ARRIVED: Duration = Duration::from_secs(10);
const RATIO_MAX: f64 = 3.0;
const WAVE: Duration = Duration::from_secs(45);
/// For all of them to be gone.
const SETTLED: Duration = Duration::from_secs(3);
const GROWTH_MAX: f64 = 1.1;

fn descriptors(program: &Program) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", program.pid())).map_or(0, Iterator::count)
}

/// Each user has an address, from 127.0.0.100 on. The hostile clients have others.
fn address(number: u32) -> IpAddr {
    Ipv4Addr::from_bits(Ipv4Addr::new(127, 0, 0, 100).to_bits() + number).into()
}

/// Pairs, and returns the time from the click to the first code.
async fn pair(stage: &Stage, program: &Program, number: u32) -> Duration {
    let account = 6_281_000_000_000 + u64::from(number);
    let phone = stage.simulator.phone(&account.to_string(), "by QR");
    let api = Api::from(program.base(), &format!("toko-{number}"), address(number));
    let began = Instant::now();
    api.connect().await;
    let mut stream = api.events().await;
    let qr = until(&mut stream, |event| event.name == "qr-code").await;
    let waited = began.elapsed();
    phone.scan(qr.text("qrText")).await.expect("a living code");
    is_linked(&mut stream, account).await;
    waited
}

/// The 99th percentile of the time to the first code. A pairing that fails ends the test.
async fn p99_of_first_code(hostile: bool) -> Duration {
    let stage = Stage::new().await;
    let program = stage.start();
    let attack = hostile.then(|| Attack::begin_slowly(program.address(), HOSTILE, &Kind::ALL));
    tokio::time::sleep(ARRIVED).await;
    let (began, before) = (Instant::now(), descriptors(&program));
    let pairings = stream::iter(0..PAIRINGS).map(|number| pair(&stage, &program, number));
    let mut waits: Vec<Duration> = pairings.buffer_unordered(AT_ONCE).collect().await;
    waits.sort();
    let p99 = waits[waits.len() * 99 / 100 - 1];
    println!(
        "hostile {hostile}: {} pairings in {:.1?}, first code p50 {:.1?} p99 {p99:.1?}, {before} descriptors before",
        waits.len(),
        began.elapsed(),
        waits[waits.len() / 2],
    );
    if let Some(attack) = attack {
        attack.end().await;
    }
    p99
}

/// The clients of two runs, one with and one without hostile clients, share all else. The order changes with each pair.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "it takes minutes; `make long` runs it"]
async fn hardening_hostile_connections_delay_no_pairing() {
    let mut ratios = Vec::new();
    for hostile_first in [false, true, false] {
        let (first, second) = (p99_of_first_code(hostile_first).await, p99_of_first_code(!hostile_first).await);
        let (with, without) = if hostile_first { (first, second) } else { (second, first) };
        ratios.push(with.as_secs_f64() / without.as_secs_f64());
    }
    println!("p99 with hostile connections / without: {ratios:.2?}");
    ratios.sort_by(f64::total_cmp);
    assert!(ratios[1] <= RATIO_MAX, "{ratios:?}");
}

/// The second wave reuses the memory that the first one leaves.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "it takes minutes; `make long` runs it"]
async fn hardening_second_hostile_wave_takes_no_more_memory() {
    let stage = Stage::new().await;
    let program = stage.start();
    let mut memory = vec![program.memory_kib()];
    for _ in 0..2 {
        let attack = Attack::begin(program.address(), HOSTILE, &Kind::ALL);
        tokio::time::sleep(WAVE).await;
        println!("{} descriptors in the wave, {} KiB", descriptors(&program), program.memory_kib());
        attack.end().await;
        tokio::time::sleep(SETTLED).await;
        memory.push(program.memory_kib());
    }
    println!("memory before, after the first and after the second wave: {memory:?} KiB");
    let growth = memory[2] as f64 / memory[1] as f64;
    assert!(growth <= GROWTH_MAX, "{growth}");
}
