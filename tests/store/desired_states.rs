use std::{collections::BTreeSet, time::Duration};

use bytes::Bytes;
use tautan::{
    events::EndReason,
    link_options::LinkOptions,
    store::{Change, DesiredState},
    tenant::TenantId,
};

use crate::{
    backend::Backend,
    statuses::{connected, ended, phone, qr, starting, tenant},
};

promises![
    request_to_run_publishes_starting_and_notifies,
    request_is_still_there_after_a_restart,
    second_request_is_one_session_and_a_higher_generation,
    expected_number_holds_until_the_link_is_given_up,
    request_to_run_leaves_a_running_session_as_it_is,
    unlink_without_a_link_is_fulfilled_at_once,
    unlink_with_credentials_left_is_saved,
    unlink_of_a_running_session_is_saved_and_notifies,
    orphaned_tenants_are_requested_and_have_no_owner,
    notification_is_not_lost_when_its_waiter_is_cancelled,
    tenant_notified_twice_is_returned_once,
];

const RUN: DesiredState = DesiredState::run(None);

async fn request_to_run_publishes_starting_and_notifies(store: impl Backend + Sync) {
    let number = store.commands().request(&tenant("a"), RUN).await.unwrap();
    assert_eq!(store.journal().latest(&tenant("a")).await.unwrap().unwrap().event.status, starting());
    assert_eq!(store.commands().current(&tenant("a")).await.unwrap(), Some((number, RUN)));
    assert_eq!(store.commands().notified().await, [tenant("a")]);
}

async fn request_is_still_there_after_a_restart(store: impl Backend + Sync) {
    let desired = DesiredState::run(Some(phone()));
    let number = store.commands().request(&tenant("a"), desired.clone()).await.unwrap();
    let store = store.reopen().await;
    assert_eq!(store.commands().current(&tenant("a")).await.unwrap(), Some((number, desired)));
    assert_eq!(store.ownership().orphaned(10).await.unwrap(), [tenant("a")]);
    assert_eq!(store.journal().latest(&tenant("a")).await.unwrap().unwrap().event.status, starting());
    assert!(store.commands().request(&tenant("a"), RUN).await.unwrap() > number);
}

async fn second_request_is_one_session_and_a_higher_generation(store: impl Backend + Sync) {
    let first = store.commands().request(&tenant("a"), RUN).await.unwrap();
    let event = store.journal().latest(&tenant("a")).await.unwrap().unwrap().event;
    let second = store.commands().request(&tenant("a"), RUN).await.unwrap();
    assert!(second > first);
    assert_eq!(store.journal().latest(&tenant("a")).await.unwrap().unwrap().event, event, "nothing was said twice");
    assert!(store.ownership().acquire(&tenant("a")).await.unwrap().is_some_and(|_lease| {
        // Held until here: the second one is asked while the first is alive.
        true
    }));
}

async fn expected_number_holds_until_the_link_is_given_up(store: impl Backend + Sync) {
    let expecting = DesiredState::Run { phone: None, options: LinkOptions::expecting(phone()) };
    let name = tenant("a");
    store.commands().request(&name, expecting.clone()).await.unwrap();
    store.commands().request(&name, RUN).await.unwrap();
    let store = store.reopen().await;
    let (desired, kept) = store.commands().current(&name).await.unwrap().unwrap();
    assert_eq!(kept, expecting, "a later request without a number");

    let lease = store.ownership().acquire(&name).await.unwrap().unwrap();
    let expired = ended(EndReason::QrExpired).expecting(Some(&phone()));
    store.journal().finish(lease, expired, desired).await.unwrap();
    let store = store.reopen().await;
    let desired = store.commands().request(&name, RUN).await.unwrap();
    assert_eq!(store.commands().current(&name).await.unwrap(), Some((desired, expecting)), "over an end");

    let lease = store.ownership().acquire(&name).await.unwrap().unwrap();
    store.journal().finish(lease, ended(EndReason::UnlinkedByUser), desired).await.unwrap();
    let desired = store.commands().request(&name, RUN).await.unwrap();
    assert_eq!(store.commands().current(&name).await.unwrap(), Some((desired, RUN)), "given up");
}

async fn request_to_run_leaves_a_running_session_as_it_is(store: impl Backend + Sync) {
    let lease = store.running(&tenant("a")).await;
    for status in [qr(1), connected()] {
        let event = store.journal().append(&lease, status).await.unwrap().event;
        store.commands().request(&tenant("a"), RUN).await.unwrap();
        assert_eq!(store.journal().latest(&tenant("a")).await.unwrap().unwrap().event, event);
    }
}

