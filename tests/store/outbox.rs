//! The entries of the outbox, and when they are due.

use std::time::Duration;

use tautan::{
    clock::Timestamp,
    events::{EndReason, EventId, PairingId, Passkey, PasskeyStep, Status},
    store::{BATCH_MAX, Delivery, DesiredState, Outbox, OutboxEntry, Waiting},
};

use crate::{
    backend::{Backend, delivered, failed, instance, next_entry},
    redis::{keys, with_redis},
    statuses::{PAIR_CODE, PHONE, QR, connected, ended, numbered, qr, tenant},
};

promises![
    status_change_makes_an_outbox_entry_and_a_new_code_none,
    only_the_newest_undelivered_entry_is_kept,
    outbox_entry_contains_no_code,
    status_during_a_delivery_is_due_after_it,
    outbox_entry_outlives_its_instance,
    delivered_outbox_entry_is_gone,
    failed_outbox_entry_is_due_again_and_counts_tries,
    request_and_end_make_outbox_entries_too,
    tenants_do_not_wait_for_each_other,
    store_without_an_outbox_keeps_no_entries,
    entries_that_wait_are_counted_with_the_oldest,
    entries_are_taken_together_up_to_a_number,
    each_entry_of_a_batch_is_settled_by_itself,
];

const PASSKEY: &str = "passkey-secret";
/// Longer than the time between two looks at what others have left.
const NOTHING_COMES: Duration = Duration::from_millis(1_700);

async fn says(outbox: &dyn Outbox, word: &str) -> OutboxEntry {
    let entry = next_entry(outbox).await;
    assert_eq!(entry.status.word(), word);
    entry
}

async fn is_empty(outbox: &dyn Outbox) -> bool {
    tokio::time::timeout(NOTHING_COMES, outbox.take(1)).await.is_err()
}

async fn status_change_makes_an_outbox_entry_and_a_new_code_none(store: impl Backend + Sync) {
    let outbox = store.outbox();
    let lease = store.running(&tenant("a")).await;
    let first = says(&*outbox, "connecting").await;
    delivered(&*outbox, &first).await;
    let mut cursors = vec![first.id.cursor];
    for (status, word) in [(qr(1), "qr_pending"), (connected(), "connected"), (numbered(2), "connected")] {
        let said = store.journal().append(&lease, status).await.unwrap().event;
        if word == "qr_pending" {
            store.journal().append(&lease, qr(2)).await.unwrap();
        }
        let entry = says(&*outbox, word).await;
        assert_eq!((&entry.tenant, entry.id, entry.at), (&tenant("a"), said.id(), said.at));
        delivered(&*outbox, &entry).await;
        cursors.push(entry.id.cursor);
        if word == "qr_pending" {
            store.journal().append(&lease, qr(3)).await.unwrap();
            assert!(is_empty(&*outbox).await, "the next code is no news");
        }
    }
    assert!(cursors.is_sorted());
}

async fn entries_that_wait_are_counted_with_the_oldest(store: impl Backend + Sync) {
    let outbox = store.outbox();
    assert_eq!(outbox.waiting().await.unwrap(), Waiting::default());
    let (a, b) = (store.running(&tenant("a")).await, store.running(&tenant("b")).await);
    let older = store.journal().append(&a, connected()).await.unwrap().event.at;
    store.journal().append(&b, connected()).await.unwrap();
    // A code is no news to the back end, and "connected" is not delivered yet.
    assert_eq!(outbox.waiting().await.unwrap(), Waiting { tenants: 2, oldest: Some(older) });
    let entry = says(&*outbox, "connected").await;
    assert_eq!(outbox.waiting().await.unwrap().tenants, 2, "it is under way");
    failed(&*outbox, &entry, Duration::from_secs(300)).await;
    assert_eq!(outbox.waiting().await.unwrap().tenants, 2, "it was not delivered");
    let entry = says(&*outbox, "connected").await;
    delivered(&*outbox, &entry).await;
    let left = outbox.waiting().await.unwrap();
    assert_eq!((left.tenants, left.oldest.is_some()), (1, true));
}

async fn only_the_newest_undelivered_entry_is_kept(store: impl Backend + Sync) {
    let outbox = store.outbox();
    let lease = store.running(&tenant("a")).await;
    let mut newest = None;
    for number in 0..40 {
        newest = Some(store.journal().append(&lease, numbered(number)).await.unwrap().event);
    }
    let entry = says(&*outbox, "connected").await;
    assert_eq!(Some(entry.id), newest.map(|newest| newest.id()));
    delivered(&*outbox, &entry).await;
    assert!(is_empty(&*outbox).await);
}

