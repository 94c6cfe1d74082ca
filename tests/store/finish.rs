use tautan::{
    events::EndReason,
    store::{DesiredState, Generation, StoreError},
};

use crate::{
    backend::Backend,
    statuses::{Received, all, ended, phone, qr, starting, tenant},
};

promises![
    finish_publishes_fulfils_and_releases,
    request_during_a_finish_is_not_lost,
    unlink_during_a_finish_is_not_lost,
    finish_with_a_released_lease_is_refused,
    finished_session_is_not_restarted_after_a_restart,
];

const RUN: DesiredState = DesiredState::run(None);

async fn finish_publishes_fulfils_and_releases(store: impl Backend + Sync) {
    let lease = store.running(&tenant("a")).await;
    let (desired, _) = store.commands().current(&tenant("a")).await.unwrap().unwrap();
    let lost = lease.lost().clone();
    let last = store.journal().finish(lease, ended(EndReason::Banned), desired).await.unwrap();
    assert_eq!(last.status, ended(EndReason::Banned));
    assert_eq!(store.journal().latest(&tenant("a")).await.unwrap().unwrap().event, last);
    assert!(lost.is_cancelled());
    assert_eq!(store.commands().current(&tenant("a")).await.unwrap(), None);
    assert!(store.ownership().orphaned(10).await.unwrap().is_empty());
    assert!(store.ownership().acquire(&tenant("a")).await.unwrap().is_none(), "it is not requested");
}

async fn request_during_a_finish_is_not_lost(store: impl Backend + Sync) {
    let lease = store.running(&tenant("a")).await;
    let (old, _) = store.commands().current(&tenant("a")).await.unwrap().unwrap();
    store.journal().append(&lease, qr(1)).await.unwrap();
    let mut reader = store.journal().subscribe(&tenant("a"), None).await;
    let newer = DesiredState::run(Some(phone()));
    let number = store.commands().request(&tenant("a"), newer.clone()).await.unwrap();
    assert!(number > old);
    store.commands().notified().await;
    let last = store.journal().finish(lease, ended(EndReason::QrExpired), old).await.unwrap();
    assert_eq!(last.status, ended(EndReason::QrExpired));
    assert_eq!(
        all(&mut reader).await,
        [Received::Event(qr(1)), Received::Event(ended(EndReason::QrExpired)), Received::Event(starting())]
    );
    assert_eq!(store.commands().notified().await, [tenant("a")]);
    assert_eq!(store.ownership().orphaned(10).await.unwrap(), [tenant("a")]);
    assert_eq!(store.commands().current(&tenant("a")).await.unwrap(), Some((number, newer)));
    assert!(store.ownership().acquire(&tenant("a")).await.unwrap().is_some());
}

async fn unlink_during_a_finish_is_not_lost(store: impl Backend + Sync) {
    let lease = store.running(&tenant("a")).await;
    let (old, _) = store.commands().current(&tenant("a")).await.unwrap().unwrap();
    let number = store.commands().request(&tenant("a"), DesiredState::Unlink).await.unwrap();
    store.commands().notified().await;
    store.journal().finish(lease, ended(EndReason::Internal), old).await.unwrap();
    assert_eq!(store.commands().notified().await, [tenant("a")]);
    assert_eq!(store.commands().current(&tenant("a")).await.unwrap(), Some((number, DesiredState::Unlink)));
    let lease = store.ownership().acquire(&tenant("a")).await.unwrap().unwrap();
    let newest = store.journal().latest(&tenant("a")).await.unwrap().unwrap().event;
    assert_eq!(newest.status, ended(EndReason::Internal), "what is only wiped is not shown as connecting");
    store.journal().finish(lease, ended(EndReason::UnlinkedByUser), number).await.unwrap();
    assert_eq!(store.commands().current(&tenant("a")).await.unwrap(), None);
}

async fn finish_with_a_released_lease_is_refused(store: impl Backend + Sync) {
    let lease = store.running(&tenant("a")).await;
    store.ownership().release(lease.clone()).await.unwrap();
    let before = store.journal().latest(&tenant("a")).await.unwrap().unwrap().event;
    let refused = store.journal().finish(lease, ended(EndReason::Internal), Generation(1)).await;
    assert!(matches!(refused, Err(StoreError::Fenced)));
    assert_eq!(store.journal().latest(&tenant("a")).await.unwrap().unwrap().event, before);
    assert!(store.commands().current(&tenant("a")).await.unwrap().is_some());
}

async fn finished_session_is_not_restarted_after_a_restart(store: impl Backend + Sync) {
    let lease = store.running(&tenant("a")).await;
    let (desired, _) = store.commands().current(&tenant("a")).await.unwrap().unwrap();
    store.journal().finish(lease, ended(EndReason::Banned), desired).await.unwrap();
    let store = store.reopen().await;
    assert!(store.ownership().orphaned(10).await.unwrap().is_empty());
    assert_eq!(store.journal().latest(&tenant("a")).await.unwrap().unwrap().event.status, ended(EndReason::Banned));
    assert!(store.commands().request(&tenant("a"), RUN).await.unwrap() > desired, "numbers go on");
    assert!(store.ownership().acquire(&tenant("a")).await.unwrap().is_some());
}
