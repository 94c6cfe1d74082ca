//! Many tenants at once. A binary of its own, so that no other test's waits are measured under this load.

mod hostile;
mod soak;

use std::time::{Duration, Instant};

use tautan_simulator::Simulator;
use tautan_test_support::{Api, Event, EventStream, stage::Stage};
use tokio::task::JoinSet;

const EACH: u64 = 50;
/// Unoptimised, on two slow cores: each code costs four times 131,072 rounds of PBKDF2.
const TIME_MAX: Duration = Duration::from_secs(120);
/// Twice what it was measured to be; the library's own state is most of it.
const SESSION_KIB_MAX: u64 = 1024;

/// Waits without a deadline of its own: the crowd has one.
async fn until(stream: &mut EventStream, wanted: impl Fn(&Event) -> bool) -> Event {
    loop {
        let event = stream.next_without_deadline().await.expect("the stream stays");
        assert!(!event.is_status("disconnected"), "{event:?}");
        if wanted(&event) {
            return event;
        }
    }
}

async fn is_linked(stream: &mut EventStream, number: u64) {
    let connected = until(stream, |event| event.is_status("connected")).await;
    assert_eq!(connected.text("phoneNumber"), number.to_string());
}

async fn by_qr(api: Api, simulator: Simulator, number: u64) {
    let phone = simulator.phone(&number.to_string(), "by QR");
    api.connect().await;
    let mut stream = api.events().await;
    let qr = until(&mut stream, |event| event.name == "qr-code").await;
    phone.scan(qr.text("qrText")).await.expect("a living code");
    is_linked(&mut stream, number).await;
}

async fn by_code(api: Api, simulator: Simulator, number: u64) {
    let phone = simulator.phone(&number.to_string(), "by code");
    api.connect_by_code(&number.to_string()).await;
    let mut stream = api.events().await;
    let pair = until(&mut stream, |event| event.name == "pair-code").await;
    phone.enter_code(pair.text("code")).await.expect("a living code");
    is_linked(&mut stream, number).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_pairings_by_code_and_fifty_by_qr_at_once_all_connect() {
    let stage = Stage::new().await;
    let program = stage.start();
    let before = program.memory_kib();
    let began = Instant::now();
    let mut pairings = JoinSet::new();
    for number in 0..EACH {
        let api = program.api(&format!("qr-{number}"));
        pairings.spawn(by_qr(api, stage.simulator.clone(), 6_281_000_000_000 + number));
        let api = program.api(&format!("code-{number}"));
        pairings.spawn(by_code(api, stage.simulator.clone(), 6_282_000_000_000 + number));
    }
    let all = tokio::time::timeout(TIME_MAX, async {
        while let Some(paired) = pairings.join_next().await {
            paired.expect("it connects");
        }
    });
    all.await.expect("all of them in time");
    println!("{} pairings at once: {:?}", 2 * EACH, began.elapsed());
    let each = program.memory_kib().saturating_sub(before) / (2 * EACH);
    println!("memory for each connected session: {each} KiB");
    assert!(each <= SESSION_KIB_MAX, "{each} KiB for each connected session");
    assert_eq!(stage.simulator.sockets(), usize::try_from(2 * EACH).expect("few"), "one socket each, and none besides");
}
