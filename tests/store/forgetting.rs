//! Data that is forgotten: events that name an account whose link was given up, and idle tenants.

use std::time::Duration;

use redb::TableDefinition;
use tautan::{
    events::{EndReason, EventId},
    store::{Change, DesiredState, Lease},
    tenant::TenantId,
};
use tautan_test_support::with_store;

use crate::{
    backend::{Backend, Embedded, FORGET_AFTER, delivered, failed, instance, next_entry},
    redis::{keys, with_redis},
    statuses::{PHONE, Received, all, connected, ended, next, numbered, qr, starting, tenant},
};

promises![
    link_that_is_given_up_leaves_no_event_that_names_it,
    link_that_ended_otherwise_keeps_its_history,
    reader_that_is_behind_an_unlink_gets_what_followed_it,
    idle_tenant_is_forgotten_after_its_time,
    tenant_with_credentials_request_or_owner_is_kept,
    clock_that_jumps_forgets_no_tenant,
    new_request_restarts_the_idle_time,
    idle_time_goes_on_over_a_restart,
    forgotten_tenant_begins_a_new_journal,
    request_beside_the_forgetting_is_not_lost,
    disconnect_of_an_unknown_tenant_leaves_no_record,
    undelivered_outbox_entry_is_removed_with_its_tenant,
];

const RUN: DesiredState = DesiredState::run(None);
const HALF_HOUR: i64 = 1_800;

async fn runs_with_rows(store: &(impl Backend + Sync), name: &str) -> Lease {
    let lease = store.running(&tenant(name)).await;
    let row = Change::Put { table: "t", key: "k".into(), value: "v".into() };
    store.credentials().write(&lease, vec![row]).await.unwrap();
    lease
}

async fn finishes(store: &(impl Backend + Sync), lease: Lease, reason: EndReason) -> EventId {
    let (desired, _) = store.commands().current(lease.tenant()).await.unwrap().unwrap();
    store.journal().finish(lease, ended(reason), desired).await.unwrap().id()
}

/// An idle tenant: it has no credentials, desired state and owner.
async fn idles(store: &(impl Backend + Sync), name: &str) -> EventId {
    let lease = store.running(&tenant(name)).await;
    finishes(store, lease, EndReason::QrExpired).await
}

/// Advances the clock, and lets the store look for idle tenants as often as it should.
async fn half_hours_pass(store: &(impl Backend + Sync), count: u32) {
    for _ in 0..count {
        store.clock_goes(HALF_HOUR).await;
        store.forget_idle().await;
    }
}

const HALF_HOURS: u32 = (FORGET_AFTER.as_secs() / HALF_HOUR as u64) as u32;

async fn is_known(store: &(impl Backend + Sync), tenant: &TenantId) -> bool {
    store.journal().latest(tenant).await.unwrap().is_some()
}

async fn link_that_is_given_up_leaves_no_event_that_names_it(store: impl Backend + Sync) {
    for reason in [EndReason::UnlinkedByUser, EndReason::UnlinkedByPhone, EndReason::Cancelled] {
        let name = reason.as_str();
        let lease = runs_with_rows(&store, name).await;
        let mut ids = vec![store.journal().latest(&tenant(name)).await.unwrap().unwrap().event.id()];
        for status in [qr(1), connected(), numbered(1)] {
            ids.push(store.journal().append(&lease, status).await.unwrap().event.id());
        }
        store.credentials().erase(&lease).await.unwrap();
        let mut watching = store.journal().subscribe(&tenant(name), ids.last().copied()).await;
        all(&mut watching).await;
        finishes(&store, lease, reason).await;
        assert_eq!(all(&mut watching).await, [Received::Event(ended(reason))], "a reader that is there");
        for id in ids.into_iter().map(Some).chain([None]) {
            let mut reader = store.journal().subscribe(&tenant(name), id).await;
            assert_eq!(all(&mut reader).await, [Received::Event(ended(reason))], "{name} after {id:?}");
        }
    }
}

