use std::time::Duration;

use bytes::Bytes;
use tautan::{
    events::EndReason,
    store::{Change, DesiredState, Generation, Lease, StoreError},
};
use tokio::task::JoinSet;

use crate::{
    backend::Backend,
    statuses::{account, connected, ended, qr, resuming, starting, tenant},
};

promises![
    tenant_without_a_request_is_not_acquired,
    one_of_many_acquires,
    acquire_publishes_the_takeover_status,
    released_lease_is_refused_everywhere,
    lease_of_an_earlier_incarnation_is_refused_everywhere,
    refused_write_changes_nothing,
    release_ends_the_lease_and_notifies,
    lease_dropped_everywhere_frees_its_tenant,
    cancelled_acquire_frees_its_tenant,
    crashes_are_counted_across_owners_for_as_long_as_they_matter,
];

const RUN: DesiredState = DesiredState::run(None);

async fn tenant_without_a_request_is_not_acquired(store: impl Backend + Sync) {
    assert!(store.ownership().acquire(&tenant("a")).await.unwrap().is_none());
    assert!(store.journal().latest(&tenant("a")).await.unwrap().is_none());
}

async fn one_of_many_acquires(store: impl Backend + Sync) {
    for round in 0..20 {
        let name = tenant(&format!("t{round}"));
        store.commands().request(&name, RUN).await.unwrap();
        let racers = (0..8).map(|_| (store.stores().ownership.clone(), name.clone()));
        let racers = racers.map(|(ownership, name)| async move { ownership.acquire(&name).await.unwrap() });
        let leases: Vec<Option<Lease>> = JoinSet::from_iter(racers).join_all().await;
        assert_eq!(leases.iter().flatten().count(), 1);
    }
}

async fn acquire_publishes_the_takeover_status(store: impl Backend + Sync) {
    let taken_from = [
        (None, starting()),
        (Some(qr(1)), starting()),
        (Some(connected()), resuming()),
        (Some(resuming()), resuming()),
        (Some(starting()), starting()),
    ];
    for (round, (before, after)) in taken_from.into_iter().enumerate() {
        let name = tenant(&format!("t{round}"));
        let lease = store.running(&name).await;
        if let Some(before) = before {
            store.journal().append(&lease, before).await.unwrap();
        }
        store.ownership().release(lease).await.unwrap();
        let _lease = store.ownership().acquire(&name).await.unwrap().unwrap();
        let newest = store.journal().latest(&name).await.unwrap().unwrap().event;
        assert_eq!(newest.status, after);
        assert_eq!(newest.status.account(), (after == resuming()).then(account).as_ref());
    }
}

async fn released_lease_is_refused_everywhere(store: impl Backend + Sync) {
    let lease = store.running(&tenant("a")).await;
    store.ownership().release(lease.clone()).await.unwrap();
    refused_everywhere(&store, &lease).await;
    let owner = store.ownership().acquire(&tenant("a")).await.unwrap().unwrap();
    refused_everywhere(&store, &lease).await;
    store.journal().append(&owner, connected()).await.expect("the owner is not disturbed");
    assert!(!owner.lost().is_cancelled());
}

async fn lease_of_an_earlier_incarnation_is_refused_everywhere(store: impl Backend + Sync) {
    let lease = store.running(&tenant("a")).await;
    let store = store.reopen().await;
    refused_everywhere(&store, &lease).await;
    let _owner = store.ownership().acquire(&tenant("a")).await.unwrap().unwrap();
    refused_everywhere(&store, &lease).await;
}

async fn refused_everywhere(store: &(impl Backend + Sync), lease: &Lease) {
    let put = || Change::Put { table: "t", key: Bytes::from("k"), value: Bytes::from("v") };
    let answers = [
        store.journal().append(lease, qr(9)).await.map(drop),
        store.journal().finish(lease.clone(), ended(EndReason::Internal), Generation(1)).await.map(drop),
        store.credentials().write(lease, vec![put()]).await,
        store.credentials().erase(lease).await,
        store.ownership().release(lease.clone()).await,
    ];
    for answer in answers {
        assert!(matches!(answer, Err(StoreError::Fenced)), "{answer:?}");
    }
}