fn describe(entry: &OutboxEntry) -> String {
    format!("{entry:?} {:?} {}", entry.status, serde_json::to_string(&entry.status).unwrap())
}

async fn outbox_entry_contains_no_code(store: impl Backend + Sync) {
    let outbox = store.outbox();
    let lease = store.running(&tenant("a")).await;
    store.journal().append(&lease, qr(1)).await.unwrap();
    let entry = says(&*outbox, "qr_pending").await;
    delivered(&*outbox, &entry).await;
    let mut whole = describe(&entry);
    let expires_at = Timestamp::from_second(1_900_000_000).unwrap();
    for step in [PasskeyStep::Assert { options: PASSKEY.into() }, PasskeyStep::Compare { code: PASSKEY.into() }] {
        store
            .journal()
            .append(
                &lease,
                Status::passkey_required(Passkey { step, expires_at, lifetime: None, pairing: PairingId::new(1) }),
            )
            .await
            .unwrap();
    }
    let entry = says(&*outbox, "connecting").await;
    delivered(&*outbox, &entry).await;
    whole += &describe(&entry);
    assert!(whole.contains("passkey-required"), "{whole}");
    for secret in [QR, PAIR_CODE, PHONE, PASSKEY] {
        assert!(!whole.contains(secret), "{whole}");
    }
    let step = PasskeyStep::Compare { code: "another".into() };
    store
        .journal()
        .append(
            &lease,
            Status::passkey_required(Passkey { step, expires_at, lifetime: None, pairing: PairingId::new(1) }),
        )
        .await
        .unwrap();
    assert!(is_empty(&*outbox).await, "what exactly is asked for is no news to a back end");
}

async fn status_during_a_delivery_is_due_after_it(store: impl Backend + Sync) {
    let outbox = store.outbox();
    let lease = store.running(&tenant("a")).await;
    let first = says(&*outbox, "connecting").await;
    store.journal().append(&lease, qr(1)).await.unwrap();
    store.journal().append(&lease, connected()).await.unwrap();
    assert!(is_empty(&*outbox).await, "two deliveries at once could arrive in any order");
    delivered(&*outbox, &first).await;
    let second = says(&*outbox, "connected").await;
    assert!(second.id.cursor > first.id.cursor);
    delivered(&*outbox, &first).await;
    failed(&*outbox, &first, Duration::ZERO).await;
    assert!(is_empty(&*outbox).await, "who is over changes nothing");
    delivered(&*outbox, &second).await;
    assert!(is_empty(&*outbox).await);
}

async fn outbox_entry_outlives_its_instance(store: impl Backend + Sync) {
    drop(store.outbox());
    let lease = store.running(&tenant("a")).await;
    let (desired, _) = store.commands().current(&tenant("a")).await.unwrap().unwrap();
    let said = store.journal().finish(lease, ended(EndReason::Banned), desired).await.unwrap();
    let store = store.reopen().await;
    let entry = says(&*store.outbox(), "disconnected").await;
    assert_eq!((entry.id, entry.at), (said.id(), said.at), "it has the name it had");
}

async fn delivered_outbox_entry_is_gone(store: impl Backend + Sync) {
    let outbox = store.outbox();
    let lease = store.running(&tenant("a")).await;
    store.journal().append(&lease, connected()).await.unwrap();
    delivered(&*outbox, &says(&*outbox, "connected").await).await;
    drop(outbox);
    let store = store.reopen().await;
    assert!(is_empty(&*store.outbox()).await);
}

async fn failed_outbox_entry_is_due_again_and_counts_tries(store: impl Backend + Sync) {
    let outbox = store.outbox();
    let lease = store.running(&tenant("a")).await;
    let mut names: Vec<(EventId, u32)> = Vec::new();
    for _ in 0..3 {
        let entry = says(&*outbox, "connecting").await;
        names.push((entry.id, entry.tries));
        failed(&*outbox, &entry, Duration::from_millis(10)).await;
    }
    assert_eq!(names, [0, 1, 2].map(|tries| (names[0].0, tries)));
    let last = next_entry(&*outbox).await;
    failed(&*outbox, &last, Duration::from_secs(3600)).await;
    store.journal().append(&lease, connected()).await.unwrap();
    assert!(is_empty(&*outbox).await, "a receiver that is down is not asked the more often for what is new");
}