async fn link_that_ended_otherwise_keeps_its_history(store: impl Backend + Sync) {
    let lease = runs_with_rows(&store, "a").await;
    let seen = store.journal().append(&lease, connected()).await.unwrap().event.id();
    store.journal().append(&lease, numbered(1)).await.unwrap();
    finishes(&store, lease, EndReason::Banned).await;
    let mut reader = store.journal().subscribe(&tenant("a"), Some(seen)).await;
    assert_eq!(all(&mut reader).await, [numbered(1), ended(EndReason::Banned)].map(Received::Event));
}

/// The user requested a new link while the old one was given up: one step appends both events.
async fn reader_that_is_behind_an_unlink_gets_what_followed_it(store: impl Backend + Sync) {
    let lease = runs_with_rows(&store, "a").await;
    let seen = store.journal().append(&lease, connected()).await.unwrap().event.id();
    let (old, _) = store.commands().current(&tenant("a")).await.unwrap().unwrap();
    store.commands().request(&tenant("a"), RUN).await.unwrap();
    store.credentials().erase(&lease).await.unwrap();
    let last = store.journal().finish(lease, ended(EndReason::UnlinkedByPhone), old).await.unwrap();
    let _lease = store.ownership().acquire(&tenant("a")).await.unwrap().unwrap();
    let mut behind = store.journal().subscribe(&tenant("a"), Some(seen)).await;
    assert_eq!(all(&mut behind).await, [Received::Event(starting())]);
    let mut at_the_end = store.journal().subscribe(&tenant("a"), Some(last.id())).await;
    assert_eq!(all(&mut at_the_end).await, [Received::Event(starting())]);
}

async fn idle_tenant_is_forgotten_after_its_time(store: impl Backend + Sync) {
    let id = idles(&store, "a").await;
    store.forget_idle().await;
    half_hours_pass(&store, HALF_HOURS - 1).await;
    assert!(is_known(&store, &tenant("a")).await, "its time is not over");
    let mut reader = store.journal().subscribe(&tenant("a"), Some(id)).await;
    all(&mut reader).await;
    half_hours_pass(&store, 1).await;
    assert!(!is_known(&store, &tenant("a")).await);
    assert_eq!(
        next(&mut reader).await,
        Some(Received::Fresh(ended(EndReason::NeverLinked))),
        "an open stream is sent it"
    );
    let mut late = store.journal().subscribe(&tenant("a"), Some(id)).await;
    assert_eq!((late.backlog(), all(&mut late).await), (0, Vec::new()), "as of a tenant that was never linked");
    let store = store.reopen().await;
    assert!(!is_known(&store, &tenant("a")).await);
}

async fn tenant_with_credentials_request_or_owner_is_kept(store: impl Backend + Sync) {
    for reason in [EndReason::Banned, EndReason::AccountLocked, EndReason::ClientOutdated, EndReason::Replaced] {
        let lease = runs_with_rows(&store, reason.as_str()).await;
        finishes(&store, lease, reason).await;
    }
    store.commands().request(&tenant("wanted"), RUN).await.unwrap();
    let _owned = store.running(&tenant("owned")).await;
    let waits = runs_with_rows(&store, "waits").await;
    store.journal().append(&waits, ended(EndReason::CredentialsUnreadable)).await.unwrap();
    store.ownership().release(waits).await.unwrap();
    let unlinking = runs_with_rows(&store, "unlinking").await;
    store.journal().append(&unlinking, connected()).await.unwrap();
    store.commands().request(&tenant("unlinking"), DesiredState::Unlink).await.unwrap();
    store.ownership().release(unlinking).await.unwrap();
    idles(&store, "idle").await;
    half_hours_pass(&store, 3 * HALF_HOURS).await;
    for name in ["banned", "account-locked", "client-outdated", "replaced", "wanted", "owned", "waits", "unlinking"] {
        assert!(is_known(&store, &tenant(name)).await, "{name}");
        assert!(!store.erase_tenant(&tenant(name)).await, "{name} has to be unlinked first");
        assert!(is_known(&store, &tenant(name)).await, "{name}");
    }
    assert!(!is_known(&store, &tenant("idle")).await);
    assert!(store.credentials().holds(&tenant("banned")).await.unwrap());
}

