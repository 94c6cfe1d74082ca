//! Outages that pass by themselves: the page shows "connecting", and then "connected" again.

use tautan_test_support::EventStream;

use crate::stage::{Stage, TENANT, link, scan};

async fn recovers(stream: &mut EventStream, stage: &Stage) {
    let lost = stream.until("the loss", |event| !event.is_status("connected")).await;
    assert_eq!((&lost.data["status"], &lost.data["reason"]), (&"connecting".into(), &"reconnecting".into()));
    assert_eq!(lost.data["phoneNumber"], stage.phone.number(), "whose link it is stays on the page");
    stream.until_status("connected").await;
    stage.proves_device().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cut_connection_and_busy_server_are_survived() {
    let stage = Stage::new().await;
    let program = stage.start();
    let mut stream = link(&program.api(TENANT), &stage.phone).await;
    assert!(stage.simulator.cut(stage.device()));
    recovers(&mut stream, &stage).await;
    assert!(stage.simulator.end(stage.device(), 503));
    recovers(&mut stream, &stage).await;
    assert_eq!(stage.simulator.live_sockets_max(stage.device()), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unreachable_whatsapp_is_published_for_a_linked_tenant() {
    let stage = Stage::new().await;
    let program = stage.start();
    let mut stream = link(&program.api(TENANT), &stage.phone).await;
    stage.simulator.unreachable(true);
    let received = stream.until("the outage", |event| event.data["reason"] == "whatsapp-unreachable").await;
    assert_eq!(received.data["phoneNumber"], stage.phone.number());
    stage.simulator.unreachable(false);
    stream.until_status("connected").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unreachable_whatsapp_is_published_before_the_first_code() {
    let stage = Stage::new().await;
    let program = stage.start();
    stage.simulator.unreachable(true);
    let api = program.api(TENANT);
    let mut stream = api.events().await;
    api.connect().await;
    stream.until("the outage", |event| event.data["reason"] == "whatsapp-unreachable").await;
    stage.simulator.unreachable(false);
    scan(&mut stream, &stage.phone).await;
    stream.until_status("connected").await;
}
