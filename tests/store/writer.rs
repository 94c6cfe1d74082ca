//! The embedded store's writer on a failing disk: what ends it, and the errors of its callers.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tautan::store::{
    Change, StoreError,
    embedded::{CommitPoint, Settings},
};

use crate::{
    backend::{Backend as _, Embedded, in_time, settings},
    statuses::{connected, tenant},
};

/// Longer than the deadline of a step.
const ANSWER_MAX: Duration = Duration::from_secs(8);

/// A store that calls `commit` at each commit once it is switched on.
fn store_with(commit: impl Fn() + Send + Sync + 'static) -> (Embedded, Arc<AtomicBool>) {
    let (dir, switch) = (tempfile::tempdir().unwrap(), Arc::new(AtomicBool::new(false)));
    let on = switch.clone();
    let hook = move |point| {
        if point == CommitPoint::Before && on.load(Ordering::SeqCst) {
            commit();
        }
    };
    let settings = Settings { on_commit: Some(Arc::new(hook)), ..settings(dir.path()) };
    (Embedded::with(settings, dir), switch)
}

#[tokio::test]
async fn panic_of_the_writer_ends_the_store_and_its_leases() {
    let (store, fails) = store_with(|| panic!("an unexpected error of the disk"));
    let lease = store.running(&tenant("a")).await;
    fails.store(true, Ordering::SeqCst);
    let refused = store.journal().append(&lease, connected()).await;
    assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
    in_time(store.store.ended()).await;
    assert!(lease.lost().is_cancelled());
}

/// The caller has its answer in time. The step that has begun is done all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn step_exceeds_its_deadline_and_is_done_when_the_disk_answers() {
    let disk = Arc::new(AtomicBool::new(true));
    let answers = disk.clone();
    let (store, hangs) = store_with(move || {
        while !answers.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(5));
        }
    });
    let lease = store.running(&tenant("a")).await;
    let mut writable = store.store.writable();
    disk.store(false, Ordering::SeqCst);
    hangs.store(true, Ordering::SeqCst);
    let asked = Instant::now();
    let row = |key: &'static str| vec![Change::Put { table: "t", key: key.into(), value: "v".into() }];
    let (begun, queued) = tokio::join!(store.credentials().write(&lease, row("begun")), async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        store.credentials().write(&lease, row("queued")).await
    },);
    for refused in [begun, queued] {
        assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
    }
    assert!(asked.elapsed() < ANSWER_MAX, "{:?}", asked.elapsed());
    assert!(!*writable.borrow_and_update());
    disk.store(true, Ordering::SeqCst);
    in_time(async { drop(writable.wait_for(|writable| *writable).await) }).await;
    store.credentials().write(&lease, row("next")).await.unwrap();
    let holds = async |key: &str| store.credentials().get(&tenant("a"), "t", key.as_bytes()).await.unwrap().is_some();
    assert!(holds("begun").await && holds("next").await);
    assert!(!holds("queued").await, "its caller was gone before it began");
}