async fn clock_that_jumps_forgets_no_tenant(store: impl Backend + Sync) {
    const YEAR: i64 = 365 * 24 * 3_600;
    idles(&store, "a").await;
    store.forget_idle().await;
    for jump in [YEAR, -YEAR, 2 * HALF_HOUR + 60, 10 * YEAR, -20 * YEAR] {
        store.clock_goes(jump).await;
        for _ in 0..3 {
            store.forget_idle().await;
        }
        assert!(is_known(&store, &tenant("a")).await, "{jump}");
    }
    half_hours_pass(&store, HALF_HOURS - 1).await;
    assert!(is_known(&store, &tenant("a")).await, "no jump counted");
    half_hours_pass(&store, 1).await;
    assert!(!is_known(&store, &tenant("a")).await, "time that passes counts after the jumps");
}

async fn new_request_restarts_the_idle_time(store: impl Backend + Sync) {
    idles(&store, "a").await;
    store.forget_idle().await;
    half_hours_pass(&store, HALF_HOURS - 1).await;
    idles(&store, "a").await;
    half_hours_pass(&store, HALF_HOURS - 1).await;
    assert!(is_known(&store, &tenant("a")).await);
    half_hours_pass(&store, 2).await;
    assert!(!is_known(&store, &tenant("a")).await);
}

async fn idle_time_goes_on_over_a_restart(store: impl Backend + Sync) {
    idles(&store, "a").await;
    store.forget_idle().await;
    half_hours_pass(&store, HALF_HOURS - 1).await;
    let store = store.reopen().await;
    assert!(is_known(&store, &tenant("a")).await);
    // The first look after a restart only sees what the clock is.
    store.forget_idle().await;
    half_hours_pass(&store, 2).await;
    assert!(!is_known(&store, &tenant("a")).await);
}

/// A browser may hold an id of the journal before for ever, and a stream that is open has seen its newest event.
async fn forgotten_tenant_begins_a_new_journal(store: impl Backend + Sync) {
    let lease = store.running(&tenant("a")).await;
    let mut before = vec![store.journal().latest(&tenant("a")).await.unwrap().unwrap().event.id()];
    for number in 0..5 {
        before.push(store.journal().append(&lease, numbered(number)).await.unwrap().event.id());
    }
    before.push(finishes(&store, lease, EndReason::UnlinkedByUser).await);
    let mut there = store.journal().subscribe(&tenant("a"), before.last().copied()).await;
    all(&mut there).await;
    assert!(store.erase_tenant(&tenant("a")).await);
    assert_eq!(next(&mut there).await, Some(Received::Fresh(ended(EndReason::NeverLinked))));

    let lease = store.running(&tenant("a")).await;
    let first = store.journal().latest(&tenant("a")).await.unwrap().unwrap().event;
    assert!(before.iter().all(|id| id.journal != first.journal && id.cursor < first.cursor), "{first:?}");
    store.journal().append(&lease, qr(1)).await.unwrap();
    let mut events = all(&mut there).await;
    // An owner confirms "starting" now.
    events.retain(|updates| *updates != Received::Fresh(starting()));
    assert_eq!(events, [starting(), qr(1)].map(Received::Event));
    for id in before {
        let mut reader = store.journal().subscribe(&tenant("a"), Some(id)).await;
        assert_eq!(all(&mut reader).await, [Received::Event(qr(1))], "the present after {id}");
    }
}

