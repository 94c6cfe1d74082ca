use std::time::{Duration, Instant};

use tautan::{events::Platform, session::Signal};
use tautan_simulator::Refusal;

use crate::bench::{Bench, DEADLINE, NAME, PLATFORM, connected, heard, next};

#[tokio::test(flavor = "multi_thread")]
async fn closed_link_resumes_without_a_scan() {
    let bench = Bench::new().await;
    let lease = bench.lease().await;
    let paired = bench.paired(&lease).await;
    paired.link.close().await;
    let begun = Instant::now();
    let mut link = bench.open(&lease).await;
    let Some(Signal::Connected { account }) = next(&mut *link).await else { panic!("it connects at once") };
    println!("open to connected: {:?}", begun.elapsed());
    assert_eq!(account.name.as_deref(), Some(NAME));
    assert_eq!(account.platform.as_ref().map(Platform::as_str), Some(PLATFORM));
    assert_eq!(bench.phone.devices(), [paired.device]);
    link.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn link_lost_right_after_connecting_resumes_without_a_scan() {
    let mut bench = Bench::new().await;
    let lease = bench.lease().await;
    let paired = bench.paired(&lease).await;
    bench.credentials.die();
    drop(paired.link);
    bench.restart();
    let mut link = bench.open(&lease).await;
    assert!(matches!(next(&mut *link).await, Some(Signal::Connected { .. })));
    link.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cut_connection_is_signalled_and_reconnects() {
    let bench = Bench::new().await;
    let lease = bench.lease().await;
    let mut paired = bench.paired(&lease).await;
    assert!(bench.sim.cut(paired.device));
    heard(&mut *paired.link, Signal::Dropped).await;
    connected(&mut *paired.link).await;
    assert!(bench.sim.end(paired.device, 503));
    heard(&mut *paired.link, Signal::Dropped).await;
    connected(&mut *paired.link).await;
    assert_eq!(bench.sim.double_logins(paired.device), 0);
    paired.link.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unreachable_whatsapp_is_signalled_once_and_recovers() {
    let bench = Bench::new().await;
    let lease = bench.lease().await;
    let mut paired = bench.paired(&lease).await;
    bench.sim.unreachable(true);
    heard(&mut *paired.link, Signal::Dropped).await;
    heard(&mut *paired.link, Signal::Unreachable).await;
    bench.sim.unreachable(false);
    assert!(matches!(next(&mut *paired.link).await, Some(Signal::Connected { .. })));
    paired.link.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn busy_whatsapp_is_retried() {
    let bench = Bench::new().await;
    let lease = bench.lease().await;
    let mut paired = bench.paired(&lease).await;
    bench.phone.refuse(Refusal::Unavailable);
    heard(&mut *paired.link, Signal::Dropped).await;
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    bench.phone.accept();
    connected(&mut *paired.link).await;
    paired.link.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn message_of_the_phone_is_read_before_and_after_a_restart() {
    let bench = Bench::new().await;
    let lease = bench.lease().await;
    let paired = bench.paired(&lease).await;
    bench.phone.send_text(paired.device, "before").await.unwrap();
    paired.link.close().await;
    let mut link = bench.open(&lease).await;
    connected(&mut *link).await;
    let sent = bench.phone.send_text(paired.device, "after");
    tokio::time::timeout(DEADLINE, sent).await.unwrap().unwrap();
    link.close().await;
}
