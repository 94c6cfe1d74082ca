use std::time::Duration;

use tautan::{
    events::Platform,
    link_options::LinkOptions,
    session::{Connector as _, End, Signal},
};
use tautan_simulator::{Fault, ScanError};

use crate::bench::{Bench, NAME, NUMBER, PLATFORM, connected, ended, next, qr_text, until};

#[tokio::test(flavor = "multi_thread")]
async fn scan_leads_to_connected() {
    let bench = Bench::new().await;
    let lease = bench.lease().await;
    let paired = bench.paired(&lease).await;
    println!("scan to connected: {:?}, {} writes", paired.scan_to_connected, bench.credentials.writes());
    assert_eq!(paired.account.phone.as_str(), NUMBER);
    assert_eq!(paired.account.name.as_deref(), Some(NAME));
    assert_eq!(paired.account.platform.as_ref().map(Platform::as_str), Some(PLATFORM));
    assert_eq!(bench.phone.devices(), [paired.device]);
    paired.link.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pairing_signals_come_in_order() {
    let bench = Bench::new().await;
    let lease = bench.lease().await;
    let mut link = bench.open(&lease).await;
    let Some(Signal::Qr { text, lifetime, attempt: 1, attempts_max: 6 }) = next(&mut *link).await else {
        panic!("a code comes first")
    };
    assert!(lifetime > Duration::from_secs(50) && lifetime <= Duration::from_secs(60), "{lifetime:?}");
    assert!(!bench.holds(&lease).await, "a code that was not scanned is not saved");
    bench.phone.scan(&text).await.unwrap();
    assert_eq!(next(&mut *link).await, Some(Signal::Scanned));
    // The restart of WhatsApp's stream is inside: nothing is dropped between.
    assert!(matches!(next(&mut *link).await, Some(Signal::Connected { .. })));
    link.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn linked_device_lets_the_phone_notify_its_owner() {
    let bench = Bench::new().await;
    let lease = bench.lease().await;
    let paired = bench.paired(&lease).await;
    bench.sim.wait_until(crate::bench::DEADLINE, |sim| sim.presence(paired.device).unavailable > 0).await.unwrap();
    paired.link.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unused_window_ends_and_leaves_nothing() {
    let bench = Bench::with(|settings| settings.qr_pace = 0.01).await;
    let lease = bench.lease().await;
    let mut link = bench.open(&lease).await;
    let mut shown = Vec::new();
    let end = until(&mut *link, "the end of the window", |signal| match signal {
        Signal::Qr { attempt, lifetime, .. } => {
            shown.push((*attempt, lifetime.as_millis() as u64));
            None
        }
        Signal::Ended(end) => Some(*end),
        _ => None,
    })
    .await;
    assert_eq!(end, End::CodesUsedUp);
    let attempts: Vec<_> = shown.iter().map(|(attempt, _)| *attempt).collect();
    assert_eq!(attempts, [1, 2, 3, 4, 5, 6]);
    assert!(shown[0].1 <= 600 && shown[5].1 <= 200, "{shown:?}");
    link.close().await;
    assert!(!bench.holds(&lease).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn phone_without_a_valid_signature_is_not_linked() {
    for fault in [Fault::CorruptHmac, Fault::CorruptSignature] {
        let bench = Bench::new().await;
        bench.sim.faults().set(fault);
        let lease = bench.lease().await;
        let mut link = bench.open(&lease).await;
        let text = qr_text(&mut *link).await;
        let scan = bench.phone.scan(&text).await;
        assert!(matches!(scan, Err(ScanError::Refused(_))), "{fault:?}: {scan:?}");
        assert_eq!(ended(&mut *link).await, End::PairingFailed, "{fault:?}");
        link.close().await;
        assert_eq!(bench.phone.devices(), [], "{fault:?}");
        assert!(!bench.holds(&lease).await, "{fault:?}");
        assert_eq!(bench.sim.faults().consumed(fault), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pairing_that_cannot_be_saved_never_reaches_the_phone() {
    for device_only in [false, true] {
        let bench = Bench::new().await;
        let lease = bench.lease().await;
        let mut link = bench.open(&lease).await;
        let text = qr_text(&mut *link).await;
        if device_only {
            bench.credentials.fail_device()
        } else {
            bench.credentials.fail(true)
        }
        // Without the wait for the store the frame would be gone before its failure is known.
        bench.credentials.slow_device(Duration::from_millis(200));
        let hang_up = async {
            assert_eq!(ended(&mut *link).await, End::StoreFailed);
            link.close().await;
        };
        let (scan, ()) = tokio::join!(bench.phone.scan(&text), hang_up);
        assert_eq!(scan, Err(ScanError::Gone));
        assert_eq!(bench.phone.devices(), []);
        // The rows of the failed pairing are removed at the latest when the next one begins.
        let mut link = bench.whatsapp_with_good_store().open(&lease, &LinkOptions::default()).await.unwrap();
        qr_text(&mut *link).await;
        link.close().await;
        assert!(!bench.holds(&lease).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn signal_of_an_earlier_link_never_reaches_the_next_one() {
    let bench = Bench::with(|settings| settings.qr_pace = 0.05).await;
    let lease = bench.lease().await;
    let mut first = bench.open(&lease).await;
    let stale = qr_text(&mut *first).await;
    // Not closed: its rotation of codes would go on for minutes.
    drop(first);
    let mut second = bench.open(&lease).await;
    let secret = |text: &str| text.split(',').skip(1).map(str::to_owned).collect::<Vec<_>>();
    let mut texts = Vec::new();
    while texts.len() < 3 {
        texts.push(qr_text(&mut *second).await);
    }
    assert!(texts.iter().all(|text| secret(text) != secret(&stale)), "the keys are the new link's");
    bench.phone.scan(texts.last().unwrap()).await.unwrap();
    connected(&mut *second).await;
    second.close().await;
    bench.clients_gone().await;
}