/// The store finds tenants that are idle for long enough, and meanwhile their users come back.
async fn request_beside_the_forgetting_is_not_lost(store: impl Backend + Sync) {
    const TENANTS: usize = 150;
    let names: Vec<TenantId> = (0..TENANTS).map(|number| tenant(&format!("t{number}"))).collect();
    for name in &names {
        idles(&store, name.as_str()).await;
    }
    store.forget_idle().await;
    half_hours_pass(&store, HALF_HOURS - 1).await;
    store.clock_goes(HALF_HOUR).await;
    let come_back = async {
        for name in names.iter().rev() {
            store.commands().request(name, RUN).await.unwrap();
        }
    };
    tokio::join!(store.forget_idle(), come_back);
    for name in &names {
        assert!(
            matches!(store.commands().current(name).await.unwrap(), Some((_, DesiredState::Run { .. }))),
            "{name} is wanted"
        );
        assert_eq!(store.journal().latest(name).await.unwrap().unwrap().event.status, starting(), "{name}");
    }
    assert_eq!(store.ownership().orphaned(2 * TENANTS).await.unwrap().len(), TENANTS, "and can be found");
}

/// Every user with a token may press "disconnect" without ever having linked anything.
async fn disconnect_of_an_unknown_tenant_leaves_no_record(store: impl Backend + Sync) {
    store.commands().request(&tenant("a"), DesiredState::Unlink).await.unwrap();
    assert!(!is_known(&store, &tenant("a")).await);
    let number = store.commands().request(&tenant("a"), RUN).await.unwrap();
    assert_eq!(store.commands().current(&tenant("a")).await.unwrap(), Some((number, RUN)));
}

/// A token may name any tenant, so there may be any number of them, and each record is kept for 90 days.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn disconnect_of_an_unknown_tenant_leaves_redis_nothing_to_keep() {
    with_redis(async |redis| {
        redis.commands().request(&tenant("a"), DesiredState::Unlink).await.unwrap();
        let of_tenant: Vec<_> = keys(&redis.server).into_iter().filter(|key| key.contains("{a}")).collect();
        assert_eq!(of_tenant, ["tautan:{0}:{a}:requests"], "the answer, in case the request is repeated");
        let left = String::from_utf8(redis.server.ask(&["PTTL", &of_tenant[0]])).unwrap();
        let left: i64 = left.lines().next().unwrap().trim_start_matches(':').parse().unwrap();
        assert!((0..=10_000).contains(&left), "{left}");

        finishes(&redis, redis.running(&tenant("b")).await, EndReason::Cancelled).await;
        let version = || redis.server.ask(&["HGET", "tautan:{0}:{b}", "version"]);
        let before = version();
        redis.commands().request(&tenant("b"), DesiredState::Unlink).await.unwrap();
        assert_eq!(version(), before, "nothing was left that it could end");
        redis.server.ask(&["CONFIG", "SET", "min-replicas-to-write", "1"]);
        let refused = redis.commands().request(&tenant("b"), DesiredState::Unlink).await;
        redis.server.ask(&["CONFIG", "SET", "min-replicas-to-write", "0"]);
        assert!(refused.is_err(), "the others may have gone on at another server: {refused:?}");
    })
    .await;
}

