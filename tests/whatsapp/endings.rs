use tautan::session::{End, Signal};
use tautan_simulator::Refusal;

use crate::bench::{Bench, DEADLINE, connected, ended, qr_text};

#[tokio::test(flavor = "multi_thread")]
async fn unlink_is_sent_to_whatsapp() {
    let bench = Bench::new().await;
    let lease = bench.lease().await;
    let paired = bench.paired(&lease).await;
    paired.link.unlink().await.unwrap();
    assert_eq!(bench.phone.devices(), []);
    bench.clients_gone().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unlink_while_resuming_waits_for_the_login() {
    let bench = Bench::new().await;
    let lease = bench.lease().await;
    let paired = bench.paired(&lease).await;
    paired.link.close().await;
    let link = bench.open(&lease).await;
    link.unlink().await.unwrap();
    assert_eq!(bench.phone.devices(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn unlink_with_silent_whatsapp_ends_in_time() {
    let deadline = std::time::Duration::from_secs(2);
    let bench = Bench::with(|settings| settings.unlink_deadline = deadline).await;
    let lease = bench.lease().await;
    let paired = bench.paired(&lease).await;
    bench.sim.unreachable(true);
    // It would still answer frames that it read before it disconnects.
    bench.sim.wait_until(DEADLINE, |sim| sim.sockets() == 0).await.expect("nothing is left of the connection");
    let begun = std::time::Instant::now();
    assert!(paired.link.unlink().await.is_err());
    assert!(begun.elapsed() < deadline * 3, "{:?}", begun.elapsed());
    bench.clients_gone().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unlink_of_a_device_never_linked_sends_nothing() {
    let bench = Bench::new().await;
    let lease = bench.lease().await;
    let mut link = bench.open(&lease).await;
    qr_text(&mut *link).await;
    link.unlink().await.unwrap();
    bench.clients_gone().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn device_removed_on_the_phone_is_signalled() {
    let bench = Bench::new().await;
    let lease = bench.lease().await;
    let mut paired = bench.paired(&lease).await;
    assert!(bench.phone.unlink(paired.device));
    assert_eq!(ended(&mut *paired.link).await, End::UnlinkedByPhone);
    // There is nothing left to unlink, and that is no failure.
    paired.link.unlink().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn device_removed_while_offline_is_signalled_at_login() {
    let bench = Bench::new().await;
    let lease = bench.lease().await;
    let paired = bench.paired(&lease).await;
    paired.link.close().await;
    assert!(bench.phone.unlink(paired.device));
    let mut link = bench.open(&lease).await;
    assert_eq!(ended(&mut *link).await, End::UnlinkedByPhone);
    link.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replaced_link_is_signalled() {
    let bench = Bench::new().await;
    let lease = bench.lease().await;
    let mut paired = bench.paired(&lease).await;
    assert!(bench.sim.replace(paired.device));
    assert_eq!(ended(&mut *paired.link).await, End::Replaced);
    paired.link.close().await;
    // The credentials are as good as before.
    let mut link = bench.open(&lease).await;
    connected(&mut *link).await;
    link.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_refusal_at_the_login_is_signalled() {
    let bench = Bench::new().await;
    let lease = bench.lease().await;
    let paired = bench.paired(&lease).await;
    paired.link.close().await;
    let refusals = [
        (Refusal::Locked, End::AccountLocked),
        (Refusal::Outdated, End::ClientOutdated { renewed: false }),
        (Refusal::Banned { expire_seconds: None }, End::Banned { until: None }),
        (Refusal::LoggedOut, End::UnlinkedByPhone),
    ];
    for (refusal, end) in refusals {
        bench.phone.refuse(refusal);
        let mut link = bench.open(&lease).await;
        assert_eq!(ended(&mut *link).await, end, "{refusal:?}");
        link.close().await;
    }
    bench.phone.refuse(Refusal::Banned { expire_seconds: Some(3_600) });
    let before = tautan::clock::system().now();
    let mut link = bench.open(&lease).await;
    let End::Banned { until: Some(until) } = ended(&mut *link).await else { panic!("a ban with an end") };
    let lasts = until.duration_since(before).as_secs();
    assert!((3_595..=3_660).contains(&lasts), "{lasts}");
    link.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn outdated_client_is_signalled_before_any_code() {
    let bench = Bench::new().await;
    bench.sim.refuse(Some(Refusal::Outdated));
    let lease = bench.lease().await;
    let mut link = bench.open(&lease).await;
    assert_eq!(ended(&mut *link).await, End::ClientOutdated { renewed: false });
    link.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn panic_in_the_library_ends_its_link_and_no_other() {
    use std::sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    };
    let armed = Arc::new(AtomicBool::new(false));
    let trigger = armed.clone();
    let bench = Bench::with(|settings| {
        settings.outgoing_frame = Some(Arc::new(move |_| {
            if trigger.swap(false, Ordering::SeqCst) {
                panic!("on purpose");
            }
        }));
    })
    .await;
    let lease = bench.lease().await;
    let mut paired = bench.paired(&lease).await;
    let other_lease = bench.lease_of("other").await;
    let mut other = bench.open(&other_lease).await;
    let text = qr_text(&mut *other).await;
    armed.store(true, Ordering::SeqCst);
    // Either link may send the next frame, so it is made to be the first one's: an answer to a ping.
    bench.sim.ping(paired.device, std::time::Duration::from_secs(1)).await;
    assert_eq!(ended(&mut *paired.link).await, End::Internal);
    paired.link.close().await;
    bench.sim.phone("6285555555555", "B").scan(&text).await.unwrap();
    connected(&mut *other).await;
    other.close().await;
    bench.sim.wait_until(DEADLINE, |sim| sim.sockets() == 0).await.unwrap();
    bench.clients_gone().await;
    let mut link = bench.open(&lease).await;
    assert!(matches!(link.next().await, Some(Signal::Connected { .. })), "the pairing outlives the panic");
    link.close().await;
}
