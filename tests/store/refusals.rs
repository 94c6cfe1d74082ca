//! A Redis that answers and refuses writes.

use std::time::{Duration, Instant};

use tautan::{
    events::{EndReason, Status},
    store::{Change, DesiredState, Generation, StoreError},
};
use tautan_test_support::RedisServer;
use tokio::time::{sleep, timeout};

use crate::{
    backend::{Backend as _, Redis, delivered, failed, instance, next_entry},
    redis::{until, with_redis},
    statuses::{connected, ended, qr, tenant},
};

/// A lease that is not renewed is gone after 8 s.
const LEASE: Duration = Duration::from_secs(8);
const SEEN_WITHIN: Duration = Duration::from_secs(3);
/// It is away once nothing was answered for 3 s. A lease is over after 6 s.
const AWAY_WITHIN: Duration = Duration::from_secs(6);

async fn until_refused(redis: &Redis, word: Option<&str>) {
    let begin = Instant::now();
    let says = || redis.store.condition().borrow().refuses.as_ref().map(ToString::to_string);
    until("the word of redis", async || (says().as_deref() == word).then_some(())).await;
    assert!(begin.elapsed() < SEEN_WITHIN, "{word:?} is seen after {:?}", begin.elapsed());
    assert!(!redis.store.condition().borrow().away, "it answers");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refused_heartbeat_is_shown_with_the_word_of_redis() {
    with_redis(async |redis| {
        let server = &redis.server;
        let _lease = redis.running(&tenant("a")).await;
        type Step = fn(&RedisServer);
        let refusals: [(&str, Step, Step); 4] = [
            ("OOM", |server| server.set("maxmemory", "1"), |server| server.set("maxmemory", "0")),
            ("MISCONF", RedisServer::break_snapshots, RedisServer::mend_snapshots),
            (
                "NOREPLICAS",
                |server| server.set("min-replicas-to-write", "1"),
                |server| server.set("min-replicas-to-write", "0"),
            ),
            (
                "NOPERM",
                |server| server.does(&["ACL", "SETUSER", "default", "-set"]),
                |server| server.does(&["ACL", "SETUSER", "default", "+set"]),
            ),
        ];
        for (word, begin, end) in refusals {
            begin(server);
            until_refused(&redis, Some(word)).await;
            server.ask(&["CLIENT", "KILL", "TYPE", "normal"]);
            let read = until("what is kept is read over a new connection", async || {
                redis.journal().latest(&tenant("a")).await.ok()
            });
            assert!(read.await.is_some(), "{word}");
            end(server);
            until_refused(&redis, None).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn running_session_saves_while_memory_is_full() {
    with_redis(async |redis| {
        let outbox = redis.outbox();
        let other = instance(&redis.server);
        let elsewhere = other.stores();
        let lease = redis.running(&tenant("a")).await;
        let pairing = redis.running(&tenant("pairing")).await;
        redis.server.set("maxmemory", "1");
        until_refused(&redis, Some("OOM")).await;
        assert!(timeout(LEASE + Duration::from_secs(2), lease.lost().cancelled()).await.is_err(), "it is kept");
        assert!(!pairing.lost().is_cancelled(), "and no pairing was taken over");
        let silent = elsewhere.ownership.acquire(&tenant("pairing")).await.unwrap();
        assert!(silent.is_none(), "its owner is heard of");

        redis.credentials().write(&lease, Vec::new()).await.expect("the proof before a dial");
        let row = Change::Put { table: "sessions", key: "row".into(), value: "value".into() };
        redis.credentials().write(&lease, vec![row]).await.unwrap();
        redis.journal().append(&pairing, qr(1)).await.unwrap();
        redis.journal().append(&lease, connected()).await.unwrap();
        assert_eq!(redis.ownership().crashed(&lease, Duration::from_secs(60)).await.unwrap(), 1);
        elsewhere.commands.send(&tenant("pairing"), "words".into()).await.unwrap();
        assert_eq!(redis.commands().receive(&pairing).await.unwrap(), ["words"]);
        let notice = next_entry(&*outbox).await;
        failed(&*outbox, &notice, Duration::ZERO).await;
        delivered(&*outbox, &next_entry(&*outbox).await).await;

        let run = DesiredState::run(None);
        elsewhere.commands.request(&tenant("a"), run.clone()).await.expect("a repetition");
        for desired in [run, DesiredState::Unlink] {
            let new = elsewhere.commands.request(&tenant("new"), desired).await;
            assert!(matches!(new, Err(StoreError::Unavailable(_))), "nothing begins: {new:?}");
        }
        assert!(elsewhere.commands.current(&tenant("new")).await.unwrap().is_none());

        redis.ownership().release(pairing).await.unwrap();
        let taken = elsewhere.ownership.acquire(&tenant("pairing")).await.unwrap();
        assert!(taken.is_some(), "it is handed over");
        let unlink: Generation = elsewhere.commands.request(&tenant("a"), DesiredState::Unlink).await.unwrap();
        assert!(redis.commands().notified().await.contains(&tenant("a")), "its owner hears of it");
        redis.credentials().erase(&lease).await.unwrap();
        let end: Status = ended(EndReason::UnlinkedByUser);
        redis.journal().finish(lease, end.clone(), unlink).await.unwrap();
        assert_eq!(elsewhere.journal.latest(&tenant("a")).await.unwrap().unwrap().event.status, end);
        redis.server.set("maxmemory", "0");
        until_refused(&redis, None).await;
        elsewhere.commands.request(&tenant("new"), DesiredState::run(None)).await.expect("there is memory");
    })
    .await;
}

/// The master was cut off: another one may have been chosen, where another instance holds the lease.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_memory_keeps_no_lease_without_replicas() {
    with_redis(async |redis| {
        let lease = redis.running(&tenant("a")).await;
        redis.server.set("maxmemory", "1");
        until_refused(&redis, Some("OOM")).await;
        redis.server.set("min-replicas-to-write", "1");
        until_refused(&redis, Some("NOREPLICAS")).await;
        timeout(LEASE, lease.lost().cancelled()).await.expect("it is over before others may take it");
        redis.server.set("maxmemory", "0");
        sleep(LEASE).await;
        until_refused(&redis, Some("NOREPLICAS")).await;
        assert!(
            matches!(redis.ownership().acquire(&tenant("a")).await, Err(StoreError::Unavailable(_))),
            "none is given"
        );
        redis.server.set("min-replicas-to-write", "0");
        until_refused(&redis, None).await;
        until("another lease", async || redis.ownership().acquire(&tenant("a")).await.ok().flatten()).await;
    })
    .await;
}

/// It also refuses writes and cannot be used at all: its data may be outdated.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn demoted_master_is_away_until_it_is_one_again() {
    with_redis(async |redis| {
        let lease = redis.running(&tenant("a")).await;
        redis.server.does(&["REPLICAOF", "127.0.0.1", "1"]);
        let away = async |wanted| {
            until("it is noticed", async || (redis.store.condition().borrow().away == wanted).then_some(())).await;
        };
        let begin = Instant::now();
        away(true).await;
        assert!(begin.elapsed() < AWAY_WITHIN, "by its first answer to a heartbeat, not with the lease");
        assert!(redis.journal().latest(&tenant("a")).await.is_err());
        timeout(LEASE, lease.lost().cancelled()).await.expect("the heartbeat was refused");
        redis.server.does(&["REPLICAOF", "NO", "ONE"]);
        away(false).await;
        until("another lease", async || redis.ownership().acquire(&tenant("a")).await.ok().flatten()).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_connection_reads_the_key_check_once() {
    with_redis(async |redis| {
        redis.stores().client_versions.client_version().await.unwrap();
        let first = calls(&redis.server, "hmget");
        let other = instance(&redis.server);
        other.stores().client_versions.client_version().await.unwrap();
        assert_eq!(calls(&redis.server, "hmget") - first, 1);
    })
    .await;
}

fn calls(server: &RedisServer, command: &str) -> u64 {
    let stats = String::from_utf8(server.ask(&["INFO", "commandstats"])).unwrap();
    let line = stats.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls=")));
    line.map_or(0, |line| line.split(',').next().unwrap().parse().unwrap())
}
