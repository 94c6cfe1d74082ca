use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, Ordering},
};

use tautan::{
    events::{EndReason, Status},
    store::{StoreError, Update},
};

use crate::{
    backend::Backend,
    statuses::{Received, all, connected, ended, next, numbered, qr, starting, tenant},
};

promises![
    tenant_without_a_session_has_no_newest_event,
    appended_event_is_the_newest_and_is_published,
    equal_status_is_not_appended_again,
    since_changes_with_the_word_and_not_with_the_code,
    append_returns_the_number_of_readers,
    refused_append_changes_and_publishes_nothing,
    event_is_published_exactly_if_it_is_saved,
    tenants_receive_no_events_of_each_other,
    closed_store_ends_leases_and_subscriptions,
];

async fn tenant_without_a_session_has_no_newest_event(store: impl Backend + Sync) {
    assert!(store.journal().latest(&tenant("a")).await.unwrap().is_none());
    let mut reader = store.journal().subscribe(&tenant("a"), None).await;
    assert_eq!(reader.backlog(), 0);
    assert_eq!(all(&mut reader).await, []);
}

async fn appended_event_is_the_newest_and_is_published(store: impl Backend + Sync) {
    let lease = store.running(&tenant("a")).await;
    let mut reader = store.journal().subscribe(&tenant("a"), None).await;
    assert_eq!(next(&mut reader).await, Some(Received::Event(starting())));
    for status in [qr(1), qr(2), connected()] {
        let appended = store.journal().append(&lease, status.clone()).await.unwrap();
        let newest = store.journal().latest(&tenant("a")).await.unwrap().unwrap();
        assert_eq!(newest.event, appended.event);
        assert!(!newest.stale);
        assert_eq!(next(&mut reader).await, Some(Received::Event(status)));
    }
}

async fn equal_status_is_not_appended_again(store: impl Backend + Sync) {
    let lease = store.running(&tenant("a")).await;
    let first = store.journal().append(&lease, connected()).await.unwrap();
    let mut reader = store.journal().subscribe(&tenant("a"), Some(first.event.id())).await;
    let again = store.journal().append(&lease, connected()).await.unwrap();
    assert_eq!(first.event, again.event);
    assert_eq!(all(&mut reader).await, store.present(connected()));
}

async fn since_changes_with_the_word_and_not_with_the_code(store: impl Backend + Sync) {
    let lease = store.running(&tenant("a")).await;
    let first = store.journal().append(&lease, qr(1)).await.unwrap().event;
    let second = store.journal().append(&lease, qr(2)).await.unwrap().event;
    let linked = store.journal().append(&lease, connected()).await.unwrap().event;
    assert_eq!(second.since, first.since);
    assert!(second.at > first.at);
    assert_eq!(linked.since, linked.at);
}

async fn append_returns_the_number_of_readers(store: impl Backend + Sync) {
    let lease = store.running(&tenant("a")).await;
    let count = async |number| store.journal().append(&lease, numbered(number)).await.unwrap().listeners;
    assert_eq!(count(0).await, 0);
    let one = store.journal().subscribe(&tenant("a"), None).await;
    let two = store.journal().subscribe(&tenant("a"), None).await;
    let _other = store.journal().subscribe(&tenant("b"), None).await;
    assert_eq!(count(1).await, 2);
    drop(one);
    assert_eq!(count(2).await, 1);
    drop(two);
    assert_eq!(count(3).await, 0);
}

async fn refused_append_changes_and_publishes_nothing(store: impl Backend + Sync) {
    let stale = store.running(&tenant("a")).await;
    store.ownership().release(stale.clone()).await.unwrap();
    let owner = store.ownership().acquire(&tenant("a")).await.unwrap().unwrap();
    let before = store.journal().append(&owner, connected()).await.unwrap().event;
    let mut reader = store.journal().subscribe(&tenant("a"), Some(before.id())).await;
    all(&mut reader).await;
    let refused = store.journal().append(&stale, ended(EndReason::Internal)).await;
    assert!(matches!(refused, Err(StoreError::Fenced)));
    assert_eq!(store.journal().latest(&tenant("a")).await.unwrap().unwrap().event, before);
    assert_eq!(all(&mut reader).await, []);
}