async fn request_and_end_make_outbox_entries_too(store: impl Backend + Sync) {
    let outbox = store.outbox();
    store.commands().request(&tenant("a"), DesiredState::run(None)).await.unwrap();
    delivered(&*outbox, &says(&*outbox, "connecting").await).await;
    let lease = store.ownership().acquire(&tenant("a")).await.unwrap().unwrap();
    store.journal().append(&lease, connected()).await.unwrap();
    delivered(&*outbox, &says(&*outbox, "connected").await).await;
    store.ownership().release(lease).await.unwrap();
    let lease = store.ownership().acquire(&tenant("a")).await.unwrap().unwrap();
    delivered(&*outbox, &says(&*outbox, "connecting").await).await;
    let (desired, _) = store.commands().current(&tenant("a")).await.unwrap().unwrap();
    store.journal().finish(lease, ended(EndReason::UnlinkedByPhone), desired).await.unwrap();
    says(&*outbox, "disconnected").await;
}

async fn tenants_do_not_wait_for_each_other(store: impl Backend + Sync) {
    let outbox = store.outbox();
    let _a = store.running(&tenant("a")).await;
    let a = says(&*outbox, "connecting").await;
    let _b = store.running(&tenant("b")).await;
    let b = says(&*outbox, "connecting").await;
    assert_eq!((a.tenant, b.tenant), (tenant("a"), tenant("b")));
}

async fn store_without_an_outbox_keeps_no_entries(store: impl Backend + Sync) {
    let lease = store.running(&tenant("a")).await;
    store.journal().append(&lease, connected()).await.unwrap();
    assert!(is_empty(&*store.outbox()).await);
}

/// Entries of so many tenants, `t0` and on.
async fn entries_of(store: &(impl Backend + Sync), number: usize) {
    for at in 0..number {
        store.commands().request(&tenant(&format!("t{at}")), DesiredState::run(None)).await.unwrap();
    }
}

fn names(entries: &[OutboxEntry]) -> Vec<String> {
    let mut names: Vec<_> = entries.iter().map(|entry| entry.tenant.to_string()).collect();
    names.sort();
    names
}

async fn entries_are_taken_together_up_to_a_number(store: impl Backend + Sync) {
    let outbox = store.outbox();
    entries_of(&store, BATCH_MAX + 8).await;
    let mut all = outbox.take(3).await;
    assert_eq!(all.len(), 3);
    let most = outbox.take(usize::MAX).await;
    assert_eq!(most.len(), BATCH_MAX);
    all.extend(most);
    all.extend(outbox.take(usize::MAX).await);
    let mut expected: Vec<_> = (0..BATCH_MAX + 8).map(|at| format!("t{at}")).collect();
    expected.sort();
    assert_eq!(names(&all), expected, "each once");
    assert!(is_empty(&*outbox).await);
}