async fn undelivered_outbox_entry_is_removed_with_its_tenant(store: impl Backend + Sync) {
    let outbox = store.outbox();
    let lease = store.running(&tenant("a")).await;
    store.journal().append(&lease, connected()).await.unwrap();
    finishes(&store, lease, EndReason::UnlinkedByUser).await;
    store.forget_idle().await;
    let last = next_entry(&*outbox).await;
    assert_eq!(last.status.word(), "disconnected", "the end of a link is still sent");
    assert!(!serde_json::to_string(&last.status).unwrap().contains(PHONE));
    failed(&*outbox, &last, Duration::ZERO).await;
    half_hours_pass(&store, HALF_HOURS).await;
    assert!(tokio::time::timeout(Duration::from_millis(1_700), next_entry(&*outbox)).await.is_err(), "it is gone");
    failed(&*outbox, &last, Duration::ZERO).await;
    delivered(&*outbox, &last).await;
    assert!(!is_known(&store, &tenant("a")).await, "a late answer brings nothing back");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unlink_leaves_one_event_and_no_code_in_redis() {
    with_redis(async |redis| {
        let lease = runs_with_rows(&redis, "a").await;
        for number in 1..=40 {
            redis.journal().append(&lease, qr(number)).await.unwrap();
        }
        redis.journal().append(&lease, connected()).await.unwrap();
        redis.credentials().erase(&lease).await.unwrap();
        let end = finishes(&redis, lease, EndReason::UnlinkedByUser).await.cursor;
        let history =
            String::from_utf8_lossy(&redis.server.ask(&["XRANGE", "tautan:{0}:{a}:history", "-", "+"])).into_owned();
        assert!(
            history.starts_with("*1\r\n") && history.contains(&format!("{}-{}", end.epoch, end.sequence)),
            "{history}"
        );
        let codes: Vec<_> = keys(&redis.server).into_iter().filter(|key| key.contains(":code:")).collect();
        assert!(codes.is_empty(), "also of events that had left the history: {codes:?}");
    })
    .await;
}

/// Two instances look at the same time, and one has looked a moment ago.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn instances_that_look_at_once_count_the_time_once() {
    with_redis(async |redis| {
        let other = instance(&redis.server);
        idles(&redis, "a").await;
        redis.store.sweep().await.unwrap();
        for _ in 0..HALF_HOURS - 1 {
            redis.clock_goes(HALF_HOUR).await;
            let (one, two) = tokio::join!(Box::pin(redis.store.sweep()), Box::pin(other.sweep()));
            one.unwrap();
            two.unwrap();
        }
        assert!(is_known(&redis, &tenant("a")).await);
        redis.clock_goes(HALF_HOUR).await;
        let (one, two) = tokio::join!(Box::pin(redis.store.sweep()), Box::pin(other.sweep()));
        one.unwrap();
        two.unwrap();
        assert!(!is_known(&redis, &tenant("a")).await);
        assert!(!keys(&redis.server).iter().any(|key| key.contains("{a}")), "{:?}", keys(&redis.server));
    })
    .await;
}

/// A session had to erase the rows after an unlink, its instance died, and the user pressed "disconnect" once more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tenant_of_a_dead_owner_without_a_request_is_forgotten() {
    with_redis(async |redis| {
        idles(&redis, "a").await;
        let fields =
            ["owner_incarnation", "dead", "owner_nonce", "0123456789abcdef0123456789abcdef", "owner_fence", "7"];
        redis.server.ask(&[&["HSET", "tautan:{0}:{a}"], &fields[..]].concat());
        redis.store.sweep().await.unwrap();
        half_hours_pass(&redis, HALF_HOURS).await;
        assert!(!is_known(&redis, &tenant("a")).await);
    })
    .await;
}

/// An instance of the version before knows nothing of the idle time, and writes records as it always did.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn change_by_an_older_version_restarts_the_idle_time() {
    with_redis(async |redis| {
        idles(&redis, "a").await;
        redis.store.sweep().await.unwrap();
        half_hours_pass(&redis, HALF_HOURS - 1).await;
        redis.server.ask(&["HSET", "tautan:{0}:{a}", "version", "another"]);
        half_hours_pass(&redis, HALF_HOURS).await;
        assert!(is_known(&redis, &tenant("a")).await);
        half_hours_pass(&redis, 1).await;
        assert!(!is_known(&redis, &tenant("a")).await);
    })
    .await;
}

/// Rows of a later version, or sealed with another key, may be read again one day.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unreadable_rows_are_not_forgotten() {
    const DESIRED_STATES: TableDefinition<&str, &[u8]> = TableDefinition::new("wishes");
    let store = Embedded::fresh();
    idles(&store, "a").await;
    let dir = store.ends().await;
    with_store(dir.path(), |database| {
        let transaction = database.begin_write().unwrap();
        transaction.open_table(DESIRED_STATES).unwrap().insert("a", b"of another key".as_slice()).unwrap();
        transaction.commit().unwrap();
    });
    let store = Embedded::at(dir);
    half_hours_pass(&store, 2 * HALF_HOURS).await;
    assert!(is_known(&store, &tenant("a")).await);
}
