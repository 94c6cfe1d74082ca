//! Redis comes back, also with less data than it had, while an instance writes or is read.

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::future::join_all;
use tautan::{
    events::EndReason,
    store::{Change, DesiredState, StoreError, Stores},
};
use tautan_test_support::{RedisServer, Way, redis_is_installed};
use tokio::time::{sleep, timeout};

use crate::{
    backend::{Backend as _, Redis, in_time, instance, instance_behind},
    redis::{until, with_redis},
    statuses::{Received, connected, ended, next, numbered, tenant},
};

fn row(value: String) -> Vec<Change> {
    vec![Change::Put { table: "t", key: Bytes::from("k"), value: value.into() }]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn write_during_the_rewrite_of_lost_writes_stays() {
    if !redis_is_installed() {
        return;
    }
    in_time(async {
        let mut redis = Redis::on(RedisServer::start_durable());
        let (credentials, name) = (redis.stores().credentials.clone(), tenant("a"));
        let lease = redis.running(&name).await;
        for number in 0..100 {
            credentials.write(&lease, row(format!("before-{number}"))).await.unwrap();
        }
        redis.server.restart();
        let begin = Instant::now();
        // The owner sees at its next beat that it is another run.
        for number in 0.. {
            let written = format!("after-{number}");
            match credentials.write(&lease, row(written.clone())).await {
                Ok(()) => {
                    let read = credentials.get(&name, "t", b"k").await.unwrap();
                    assert_eq!(read, Some(written.into()), "no other client writes");
                }
                Err(StoreError::Unavailable(_)) => tokio::time::sleep(Duration::from_millis(5)).await,
                Err(error) => panic!("{error}"),
            }
            if begin.elapsed() > Duration::from_secs(3) {
                break;
            }
        }
        assert!(!lease.lost().is_cancelled());
    })
    .await;
}

/// The decision is based on the record that the lost write left, and another decision makes as many changes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn request_before_a_loss_is_saved_again_after_it() {
    if !redis_is_installed() {
        return;
    }
    in_time(async {
        let mut server = RedisServer::start_durable();
        let (network, near) = instance_behind(server.port).await;
        let Stores { journal, ownership, commands, .. } = near.stores();
        let (name, run) = (tenant("a"), DesiredState::run(None));
        commands.request(&name, run.clone()).await.unwrap();
        let lease = ownership.acquire(&name).await.unwrap().expect("no other owner runs it");
        journal.append(&lease, numbered(1)).await.unwrap();
        let saved = server.backup();
        let lost = journal.append(&lease, numbered(2)).await.unwrap().event.cursor;

        network.set(Way::Silent);
        let meanwhile = async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            server.restart_from(&saved);
            let other = instance(&server).stores().commands;
            until("another instance requests", async || other.request(&name, run.clone()).await.ok()).await;
            network.set(Way::Open);
        };
        let (decided, ()) = tokio::join!(journal.append(&lease, numbered(3)), meanwhile);
        let cursor = decided.unwrap().event.cursor;
        assert!(cursor.epoch > lost.epoch, "{cursor} after {lost}: no sequence is given twice");
    })
    .await;
}

/// Redis comes back empty, and a user unlinks before an instance has published the loss. Instances of an earlier version
/// leave a record without an event then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_learn_of_a_lost_session_that_its_user_unlinked() {
    with_redis(async |redis| {
        let (other, never) = (instance(&redis.server), Received::Fresh(ended(EndReason::NeverLinked)));
        for (name, earlier, learned) in [("a", false, Received::Event(ended(EndReason::StoreLost))), ("b", true, never)]
        {
            let (tenant, record) = (tenant(name), format!("tautan:{{0}}:{{{name}}}"));
            let lease = redis.running(&tenant).await;
            redis.journal().append(&lease, connected()).await.unwrap();
            let mut reader = other.stores().journal.subscribe(&tenant, None).await;
            assert_eq!(next(&mut reader).await, Some(Received::Event(connected())));
            redis.server.ask(&["DEL", &record, &format!("{record}:history")]);
            other.stores().commands.request(&tenant, DesiredState::Unlink).await.unwrap();
            if earlier {
                redis.server.ask(&["HSET", &record, "generation", "1", "version", "a"]);
            }
            redis.server.ask(&["CLIENT", "KILL", "TYPE", "pubsub"]);
            let update = loop {
                match next(&mut reader).await {
                    Some(Received::Stale(_)) => {}
                    update => break update,
                }
            };
            assert_eq!(update, Some(learned), "{name}");
        }
    })
    .await;
}

/// An instance whose messages arrive again, and whose look has not found yet that Redis answers. When that is differs from one
/// instance to the next.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reader_that_comes_as_redis_comes_back_receives_what_follows() {
    const INSTANCES: usize = 8;
    const READERS: usize = 50;
    const PAUSE: Duration = Duration::from_millis(10);
    /// Well before all tenants are compared.
    const SOON: Duration = Duration::from_secs(8);
    if !redis_is_installed() {
        return;
    }
    in_time(async {
        let server = RedisServer::start();
        let stores: Vec<_> = (0..INSTANCES).map(|_| instance(&server)).collect();
        for store in &stores {
            assert_eq!(store.proven(SOON).await, Ok(true));
        }
        server.pause();
        for store in &stores {
            store.condition().wait_for(|now| now.away).await.unwrap();
        }
        server.resume();
        let read = stores.iter().enumerate().map(|(at, store)| {
            let journal = store.stores().journal;
            async move {
                let mut readers = Vec::new();
                for number in 0..READERS {
                    let name = tenant(&format!("t{at}-{number}"));
                    readers.push((journal.subscribe(&name, None).await, name));
                    sleep(PAUSE).await;
                }
                readers
            }
        });
        let mut readers: Vec<_> = join_all(read).await.into_iter().flatten().collect();
        let commands = instance(&server).stores().commands;
        for (_, name) in &readers {
            until("it is saved", async || commands.request(name, DesiredState::run(None)).await.ok()).await;
        }
        for (reader, name) in &mut readers {
            let event = async { while !matches!(next(reader).await, Some(Received::Event(_))) {} };
            timeout(SOON, event).await.unwrap_or_else(|_| panic!("{name} receives nothing"));
        }
    })
    .await;
}
