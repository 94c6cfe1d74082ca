//! A process may die at every frame it sends and at every row it writes. Afterwards either the phone lists no device, or
//! the next process resumes it without a scan.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tautan::{session::Signal, store::Lease};

use crate::{
    bench::{Bench, connected, next, qr_text},
    shaky::{Kill, Shaky},
};

/// Pairs until the credential store dies or the pairing is done. True: it is done.
async fn pair_or_die(bench: &Bench, lease: &Lease) -> bool {
    let mut link = bench.open(lease).await;
    let died = async {
        while !bench.credentials.is_dead() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // Frames that were sent before it are on their way.
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let pairing = async {
        loop {
            match link.next().await {
                Some(Signal::Qr { text, .. }) => {
                    let phone = bench.phone.clone();
                    // A phone waits for an answer that may never come.
                    let _ = tokio::time::timeout(Duration::from_millis(300), phone.scan(&text)).await;
                }
                Some(Signal::Connected { .. }) => return,
                Some(_) => {}
                None => std::future::pending().await,
            }
        }
    };
    let through = tokio::select! {
        () = died => false,
        () = pairing => true,
    };
    // Without a close frame, as a killed process does.
    bench.credentials.die();
    drop(link);
    through
}

/// The result is consistent: no device on the phone, or one that logs in.
async fn check(bench: &mut Bench, lease: &Lease, killed: &str) {
    bench.sim.cut_all();
    // The simulator reads all sent frames before that.
    bench.sim.wait_until(Duration::from_secs(10), |sim| sim.sockets() == 0).await.expect("all are gone");
    bench.restart();
    let devices = bench.phone.devices();
    let mut link = bench.open(lease).await;
    if devices.is_empty() {
        // It may pair again, at the latest after WhatsApp has refused its login.
        let first = next(&mut *link).await;
        if matches!(first, Some(Signal::Ended(_))) {
            link.close().await;
            assert!(!bench.holds(lease).await, "killed {killed}: {first:?}");
            link = bench.open(lease).await;
            assert!(matches!(next(&mut *link).await, Some(Signal::Qr { .. })), "killed {killed}");
        } else {
            assert!(matches!(first, Some(Signal::Qr { .. })), "killed {killed}: {first:?}");
        }
    } else {
        assert_eq!(devices.len(), 1, "killed {killed}");
        connected(&mut *link).await;
        assert_eq!(bench.phone.devices(), devices, "killed {killed}");
    }
    link.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_at_any_frame_leaves_no_device_that_cannot_log_in() {
    let mut at = 1;
    loop {
        let (frames, credentials) = (Arc::new(AtomicU64::new(0)), Arc::new(OnceLock::<Arc<Shaky>>::new()));
        let (count, dying) = (frames.clone(), credentials.clone());
        let mut bench = Bench::with(|settings| {
            settings.outgoing_frame = Some(Arc::new(move |_| {
                if count.fetch_add(1, Ordering::SeqCst) + 1 == at {
                    dying.get().expect("set before the first link").die();
                    panic!("killed on purpose at frame {at}");
                }
            }));
        })
        .await;
        assert!(credentials.set(bench.credentials.clone()).is_ok());
        let lease = bench.lease().await;
        let through = pair_or_die(&bench, &lease).await;
        // The next process is not killed.
        frames.store(at, Ordering::SeqCst);
        check(&mut bench, &lease, &format!("at frame {at}")).await;
        if through {
            println!("killed at each of {} frames", at - 1);
            assert!(at > 10, "the hook was never reached");
            return;
        }
        at += 1;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_at_any_write_leaves_no_device_that_cannot_log_in() {
    for kill in [Kill::Before, Kill::After] {
        let mut at = 1;
        loop {
            let mut bench = Bench::new().await;
            let lease = bench.lease().await;
            bench.credentials.kill_at(at, kill);
            let through = pair_or_die(&bench, &lease).await;
            check(&mut bench, &lease, &format!("{kill:?} write {at}")).await;
            if through {
                println!("killed {kill:?} each of {} writes", at - 1);
                assert!(at > 3, "nothing was written");
                break;
            }
            at += 1;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_when_the_phone_lists_the_device_loses_nothing() {
    let mut bench = Bench::new().await;
    let lease = bench.lease().await;
    bench.credentials.slow_device(Duration::from_millis(200));
    let mut link = bench.open(&lease).await;
    let text = qr_text(&mut *link).await;
    let device = bench.phone.scan(&text).await.unwrap();
    bench.credentials.die();
    drop(link);
    assert_eq!(bench.phone.devices(), [device]);
    check(&mut bench, &lease, "when the phone lists us").await;
    assert_eq!(bench.phone.devices(), [device]);
}
