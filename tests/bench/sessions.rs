//! Sessions with the simulator: what each takes, and how long a user waits.

use std::time::Duration;

use tautan_simulator::Simulator;
use tautan_test_support::{Api, Binary, Program, Settings};
use tokio::{task::JoinSet, time::sleep};

use crate::{
    load::run,
    table::{Table, value},
};

const SESSIONS: u64 = 500;
/// More at once would measure the phones.
const AT_ONCE: u64 = 10;
const SETTLE: Duration = Duration::from_secs(15);

fn tenant(number: u64) -> String {
    format!("session-{number}")
}

async fn link(api: Api, simulator: Simulator, number: u64) {
    let phone = simulator.phone(&(6_281_000_000_000 + number).to_string(), "a phone");
    let mut stream = api.events().await;
    api.connect().await;
    let qr = stream.until_qr().await;
    phone.scan(qr.text("qrText")).await.expect("a living code");
    stream.until_status("connected").await;
}

/// Memory of a session right after its pairing, and after a restart.
pub async fn memory(table: &mut Table) {
    let simulator = Simulator::start().await.expect("a free port");
    let folder = tempfile::tempdir().expect("a directory");
    let start = || {
        Settings::new(folder.path(), &simulator.url())
            .binary(Binary::SimRelease)
            .with("TAUTAN_MAX_SESSIONS", "600")
            .with("TAUTAN_RESUME_RATE", "100/s")
            .start()
    };
    let each = |program: &Program, before: u64| program.memory_kib().saturating_sub(before) as f64 / SESSIONS as f64;
    let mut program = start();
    let before = program.memory_kib();
    for first in (0..SESSIONS).step_by(AT_ONCE as usize) {
        let mut links = JoinSet::new();
        for number in first..SESSIONS.min(first + AT_ONCE) {
            links.spawn(link(program.api(&tenant(number)), simulator.clone(), number));
        }
        while let Some(linked) = links.join_next().await {
            linked.expect("it links");
        }
    }
    sleep(SETTLE).await;
    let paired = each(&program, before);
    println!("right after pairing: {paired:.0} KiB");
    program.terminate();
    assert!(program.wait().success());

    let program = start();
    let before = program.memory_kib();
    for number in 0..SESSIONS {
        while program.api(&tenant(number)).status().await["status"] != "connected" {
            sleep(Duration::from_millis(100)).await;
        }
    }
    sleep(SETTLE).await;
    let resumed = each(&program, before);
    println!("resumed: {resumed:.0} KiB");
    table.row(
        &format!("session, KiB of RSS at {SESSIONS}"),
        format!("{paired:.0} after pairing, {resumed:.0} resumed"),
        "",
        "120, 90",
    );
}

/// How long a user waits for a code, with WhatsApp's real handshake.
pub async fn codes(table: &mut Table, rounds: u32) {
    let simulator = Simulator::start().await.expect("a free port");
    let folder = tempfile::tempdir().expect("a directory");
    let program = Settings::new(folder.path(), &simulator.url())
        .binary(Binary::SimRelease)
        .with("TAUTAN_LIMIT_DIALS", "100000/10m")
        .start();
    let words = format!("pair --url {} --rounds {rounds} --pid it={}", program.base(), program.pid());
    let report = tokio::task::spawn_blocking(move || run(&words)).await.expect("it runs");
    table.row(
        "POST → QR, one at a time",
        format!(
            "p50 {:.1} ms, p99 {:.1} ms, {:.2} CPU s per 1,000",
            value(&report, "wait_p50_ms"),
            value(&report, "wait_p99_ms"),
            value(&report, "it_cpu_s_per_1000_rounds")
        ),
        "",
        "p50 2.5 ms, 1.5 CPU s",
    );
}
