use std::time::{Duration, Instant};

use tautan_simulator::{Fault, Pattern};
use tokio_util::task::TaskTracker;
use whatsapp_rust::prelude::Event;

use crate::DEADLINE;
use crate::library::{Library, linked};

#[tokio::test]
async fn restarted_client_logs_in_with_ik() {
    let linked = linked().await;
    linked.library.shutdown().await;
    linked.sim.wait_for_live(linked.device, 0, DEADLINE).await.unwrap();
    for _ in 0..2 {
        let started = Instant::now();
        let mut library = Library::start(&linked.sim, &linked.backend).await;
        library.connected().await;
        println!("start -> connected: {:?}", started.elapsed());
        library.shutdown().await;
        linked.sim.wait_for_live(linked.device, 0, DEADLINE).await.unwrap();
    }
    assert_eq!(linked.sim.handshakes(linked.device), [Pattern::Xx, Pattern::Ik, Pattern::Ik]);
    assert_eq!(linked.sim.logins(linked.device), 3);
    assert_eq!(linked.sim.double_logins(linked.device), 0);
}

#[tokio::test]
async fn refused_ik_falls_back_to_xx_on_the_same_socket() {
    let linked = linked().await;
    linked.library.shutdown().await;
    linked.sim.faults().set(Fault::RefuseIk);
    let mut library = Library::start(&linked.sim, &linked.backend).await;
    library.connected().await;
    assert_eq!(linked.sim.handshakes(linked.device).last(), Some(&Pattern::XxFallback));
    assert_eq!(linked.sim.faults().consumed(Fault::RefuseIk), 1);
    assert_eq!(linked.sim.sockets_opened(), 3);
}

#[tokio::test]
async fn text_is_decrypted_by_the_client() {
    let mut linked = linked().await;
    for text in ["halo", "apa kabar", "👋"] {
        linked.phone.send_text(linked.device, text).await.unwrap();
        assert_eq!(linked.library.text().await, text);
    }
    let stranger = linked.sim.phone("6289876543210", "Budi");
    stranger.send_text(linked.device, "dari Budi").await.unwrap();
    assert_eq!(linked.library.text().await, "dari Budi");
}

#[tokio::test]
async fn text_to_an_offline_device_waits_for_it() {
    let linked = linked().await;
    linked.phone.send_text(linked.device, "satu").await.unwrap();
    linked.library.shutdown().await;
    linked.sim.wait_for_live(linked.device, 0, DEADLINE).await.unwrap();
    let sending = TaskTracker::new().spawn({
        let (phone, device) = (linked.phone.clone(), linked.device);
        async move { phone.send_text(device, "dua").await }
    });
    let mut library = Library::start(&linked.sim, &linked.backend).await;
    assert_eq!(library.text().await, "dua");
    sending.await.unwrap().unwrap();
}

#[tokio::test]
async fn broken_connection_is_reconnected() {
    let mut linked = linked().await;
    assert!(linked.sim.cut(linked.device));
    linked.sim.wait_for_logins(linked.device, 2, DEADLINE).await.unwrap();
    linked.library.connected().await;
    assert!(linked.sim.end(linked.device, 503));
    linked.sim.wait_for_logins(linked.device, 3, DEADLINE).await.unwrap();
    linked.library.connected().await;
    assert_eq!(linked.sim.double_logins(linked.device), 0);
}

#[tokio::test]
async fn unreachable_server_is_reached_again() {
    let mut linked = linked().await;
    linked.sim.unreachable(true);
    linked.library.event("disconnected", |event| matches!(event, Event::Disconnected(_)).then_some(())).await;
    let opened = linked.sim.sockets_opened();
    linked.sim.wait_until(DEADLINE, |sim| sim.sockets_opened() > opened).await.unwrap();
    linked.sim.unreachable(false);
    linked.library.connected().await;
}

#[tokio::test]
async fn client_answers_the_servers_ping() {
    let linked = linked().await;
    assert!(linked.sim.ping(linked.device, DEADLINE).await);
    linked.sim.faults().set(Fault::SilentSession);
    assert!(!linked.sim.ping(linked.device, Duration::from_millis(100)).await, "a silent session hears no pong");
}

#[tokio::test]
async fn slow_server_delays_every_answer() {
    let linked = linked().await;
    linked.library.shutdown().await;
    let delay = Duration::from_millis(100);
    linked.sim.faults().slow(Some(delay));
    let started = Instant::now();
    Library::start(&linked.sim, &linked.backend).await.connected().await;
    assert!(started.elapsed() >= 2 * delay, "success and the answer to active at least");
}

#[tokio::test]
async fn presence_is_counted_both_ways() {
    let linked = linked().await;
    linked.library.shutdown().await;
    // After a restart the client knows its name and says by itself that it is there.
    let mut library = Library::start(&linked.sim, &linked.backend).await;
    library.connected().await;
    linked.sim.wait_until(DEADLINE, |sim| sim.presence(linked.device).available == 1).await.unwrap();
    library.client().presence().set_unavailable().await.unwrap();
    linked.sim.wait_until(DEADLINE, |sim| sim.presence(linked.device).unavailable == 1).await.unwrap();
}
