//! `kill -9` outside a pairing: readers see the current status again, and no code of the killed process.

use reqwest::Method;
use serde_json::Value;
use tautan_simulator::ScanError;

use crate::stage::{Stage, TENANT, link, scan};
use tautan_test_support::rank;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connected_link_resumes_after_a_kill_without_a_scan() {
    let stage = Stage::new().await;
    let mut program = stage.start();
    let seen = link(&program.api(TENANT), &stage.phone).await.last_id.expect("connected has an id");
    let device = stage.device();
    program.kill();
    stage.until_disconnected().await;

    let program = stage.start();
    let mut stream = program.api(TENANT).events_after(Some(&seen)).await;
    let connected = stream.until("connected", |event| {
        assert_ne!(event.name, "qr-code", "nothing is to be scanned");
        assert_ne!(event.data["status"], "disconnected", "{event:?}");
        assert!(event.id.as_ref().is_none_or(|id| rank(id) > rank(&seen)), "{event:?} after {seen}");
        event.is_status("connected")
    });
    assert!(connected.await.id.is_some());
    assert_eq!(stage.device(), device);
    assert_eq!(stage.simulator.live_sockets(device), 1);
    stage.proves_device().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn code_shown_before_a_kill_is_never_shown_again() {
    let stage = Stage::new().await;
    let mut program = stage.start();
    let api = program.api(TENANT);
    let mut stream = api.events().await;
    api.connect().await;
    let dead = stream.until_qr().await.text("qrText").to_owned();
    let seen = stream.last_id.clone().expect("a code has an id");
    program.kill();
    stage.until_disconnected().await;
    assert_eq!(stage.phone.scan(&dead).await, Err(ScanError::Expired));

    let program = stage.start();
    let api = program.api(TENANT);
    // EventSource reconnects with its last event id; another tab has none.
    let mut reconnected = api.events_after(Some(&seen)).await;
    let mut fresh = api.events().await;
    let first = reconnected.next().await.expect("the present at once");
    assert_eq!(first.name, "connection-status");
    assert!(first.id.as_ref().is_none_or(|id| rank(id) > rank(&seen)), "{first:?} after {seen}");
    let answer = api.ask(Method::GET, "qr").header("accept", "application/json").send().await.expect("an answer");
    if answer.status().is_success() {
        let body: Value = answer.json().await.expect("JSON");
        assert_ne!(body["qrText"], dead.as_str());
    }
    let shown = reconnected.until_qr().await;
    assert_ne!(shown.text("qrText"), dead);
    assert_eq!(scan(&mut fresh, &stage.phone).await, stage.device());
    reconnected.until_status("connected").await;
    fresh.until_status("connected").await;
}