async fn unlink_without_a_link_is_fulfilled_at_once(store: impl Backend + Sync) {
    store.commands().request(&tenant("never"), DesiredState::Unlink).await.unwrap();
    assert_eq!(store.commands().current(&tenant("never")).await.unwrap(), None);
    assert!(store.journal().latest(&tenant("never")).await.unwrap().is_none());

    let lease = store.running(&tenant("a")).await;
    let (desired, _) = store.commands().current(&tenant("a")).await.unwrap().unwrap();
    let last = store.journal().finish(lease, ended(EndReason::QrExpired), desired).await.unwrap();
    store.commands().request(&tenant("a"), DesiredState::Unlink).await.unwrap();
    assert_eq!(store.commands().current(&tenant("a")).await.unwrap(), None);
    assert_eq!(store.journal().latest(&tenant("a")).await.unwrap().unwrap().event, last);
    assert!(store.ownership().orphaned(10).await.unwrap().is_empty());
    assert!(
        store.commands().request(&tenant("a"), RUN).await.unwrap() > desired,
        "a later request has a higher number"
    );
}

async fn unlink_with_credentials_left_is_saved(store: impl Backend + Sync) {
    let lease = store.running(&tenant("a")).await;
    let (desired, _) = store.commands().current(&tenant("a")).await.unwrap().unwrap();
    let row = Change::Put { table: "identity", key: Bytes::from("k"), value: Bytes::from("v") };
    store.credentials().write(&lease, vec![row]).await.unwrap();
    store.journal().finish(lease, ended(EndReason::Replaced), desired).await.unwrap();
    let number = store.commands().request(&tenant("a"), DesiredState::Unlink).await.unwrap();
    assert_eq!(store.commands().current(&tenant("a")).await.unwrap(), Some((number, DesiredState::Unlink)));
    let lease = store.ownership().acquire(&tenant("a")).await.unwrap().unwrap();
    store.credentials().erase(&lease).await.unwrap();
    store.journal().finish(lease, ended(EndReason::UnlinkedByUser), number).await.unwrap();
    assert_eq!(store.commands().current(&tenant("a")).await.unwrap(), None);
}

async fn unlink_of_a_running_session_is_saved_and_notifies(store: impl Backend + Sync) {
    let lease = store.running(&tenant("a")).await;
    store.commands().notified().await;
    store.journal().append(&lease, connected()).await.unwrap();
    let number = store.commands().request(&tenant("a"), DesiredState::Unlink).await.unwrap();
    assert_eq!(store.commands().notified().await, [tenant("a")]);
    let store = store.reopen().await;
    assert_eq!(store.commands().current(&tenant("a")).await.unwrap(), Some((number, DesiredState::Unlink)));
}

async fn orphaned_tenants_are_requested_and_have_no_owner(store: impl Backend + Sync) {
    let names: BTreeSet<TenantId> = ["a", "b", "c", "d"].map(tenant).into();
    for name in &names {
        store.commands().request(name, RUN).await.unwrap();
    }
    let owned = store.ownership().acquire(&tenant("b")).await.unwrap().unwrap();
    let finished = store.ownership().acquire(&tenant("c")).await.unwrap().unwrap();
    let (desired, _) = store.commands().current(&tenant("c")).await.unwrap().unwrap();
    store.journal().finish(finished, ended(EndReason::Banned), desired).await.unwrap();
    let unattended = BTreeSet::from_iter(store.ownership().orphaned(10).await.unwrap());
    assert_eq!(unattended, ["a", "d"].map(tenant).into());
    assert_eq!(store.ownership().orphaned(1).await.unwrap().len(), 1);
    drop(owned);
    let store = store.reopen().await;
    let unattended = BTreeSet::from_iter(store.ownership().orphaned(10).await.unwrap());
    assert_eq!(unattended, ["a", "b", "d"].map(tenant).into(), "all leases ended with the incarnation");
}

async fn notification_is_not_lost_when_its_waiter_is_cancelled(store: impl Backend + Sync) {
    const ROUNDS: usize = 300;
    let mut expected = BTreeSet::new();
    let mut named = BTreeSet::new();
    for round in 0..ROUNDS {
        let name = tenant(&format!("t{round}"));
        expected.insert(name.clone());
        let want = store.commands().request(&name, RUN);
        // The waiting call is cancelled at any point, when the request is saved or shortly before.
        tokio::select! {
            taken = store.commands().notified() => named.extend(taken),
            _ = tokio::time::timeout(Duration::from_micros(round as u64 * 10), want) => {}
        }
    }
    store.commands().request(&tenant("last"), RUN).await.unwrap();
    expected.insert(tenant("last"));
    while !named.contains(&tenant("last")) {
        named.extend(store.commands().notified().await);
    }
    for name in &expected {
        let wanted = store.commands().current(name).await.unwrap().is_some();
        while wanted && !named.contains(name) {
            // It was saved a moment ago by a call that was cancelled.
            named.extend(store.commands().notified().await);
        }
        assert_eq!(wanted, named.contains(name), "{name}");
    }
}

async fn tenant_notified_twice_is_returned_once(store: impl Backend + Sync) {
    for _ in 0..3 {
        store.commands().request(&tenant("a"), RUN).await.unwrap();
        store.commands().request(&tenant("b"), RUN).await.unwrap();
    }
    let mut named = store.commands().notified().await;
    named.sort();
    assert_eq!(named, ["a", "b"].map(tenant));
    let more = tokio::time::timeout(Duration::from_millis(20), store.commands().notified()).await;
    assert!(more.is_err());
}