async fn refused_write_changes_nothing(store: impl Backend + Sync) {
    let stale = store.running(&tenant("a")).await;
    store.ownership().release(stale.clone()).await.unwrap();
    let owner = store.ownership().acquire(&tenant("a")).await.unwrap().unwrap();
    let put = |number: usize| {
        let (key, value) = (Bytes::from(format!("k{number}")), Bytes::from("v"));
        vec![Change::Put { table: "t", key, value }]
    };
    // Both at once, so that they share commits: a refused one among the others takes and adds nothing.
    let (credentials, other) = (store.stores().credentials.clone(), store.stores().credentials.clone());
    let allowed = JoinSet::from_iter((0..50).map(|number| {
        let (credentials, owner, changes) = (credentials.clone(), owner.clone(), put(number));
        async move { credentials.write(&owner, changes).await.is_ok() }
    }));
    let refused = JoinSet::from_iter((50..100).map(|number| {
        let (credentials, stale, changes) = (other.clone(), stale.clone(), put(number));
        async move { credentials.write(&stale, changes).await.is_err() }
    }));
    assert!(allowed.join_all().await.into_iter().all(|done| done));
    assert!(refused.join_all().await.into_iter().all(|done| done));
    assert_eq!(store.credentials().table(&tenant("a"), "t").await.unwrap().len(), 50);
}

async fn release_ends_the_lease_and_notifies(store: impl Backend + Sync) {
    let lease = store.running(&tenant("a")).await;
    let newest = store.journal().append(&lease, connected()).await.unwrap().event;
    store.commands().notified().await;
    let lost = lease.lost().clone();
    assert!(!lost.is_cancelled());
    store.ownership().release(lease).await.unwrap();
    assert!(lost.is_cancelled());
    assert_eq!(store.commands().notified().await, [tenant("a")]);
    assert_eq!(store.journal().latest(&tenant("a")).await.unwrap().unwrap().event, newest, "nothing was said");
    assert_eq!(store.ownership().orphaned(10).await.unwrap(), [tenant("a")]);
}

async fn lease_dropped_everywhere_frees_its_tenant(store: impl Backend + Sync) {
    if !store.notices_dropped_leases() {
        return;
    }
    let lease = store.running(&tenant("a")).await;
    let (clone, lost) = (lease.clone(), lease.lost().clone());
    drop(lease);
    assert!(store.ownership().acquire(&tenant("a")).await.unwrap().is_none(), "a clone is the same lease");
    drop(clone);
    assert!(lost.is_cancelled());
    assert_eq!(store.ownership().orphaned(10).await.unwrap(), [tenant("a")]);
    assert!(store.ownership().acquire(&tenant("a")).await.unwrap().is_some());
}

async fn cancelled_acquire_frees_its_tenant(store: impl Backend + Sync) {
    if !store.notices_dropped_leases() {
        return;
    }
    for round in 0..50 {
        let name = tenant(&format!("t{round}"));
        store.commands().request(&name, RUN).await.unwrap();
        let given_up = std::time::Duration::from_micros(round * 20);
        let lease = tokio::time::timeout(given_up, store.ownership().acquire(&name)).await;
        drop(lease);
        // In the same queue behind whatever became of the first.
        assert!(store.ownership().acquire(&name).await.unwrap().is_some());
    }
}

async fn crashes_are_counted_across_owners_for_as_long_as_they_matter(store: impl Backend + Sync) {
    const LONG: Duration = Duration::from_secs(600);
    let first = store.running(&tenant("a")).await;
    for count in 1..=2 {
        assert_eq!(store.ownership().crashed(&first, LONG).await.unwrap(), count);
    }
    store.ownership().release(first.clone()).await.unwrap();
    let second = store.ownership().acquire(&tenant("a")).await.unwrap().unwrap();
    assert_eq!(store.ownership().crashed(&second, LONG).await.unwrap(), 3);
    assert!(matches!(store.ownership().crashed(&first, LONG).await, Err(StoreError::Fenced)));
    // The clock goes on by a second with each look.
    assert_eq!(
        store.ownership().crashed(&second, Duration::from_secs(1)).await.unwrap(),
        1,
        "the others are long past"
    );
    let other = store.running(&tenant("b")).await;
    assert_eq!(store.ownership().crashed(&other, LONG).await.unwrap(), 1);
}
