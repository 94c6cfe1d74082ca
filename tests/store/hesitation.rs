//! A request that takes long, and other requests meanwhile.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use tautan::{
    events::EndReason,
    store::{DesiredState, StoreError},
};
use tautan_test_support::RedisServer;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tokio_util::task::TaskTracker;

use crate::{
    backend::{Backend as _, instance_at, key},
    redis::with_redis,
    statuses::{Received, all, ended, next, starting, tenant},
};

/// The record of the tenant over which both contend.
const RECORD: &str = "tautan:{0}:{a}";

/// A connection to Redis on which everything is slow, while another client changes the record faster.
async fn contended_way(port: u16) -> SocketAddr {
    const SLOWNESS: Duration = Duration::from_millis(250);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (tasks, carried) = (TaskTracker::new(), TaskTracker::new());
    tasks.spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let mut other = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            let (mut near_read, mut near_write) = near.into_split();
            let (mut far_read, mut far_write) = TcpStream::connect(("127.0.0.1", port)).await.unwrap().into_split();
            carried.spawn(async move { tokio::io::copy(&mut far_read, &mut near_write).await });
            carried.spawn(async move {
                let mut bytes = vec![0; 16 * 1024];
                while let Ok(read @ 1..) = near_read.read(&mut bytes).await {
                    // The other connections are the store's own and must work.
                    if bytes[..read].windows(RECORD.len()).any(|window| window == RECORD.as_bytes()) {
                        tokio::time::sleep(SLOWNESS).await;
                        let version = rand::random::<u64>();
                        let change = format!("HSET {RECORD} version {version}\r\n");
                        other.write_all(change.as_bytes()).await.unwrap();
                        other.read_exact(&mut [0; 4]).await.unwrap();
                    }
                    if far_write.write_all(&bytes[..read]).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

/// The caller that was cancelled may have requested something else by now.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn request_that_cannot_be_saved_in_time_fails() {
    with_redis(async |redis| {
        let way = contended_way(redis.server.port).await;
        let slow = instance_at(&format!("redis://{way}/"), key(), None).stores().commands;
        slow.request(&tenant("b"), DesiredState::Unlink).await.unwrap();
        let begin = Instant::now();
        let wanted = slow.request(&tenant("a"), DesiredState::run(None)).await;
        let Err(StoreError::Unavailable(why)) = wanted else { panic!("{wanted:?}") };
        assert_eq!(why.to_string(), "it could not be decided in time");
        assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
        assert_eq!(redis.commands().current(&tenant("a")).await.unwrap(), None);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn desired_state_without_owner_is_stale_for_readers() {
    with_redis(async |redis| {
        let name = tenant("a");
        let lease = redis.running(&name).await;
        let desired = redis.commands().current(&name).await.unwrap().unwrap().0;
        redis.journal().finish(lease, ended(EndReason::Cancelled), desired).await.unwrap();
        let mut reader = redis.journal().subscribe(&name, None).await;
        assert_eq!(next(&mut reader).await, Some(Received::Event(ended(EndReason::Cancelled))));
        redis.commands().request(&name, DesiredState::run(None)).await.unwrap();
        assert_eq!(next(&mut reader).await, Some(Received::Event(starting())));
        assert_eq!(next(&mut reader).await, Some(Received::Stale(starting())));
        let _lease = redis.ownership().acquire(&name).await.unwrap().unwrap();
        assert_eq!(all(&mut reader).await, [Received::Fresh(starting())]);
    })
    .await;
}

/// The command of a store that lost the answer: the same command again.
fn submits(server: &RedisServer, token: &str, number: &str, version: &str) -> String {
    let script = concat!(
        "local record, history, tables, messages, requests, used_codes, used_dials, outbox, wanted, alive, owned = unpack(KEYS)\n",
        include_str!("../../src/store/redis/scripts/names.lua"),
        include_str!("../../src/store/redis/scripts/prelude.lua"),
        include_str!("../../src/store/redis/scripts/run.lua"),
        include_str!("../../src/store/redis/scripts/look.lua"),
        include_str!("../../src/store/redis/scripts/event.lua"),
        include_str!("../../src/store/redis/scripts/own.lua"),
        include_str!("../../src/store/redis/scripts/submit.lua")
    );
    let arguments =
        [token, number, token, version, "0", "run", "", "", "", "", "0", "instance", "", "", "0", "0", "", ""];
    let parts = ["", ":history", ":tables", ":messages", ":requests", ":used-codes", ":used-dials"];
    let keys = parts.map(|part| format!("{RECORD}{part}"));
    let others = ["tautan:{0}:outbox", "tautan:{0}:wanted", "tautan:{0}:alive:", "tautan:{0}:owned:"];
    let keys: Vec<&str> = keys.iter().map(String::as_str).chain(others).collect();
    let command = [&["EVAL", script, "11"], &keys[..], &arguments[..]].concat();
    String::from_utf8(server.ask(&command)).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn request_with_lost_answer_is_recognized_behind_a_newer_one() {
    with_redis(async |redis| {
        let field = |name: &str| String::from_utf8(redis.server.ask(&["HGET", RECORD, name])).unwrap();
        let version = || field("version").lines().nth(1).unwrap_or_default().to_owned();
        let kept = submits(&redis.server, "aa", "1", "");
        assert!(kept.contains("done") && kept.contains("\r\n1 0\r\n"), "{kept}");
        let (before, newer) = (version(), submits(&redis.server, "bb", "2", &version()));
        assert!(newer.contains("done"), "{newer}");
        assert_eq!(submits(&redis.server, "aa", "1", &before), kept, "it is answered what it was");
        assert!(submits(&redis.server, "cc", "3", &before).contains("again"), "no other client writes");
        assert!(field("desired").contains("bb"));
        let ttl = String::from_utf8(redis.server.ask(&["PTTL", "tautan:{0}:{a}:requests"])).unwrap();
        assert!(!ttl.starts_with(":-"), "for a moment only: {ttl}");
    })
    .await;
}
