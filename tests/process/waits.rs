//! WhatsApp cannot be reached or does not go on: how long the session waits, and which status follows.

use tautan_simulator::{Fault, Refusal};
use tautan_test_support::{Event, Program};

use crate::stage::{Stage, TENANT, link, scan};

/// A fiftieth of every wait: 0.4 s until WhatsApp counts as unreachable, 6 s for a code, 1.2 s for the login after a scan,
/// 0.1 s after the first refusal.
const PATIENCE: &str = "0.02";

fn start(stage: &Stage) -> Program {
    stage.settings().with("SIM_PATIENCE", PATIENCE).start()
}

fn assert_failed(event: &Event) {
    assert_eq!((event.text("reason"), &event.data["retryable"]), ("pairing-failed", &true.into()), "{event:?}");
}

async fn nothing_is_kept(stage: &Stage, mut program: Program) {
    assert_eq!(stage.credentials_after(&mut program), 0);
    let program = stage.start();
    link(&program.api(TENANT), &stage.phone).await;
    stage.proves_device().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unreachable_whatsapp_before_a_code_fails_the_pairing() {
    let stage = Stage::new().await;
    let program = start(&stage);
    let api = program.api(TENANT);
    stage.simulator.unreachable(true);
    let mut stream = api.events().await;
    api.connect().await;
    stream.until("the wait", |event| event.data["reason"] == "whatsapp-unreachable").await;
    assert_failed(&stream.until("the end", |event| event.data["reason"] == "pairing-failed").await);
    stage.simulator.unreachable(false);
    nothing_is_kept(&stage, program).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusing_whatsapp_before_a_code_is_retried_four_times() {
    let stage = Stage::new().await;
    let program = start(&stage);
    let api = program.api(TENANT);
    stage.simulator.refuse(Some(Refusal::RateLimited));
    let mut stream = api.events().await;
    api.connect().await;
    stream.until("the wait", |event| event.data["reason"] == "whatsapp-unreachable").await;
    assert_failed(&stream.until_status("disconnected").await);
    assert_eq!(stage.simulator.sockets_opened(), 1 + 4);
    stage.simulator.refuse(None);
    nothing_is_kept(&stage, program).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn missing_login_after_a_scan_is_retried() {
    let stage = Stage::new().await;
    let program = start(&stage);
    let api = program.api(TENANT);
    stage.simulator.faults().set_times(Fault::SilentPairing, 1);
    let mut stream = link(&api, &stage.phone).await;
    assert_eq!(stage.simulator.faults().consumed(Fault::SilentPairing), 1);
    stage.proves_device().await;
    api.disconnect().await;
    assert_eq!(stream.until_status("disconnected").await.text("reason"), "unlinked-by-user");
}

/// The phone lists the device, so that it is kept: the next "connect" finishes the pairing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn missing_login_fails_the_pairing_and_keeps_it() {
    let stage = Stage::new().await;
    let mut program = start(&stage);
    let api = program.api(TENANT);
    let mut stream = api.events().await;
    api.connect().await;
    stream.until_status("qr_pending").await;
    stage.simulator.faults().set(Fault::SilentPairing);
    stage.simulator.faults().set(Fault::SilentLogin);
    scan(&mut api.events().await, &stage.phone).await;
    stream.until("the scan", |event| event.data["reason"] == "scanned").await;
    assert_failed(&stream.until_status("disconnected").await);
    assert!(stage.simulator.faults().consumed(Fault::SilentLogin) > 0);
    assert_ne!(stage.credentials_after(&mut program), 0);

    stage.simulator.faults().clear(Fault::SilentLogin);
    let program = stage.start();
    let api = program.api(TENANT);
    let mut stream = api.events().await;
    stream.until_status("disconnected").await;
    api.connect().await;
    stream.until_status("connected").await;
    stage.proves_device().await;
}
