//! Whether the shown status is stale.

use tautan::{events::EndReason, store::DesiredState};

use crate::{
    backend::Backend,
    statuses::{Received, all, connected, ended, next, resuming, starting, tenant},
};

promises![
    status_is_stale_while_the_tenant_has_no_owner,
    disconnected_tenant_is_never_stale,
    readers_get_refreshes_at_a_handover,
    readers_get_a_refresh_when_an_unchanged_status_is_confirmed,
    returning_reader_gets_a_refresh_when_no_longer_stale,
    connected_tenant_is_stale_after_a_restart_until_acquired,
];

async fn status_is_stale_while_the_tenant_has_no_owner(store: impl Backend + Sync) {
    let stale = async || store.journal().latest(&tenant("a")).await.unwrap().unwrap().stale;
    store.commands().request(&tenant("a"), DesiredState::run(None)).await.unwrap();
    assert!(stale().await);
    let lease = store.ownership().acquire(&tenant("a")).await.unwrap().unwrap();
    assert!(!stale().await);
    store.journal().append(&lease, connected()).await.unwrap();
    assert!(!stale().await);
    store.ownership().release(lease).await.unwrap();
    assert!(stale().await);
}

async fn disconnected_tenant_is_never_stale(store: impl Backend + Sync) {
    let lease = store.running(&tenant("a")).await;
    let desired = store.commands().current(&tenant("a")).await.unwrap().unwrap().0;
    store.journal().finish(lease, ended(EndReason::Replaced), desired).await.unwrap();
    assert!(!store.journal().latest(&tenant("a")).await.unwrap().unwrap().stale);
    let mut reader = store.journal().subscribe(&tenant("a"), None).await;
    assert_eq!(all(&mut reader).await, [Received::Event(ended(EndReason::Replaced))]);
    let store = store.reopen().await;
    assert!(!store.journal().latest(&tenant("a")).await.unwrap().unwrap().stale);
}

async fn readers_get_refreshes_at_a_handover(store: impl Backend + Sync) {
    let lease = store.running(&tenant("a")).await;
    store.journal().append(&lease, connected()).await.unwrap();
    let mut reader = store.journal().subscribe(&tenant("a"), None).await;
    assert_eq!(next(&mut reader).await, Some(Received::Event(connected())));
    store.ownership().release(lease).await.unwrap();
    assert_eq!(next(&mut reader).await, Some(Received::Stale(connected())));
    let mut late = store.journal().subscribe(&tenant("a"), None).await;
    assert_eq!(all(&mut late).await, [Received::Stale(connected())], "no current status without an owner");
    let _lease = store.ownership().acquire(&tenant("a")).await.unwrap().unwrap();
    assert_eq!(next(&mut reader).await, Some(Received::Event(resuming())));
    assert_eq!(next(&mut late).await, Some(Received::Event(resuming())));
}

async fn readers_get_a_refresh_when_an_unchanged_status_is_confirmed(store: impl Backend + Sync) {
    store.commands().request(&tenant("a"), DesiredState::run(None)).await.unwrap();
    let mut reader = store.journal().subscribe(&tenant("a"), None).await;
    assert_eq!(all(&mut reader).await, [Received::Stale(starting())]);
    let _lease = store.ownership().acquire(&tenant("a")).await.unwrap().unwrap();
    assert_eq!(all(&mut reader).await, [Received::Fresh(starting())]);
}

async fn returning_reader_gets_a_refresh_when_no_longer_stale(store: impl Backend + Sync) {
    store.commands().request(&tenant("a"), DesiredState::run(None)).await.unwrap();
    let newest = store.journal().latest(&tenant("a")).await.unwrap().unwrap().event.id();
    let lease = store.ownership().acquire(&tenant("a")).await.unwrap().unwrap();
    let mut reader = store.journal().subscribe(&tenant("a"), Some(newest)).await;
    assert_eq!(all(&mut reader).await, [Received::Fresh(starting())]);
    let newest = store.journal().append(&lease, connected()).await.unwrap().event.id();
    let mut reader = store.journal().subscribe(&tenant("a"), Some(newest)).await;
    assert_eq!(all(&mut reader).await, store.present(connected()), "this one was never in doubt here");
}

async fn connected_tenant_is_stale_after_a_restart_until_acquired(store: impl Backend + Sync) {
    let lease = store.running(&tenant("a")).await;
    store.journal().append(&lease, connected()).await.unwrap();
    let store = store.reopen().await;
    let newest = store.journal().latest(&tenant("a")).await.unwrap().unwrap();
    assert_eq!(newest.event.status, connected());
    assert!(newest.stale);
    let lease = store.ownership().acquire(&tenant("a")).await.unwrap().unwrap();
    store.journal().append(&lease, connected()).await.unwrap();
    assert!(!store.journal().latest(&tenant("a")).await.unwrap().unwrap().stale);
}