/// Two owners in turn, of whom the first does not know of the second, and many tasks that append for both: the events
/// that a reader receives are exactly those that were acknowledged, in order, and the last one is the newest.
async fn event_is_published_exactly_if_it_is_saved(store: impl Backend + Sync) {
    const APPENDS: u64 = 60;
    let first = store.running(&tenant("a")).await;
    let reader = store.journal().subscribe(&tenant("a"), None).await;
    let done = AtomicBool::new(false);
    let listen = async {
        let mut reader = reader;
        let mut updates = BTreeMap::new();
        let mut highest = None;
        loop {
            match crate::statuses::waiting(&mut reader).await {
                Some(Update::Event(event)) => {
                    assert!(highest < Some(event.cursor), "in order and none twice");
                    highest = Some(event.cursor);
                    updates.insert(event.cursor, event.status.clone());
                }
                Some(Update::Refresh(_)) => {}
                None if done.load(Ordering::SeqCst) => return updates,
                None => {}
            }
        }
    };
    let write = async {
        let mut kept = BTreeMap::new();
        let mut second = None;
        for number in 0..APPENDS {
            if number == APPENDS / 2 {
                store.ownership().release(first.clone()).await.unwrap();
                second = store.ownership().acquire(&tenant("a")).await.unwrap();
                let resumed = store.journal().latest(&tenant("a")).await.unwrap().unwrap().event;
                kept.insert(resumed.cursor, resumed.status.clone());
            }
            let by_first = store.journal().append(&first, numbered(number * 2)).await;
            let by_second = match &second {
                Some(second) => Some(store.journal().append(second, numbered(number * 2 + 1)).await),
                None => None,
            };
            assert_eq!(by_first.is_ok(), second.is_none(), "the succeeded owner is refused");
            let events = by_first.into_iter().chain(by_second.into_iter().flatten());
            kept.extend(events.map(|appended| (appended.event.cursor, appended.event.status.clone())));
        }
        done.store(true, Ordering::SeqCst);
        kept
    };
    let (mut updates, kept) = tokio::join!(listen, write);
    assert_eq!(updates.pop_first().map(|(_, status)| status), Some(starting()));
    assert_eq!(updates, kept);
    let newest = store.journal().latest(&tenant("a")).await.unwrap().unwrap().event;
    assert_eq!(kept.last_key_value(), Some((&newest.cursor, &newest.status)));
}

async fn tenants_receive_no_events_of_each_other(store: impl Backend + Sync) {
    let (a, b) = (store.running(&tenant("a")).await, store.running(&tenant("ab")).await);
    let mut reader = store.journal().subscribe(&tenant("a"), None).await;
    store.journal().append(&b, connected()).await.unwrap();
    store.journal().append(&a, qr(1)).await.unwrap();
    assert_eq!(all(&mut reader).await, [Received::Event(starting()), Received::Event(qr(1))]);
    let newest = store.journal().latest(&tenant("ab")).await.unwrap().unwrap().event;
    assert!(matches!(newest.status, Status::Connected { .. }));
}

async fn closed_store_ends_leases_and_subscriptions(store: impl Backend + Sync) {
    let lease = store.running(&tenant("a")).await;
    let appended = store.journal().append(&lease, connected()).await.unwrap();
    let mut reader = store.journal().subscribe(&tenant("a"), Some(appended.event.id())).await;
    assert_eq!(all(&mut reader).await, store.present(connected()));
    let stores = store.stores().clone();
    let reopened = store.reopen().await;
    lease.lost().cancelled().await;
    assert!(reader.next().await.is_none());
    assert!(matches!(stores.journal.append(&lease, starting()).await, Err(StoreError::Unavailable(_))));
    assert!(matches!(reopened.journal().append(&lease, starting()).await, Err(StoreError::Fenced)));
}
