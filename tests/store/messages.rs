use bytes::Bytes;
use tautan::store::{DesiredState, Lease, MESSAGE_KEPT_FOR, MESSAGES_MAX, StoreError};

use crate::{
    backend::{Backend, Embedded, instance},
    redis::with_redis,
    statuses::tenant,
};

promises![
    message_is_received_once_in_order_and_notifies,
    newest_messages_wait_when_there_are_too_many,
    message_without_a_current_owner_is_never_received,
    other_instance_receives_and_removes_no_message,
    message_reaches_only_its_own_tenant,
];

async fn send(store: &impl Backend, name: &str, words: &str) {
    store.commands().send(&tenant(name), Bytes::copy_from_slice(words.as_bytes())).await.unwrap();
}

async fn receive(store: &impl Backend, lease: &Lease) -> Vec<String> {
    let receive = store.commands().receive(lease).await.unwrap();
    receive.into_iter().map(|words| String::from_utf8(words.into()).unwrap()).collect()
}

async fn message_is_received_once_in_order_and_notifies(store: impl Backend + Sync) {
    let lease = store.running(&tenant("a")).await;
    store.commands().notified().await;
    assert!(receive(&store, &lease).await.is_empty());
    send(&store, "a", "one").await;
    assert_eq!(store.commands().notified().await, [tenant("a")]);
    send(&store, "a", "two").await;
    send(&store, "a", "two").await;
    assert_eq!(receive(&store, &lease).await, ["one", "two", "two"], "a message that was sent twice is received twice");
    assert!(receive(&store, &lease).await.is_empty());
    assert!(store.commands().current(&tenant("a")).await.unwrap().is_some(), "the desired state is unchanged");
}

async fn newest_messages_wait_when_there_are_too_many(store: impl Backend + Sync) {
    let lease = store.running(&tenant("a")).await;
    for number in 0..3 * MESSAGES_MAX {
        send(&store, "a", &number.to_string()).await;
    }
    let newest: Vec<_> = (2 * MESSAGES_MAX..3 * MESSAGES_MAX).map(|number| number.to_string()).collect();
    assert_eq!(receive(&store, &lease).await, newest);
}

async fn message_without_a_current_owner_is_never_received(store: impl Backend + Sync) {
    send(&store, "a", "before there was anything").await;
    store.commands().request(&tenant("a"), DesiredState::run(None)).await.unwrap();
    send(&store, "a", "before there was an owner").await;
    let lease = store.ownership().acquire(&tenant("a")).await.unwrap().unwrap();
    assert!(receive(&store, &lease).await.is_empty());
    send(&store, "a", "to the first owner").await;
    store.ownership().release(lease).await.unwrap();
    send(&store, "a", "between two owners").await;
    let lease = store.ownership().acquire(&tenant("a")).await.unwrap().unwrap();
    assert!(receive(&store, &lease).await.is_empty());
}

async fn other_instance_receives_and_removes_no_message(store: impl Backend + Sync) {
    let former = store.running(&tenant("a")).await;
    store.ownership().release(former.clone()).await.unwrap();
    let owner = store.ownership().acquire(&tenant("a")).await.unwrap().unwrap();
    send(&store, "a", "words").await;
    assert!(matches!(store.commands().receive(&former).await, Err(StoreError::Fenced)));
    assert_eq!(receive(&store, &owner).await, ["words"]);
}

async fn message_reaches_only_its_own_tenant(store: impl Backend + Sync) {
    let (a, b) = (store.running(&tenant("a")).await, store.running(&tenant("b")).await);
    send(&store, "a", "words").await;
    assert!(receive(&store, &b).await.is_empty());
    assert_eq!(receive(&store, &a).await, ["words"]);
}

#[tokio::test]
async fn message_of_a_minute_ago_is_dropped() {
    let store = Embedded::fresh();
    let lease = store.running(&tenant("a")).await;
    send(&store, "a", "long ago").await;
    // The clock of the tests is a second later at each look.
    for _ in 0..MESSAGE_KEPT_FOR.as_secs() {
        send(&store, "nobody", "words").await;
    }
    send(&store, "a", "just now").await;
    assert_eq!(receive(&store, &lease).await, ["just now"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn message_of_another_instance_is_sealed_and_kept_for_a_minute() {
    with_redis(async |redis| {
        const LIST: &str = "tautan:{0}:{a}:messages";
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
        assert_eq!(receive(&redis, &lease).await, ["hunter2", "hunter2"]);
        from_there().await.unwrap();
        redis.server.ask(&["PEXPIRE", LIST, "0"]);
        assert!(receive(&redis, &lease).await.is_empty());
        other.close().await;
    })
    .await;
}
