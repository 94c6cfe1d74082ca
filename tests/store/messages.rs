use bytes::Bytes;
use tautan::store::{DesiredState, Lease, MESSAGE_KEPT_FOR, MESSAGES_MAX, StoreError};

use crate::{
    backend::{Backend, Embedded, instance},
    redis::with_redis,
    statuses::tenant,
};

promises![
    message_is_received_once_in_order_and_notifies,
    of_what_is_said_too_often_the_newest_waits,
    what_is_said_to_nobody_or_to_an_earlier_owner_is_never_heard,
    who_is_not_the_owner_hears_nothing_and_takes_nothing,
    what_is_said_is_one_tenants_alone,
];

async fn say(store: &impl Backend, name: &str, words: &str) {
    store.commands().send(&tenant(name), Bytes::copy_from_slice(words.as_bytes())).await.unwrap();
}

async fn said(store: &impl Backend, lease: &Lease) -> Vec<String> {
    let said = store.commands().receive(lease).await.unwrap();
    said.into_iter().map(|words| String::from_utf8(words.into()).unwrap()).collect()
}

async fn message_is_received_once_in_order_and_notifies(store: impl Backend + Sync) {
    let lease = store.running(&tenant("a")).await;
    store.commands().notified().await;
    assert!(said(&store, &lease).await.is_empty());
    say(&store, "a", "one").await;
    assert_eq!(store.commands().notified().await, [tenant("a")]);
    say(&store, "a", "two").await;
    say(&store, "a", "two").await;
    assert_eq!(said(&store, &lease).await, ["one", "two", "two"], "whoever says it twice means it twice");
    assert!(said(&store, &lease).await.is_empty());
    assert!(store.commands().current(&tenant("a")).await.unwrap().is_some(), "the wish is as it was");
}

async fn of_what_is_said_too_often_the_newest_waits(store: impl Backend + Sync) {
    let lease = store.running(&tenant("a")).await;
    for number in 0..3 * MESSAGES_MAX {
        say(&store, "a", &number.to_string()).await;
    }
    let newest: Vec<_> = (2 * MESSAGES_MAX..3 * MESSAGES_MAX).map(|number| number.to_string()).collect();
    assert_eq!(said(&store, &lease).await, newest);
}

async fn what_is_said_to_nobody_or_to_an_earlier_owner_is_never_heard(store: impl Backend + Sync) {
    say(&store, "a", "before there was anything").await;
    store.commands().request(&tenant("a"), DesiredState::Run { phone: None }).await.unwrap();
    say(&store, "a", "before there was an owner").await;
    let lease = store.ownership().acquire(&tenant("a")).await.unwrap().unwrap();
    assert!(said(&store, &lease).await.is_empty());
    say(&store, "a", "to the first owner").await;
    store.ownership().release(lease).await.unwrap();
    say(&store, "a", "between two owners").await;
    let lease = store.ownership().acquire(&tenant("a")).await.unwrap().unwrap();
    assert!(said(&store, &lease).await.is_empty());
}

async fn who_is_not_the_owner_hears_nothing_and_takes_nothing(store: impl Backend + Sync) {
    let former = store.running(&tenant("a")).await;
    store.ownership().release(former.clone()).await.unwrap();
    let owner = store.ownership().acquire(&tenant("a")).await.unwrap().unwrap();
    say(&store, "a", "words").await;
    assert!(matches!(store.commands().receive(&former).await, Err(StoreError::Fenced)));
    assert_eq!(said(&store, &owner).await, ["words"]);
}

async fn what_is_said_is_one_tenants_alone(store: impl Backend + Sync) {
    let (a, b) = (store.running(&tenant("a")).await, store.running(&tenant("b")).await);
    say(&store, "a", "words").await;
    assert!(said(&store, &b).await.is_empty());
    assert_eq!(said(&store, &a).await, ["words"]);
}

#[tokio::test]
async fn message_of_a_minute_ago_is_dropped() {
    let store = Embedded::fresh();
    let lease = store.running(&tenant("a")).await;
    say(&store, "a", "long ago").await;
    // The clock of the tests is a second later at each look.
    for _ in 0..MESSAGE_KEPT_FOR.as_secs() {
        say(&store, "nobody", "words").await;
    }
    say(&store, "a", "just now").await;
    assert_eq!(said(&store, &lease).await, ["just now"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn message_of_another_instance_is_sealed_and_kept_for_a_minute() {
    with_redis(async |redis| {
        const LIST: &str = "tautan:{a}:said";
        let lease = redis.running(&tenant("a")).await;
        redis.commands().notified().await;
        let other = instance(&redis.server);
        let from_there = async || other.stores().commands.send(&tenant("a"), Bytes::from("hunter2")).await;
        from_there().await.unwrap();
        assert_eq!(redis.commands().notified().await, [tenant("a")]);
        let list = redis.server.ask(&["LRANGE", LIST, "0", "-1"]);
        assert!(list.starts_with(b"*1") && !list.windows(7).any(|part| part == b"hunter2"));
        let left = || String::from_utf8(redis.server.ask(&["PTTL", LIST])).unwrap();
        let left_ms = |left: String| left.lines().next().unwrap().trim_start_matches(':').parse::<u128>().unwrap();
        assert!((1..=MESSAGE_KEPT_FOR.as_millis()).contains(&left_ms(left())));
        redis.server.ask(&["PEXPIRE", LIST, "5000"]);
        from_there().await.unwrap();
        assert!(left_ms(left()) <= 5_000, "what is said later does not keep what was said before");
        assert_eq!(said(&redis, &lease).await, ["hunter2", "hunter2"]);
        from_there().await.unwrap();
        redis.server.ask(&["PEXPIRE", LIST, "0"]);
        assert!(said(&redis, &lease).await.is_empty());
        other.close().await;
    })
    .await;
}