async fn each_entry_of_a_batch_is_settled_by_itself(store: impl Backend + Sync) {
    let outbox = store.outbox();
    entries_of(&store, 4).await;
    let mut taken = outbox.take(4).await;
    taken.sort_by_key(|entry| entry.tenant.clone());
    let [t0, t1, t2, t3] = taken.try_into().unwrap();
    let newer = store.ownership().acquire(&t1.tenant).await.unwrap().unwrap();
    store.journal().append(&newer, connected()).await.unwrap();
    let settled = [
        (t0, Delivery::Delivered),
        (t1, Delivery::Delivered),
        (t2, Delivery::Again(Duration::from_millis(10))),
        (t3.clone(), Delivery::Again(Duration::from_secs(3600))),
    ];
    outbox.settle(&settled).await.unwrap();
    outbox.settle(&settled).await.unwrap();
    let mut due = vec![next_entry(&*outbox).await, next_entry(&*outbox).await];
    due.sort_by_key(|entry| entry.tenant.clone());
    assert_eq!(names(&due), ["t1", "t2"]);
    assert_eq!((due[0].status.word(), due[0].tries), ("connected", 0));
    assert_eq!((due[1].status.word(), due[1].tries), ("connecting", 1), "a repeated call counts once");
    assert!(is_empty(&*outbox).await);
    assert_eq!(outbox.waiting().await.unwrap().tenants, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damaged_record_keeps_no_other_webhook_back() {
    with_redis(async |redis| {
        let outbox = redis.store.outbox();
        entries_of(&redis, 4).await;
        // A type that no script expects, and a history without its events.
        for command in
            [["RENAME", "tautan:{0}:{t1}:history", "tautan:{0}:{t1}"].as_slice(), &["DEL", "tautan:{0}:{t2}:history"]]
        {
            assert!(!redis.server.ask(command).starts_with(b"-"));
        }
        let mut taken = Vec::new();
        while taken.len() < 2 {
            taken.extend(outbox.take(4).await);
        }
        assert_eq!(names(&taken), ["t0", "t3"]);
        let settled: Vec<_> = taken.into_iter().map(|entry| (entry, Delivery::Delivered)).collect();
        let (mut damaged, delivery) = settled[0].clone();
        damaged.tenant = tenant("t1");
        let settled = [vec![(damaged, delivery)], settled].concat();
        outbox.settle(&settled).await.unwrap();
        let left = redis.server.ask(&["ZRANGE", "tautan:{0}:outbox", "0", "-1"]);
        let left = String::from_utf8_lossy(&left).into_owned();
        assert!(left.contains("t1") && left.contains("t2") && !left.contains("t0") && !left.contains("t3"), "{left}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn outbox_of_a_dead_instance_is_delivered_once_by_another() {
    with_redis(async |redis| {
        drop(redis.store.outbox());
        let others = [instance(&redis.server), instance(&redis.server)];
        for number in 0..10 {
            let lease = redis.running(&tenant(&format!("t{number}"))).await;
            redis.journal().append(&lease, connected()).await.unwrap();
        }
        let take = async |store: &tautan::store::redis::RedisStore| {
            let outbox = store.outbox();
            let mut taken = Vec::new();
            // There is no end marker: no entry comes for a while after those that exist.
            while let Ok(entry) = tokio::time::timeout(Duration::from_secs(8), next_entry(&*outbox)).await {
                delivered(&*outbox, &entry).await;
                taken.push(entry.tenant);
            }
            taken
        };
        let (one, two) = tokio::join!(take(&others[0]), take(&others[1]));
        let mut all = [one, two].concat();
        all.sort();
        let mut expected: Vec<_> = (0..10).map(|number| tenant(&format!("t{number}"))).collect();
        expected.sort();
        assert_eq!(all, expected);
        assert!(!keys(&redis.server).iter().any(|key| key == "tautan:{0}:outbox"), "nothing points to what is settled");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn late_ack_does_not_undo_the_next_delivery() {
    with_redis(async |redis| {
        let (outbox, other) = (redis.store.outbox(), instance(&redis.server));
        let lease = redis.running(&tenant("a")).await;
        let slow = says(&*outbox, "connecting").await;
        // Its time is over.
        redis.server.ask(&["HSET", "tautan:{0}:{a}", "outbox_due", "0"]);
        redis.server.ask(&["ZADD", "tautan:{0}:outbox", "0", "a"]);
        redis.journal().append(&lease, connected()).await.unwrap();
        let taken = says(&*other.outbox(), "connected").await;
        delivered(&*outbox, &slow).await;
        failed(&*outbox, &slow, Duration::ZERO).await;
        assert!(is_empty(&*outbox).await, "it is the other's");
        delivered(&*other.outbox(), &taken).await;
        assert!(is_empty(&*outbox).await && is_empty(&*other.outbox()).await);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn outbox_entry_without_index_is_found_by_the_sweep() {
    with_redis(async |redis| {
        let other = instance(&redis.server);
        drop(redis.store.outbox());
        let lease = redis.running(&tenant("a")).await;
        redis.journal().append(&lease, connected()).await.unwrap();
        redis.server.ask(&["DEL", "tautan:{0}:outbox"]);
        let outbox = other.outbox();
        other.sweep().await.unwrap();
        says(&*outbox, "connected").await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_has_no_outbox_keys_without_a_webhook() {
    with_redis(async |redis| {
        let lease = redis.running(&tenant("a")).await;
        redis.journal().append(&lease, connected()).await.unwrap();
        assert!(!keys(&redis.server).iter().any(|key| key == "tautan:{0}:outbox"));
        let record = String::from_utf8_lossy(&redis.server.ask(&["HKEYS", "tautan:{0}:{a}"])).into_owned();
        assert!(record.contains("version") && !record.contains("outbox"), "{record}");
    })
    .await;
}
