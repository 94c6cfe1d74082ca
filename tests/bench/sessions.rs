//! Sessions with the simulator: what each takes, and how long a user waits.

use std::time::Duration;

use tautan_simulator::Simulator;
use tautan_test_support::{Api, Binary, Program, RedisServer, Settings};
use tokio::{task::JoinSet, time::sleep};

use crate::{
    instances::number_in,
    load::run,
    rows::KEY,
    table::{Table, value},
};

const SESSIONS: u64 = 500;
/// More at once would measure the phones.
const AT_ONCE: usize = 10;
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

/// Memory of a session right after its pairing, and after a restart. With Redis also what is stored there of each tenant.
pub async fn memory(table: &mut Table, redis: Option<RedisServer>) {
    let simulator = Simulator::start().await.expect("a free port");
    let folder = tempfile::tempdir().expect("a directory");
    let start = || {
        let mut settings = Settings::new(folder.path(), &simulator.url())
            .binary(Binary::SimRelease)
            .with("TAUTAN_MAX_SESSIONS", "600")
            .with("TAUTAN_RESUME_RATE", "100/s");
        if let Some(redis) = &redis {
            settings = settings.with("REDIS_URL", &redis.url()).with("TAUTAN_ENCRYPTION_KEY", KEY);
        }
        settings.start()
    };
    let each = |program: &Program, before: u64| program.memory_kib().saturating_sub(before) as f64 / SESSIONS as f64;
    let mut program = start();
    let before = program.memory_kib();
    let of_redis = |section: &str, name: &str| redis.as_ref().map_or(0, |redis| number_in(redis, section, name));
    let stored_before = of_redis("memory", "used_memory");
    let commands_before = of_redis("stats", "total_commands_processed");
    for first in (0..SESSIONS).step_by(AT_ONCE) {
        let mut links = JoinSet::new();
        for number in first..SESSIONS.min(first + AT_ONCE as u64) {
            links.spawn(link(program.api(&tenant(number)), simulator.clone(), number));
        }
        while let Some(linked) = links.join_next().await {
            linked.expect("it links");
        }
    }
    let commands = of_redis("stats", "total_commands_processed") - commands_before;
    sleep(SETTLE).await;
    let paired = each(&program, before);
    let stored = of_redis("memory", "used_memory").saturating_sub(stored_before);
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
    let store = if redis.is_some() { "Redis" } else { "embedded" };
    table.row(
        &format!("session, KiB of RSS at {SESSIONS}, {store}"),
        format!("{paired:.0} after pairing, {resumed:.0} resumed"),
        redis.as_ref().map_or(String::new(), |_| {
            format!("in Redis {} bytes and {} commands for each pairing", stored / SESSIONS, commands / SESSIONS)
        }),
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
