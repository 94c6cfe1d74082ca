//! Properties of several instances on one Redis, and of outages of Redis.

use std::time::{Duration, Instant};

use bytes::Bytes;
use tautan::{
    clock,
    events::{ConnectingReason, Cursor, EndReason, EventId, Status},
    store::{
        Change, DesiredState, Lease, StoreError, Stores,
        redis::{RedisStore, Settings, Url},
    },
};
use tautan_test_support::{RedisServer, redis_is_installed};

use crate::{
    backend::{Backend as _, Redis, in_time, instance, key, redis_settings},
    statuses::{
        NAME, PAIR_CODE, PHONE, QR, Received, all, connected, ended, next, numbered, phone, qr, resuming, starting,
        tenant,
    },
};

/// Runs a test as a promise is run, if there is a server.
pub async fn with_redis(story: impl AsyncFnOnce(Redis)) {
    if redis_is_installed() {
        in_time(async { story(Redis::fresh()).await }).await;
    }
}

/// Repeats the check until it is true.
pub async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(found) = ask().await {
            return found;
        }
        assert!(begin.elapsed() < Duration::from_secs(20), "in time: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Acquires the tenant "a" as soon as that is possible.
pub async fn acquired(from: &Stores) -> Lease {
    until("it is acquired", async || from.ownership.acquire(&tenant("a")).await.ok().flatten()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_of_any_kind_reaches_redis_in_clear() {
    with_redis(async |redis| {
        const ROW_KEY: &str = "6289876543210.0:secret-address";
        const ROW_VALUE: &str = "a-private-key-of-somebody";
        const WORDS: &str = "a-passkey-of-somebody";
        let name = tenant("toko-sari");
        let lease = redis.running(&name).await;
        redis.commands().request(&name, DesiredState::run(Some(phone()))).await.unwrap();
        redis.journal().append(&lease, connected()).await.unwrap();
        redis.journal().append(&lease, qr(1)).await.unwrap();
        let row = Change::Put { table: "sessions", key: ROW_KEY.into(), value: ROW_VALUE.into() };
        redis.credentials().write(&lease, vec![row]).await.unwrap();
        redis.commands().send(&name, WORDS.into()).await.unwrap();
        let everything: Vec<u8> = keys(&redis.server).iter().flat_map(|key| redis.server.ask(&["DUMP", key])).collect();
        let history = redis.server.ask(&["XRANGE", "tautan:{0}:{toko-sari}:history", "-", "+"]);
        let record = redis.server.ask(&["HGETALL", "tautan:{0}:{toko-sari}"]);
        let rows = redis.server.ask(&["HGETALL", "tautan:{0}:{toko-sari}:rows:sessions"]);
        let said = redis.server.ask(&["LRANGE", "tautan:{0}:{toko-sari}:messages", "0", "-1"]);
        assert!(said.starts_with(b"*1"));
        let bytes = [everything, history, record, rows, said].concat();
        let stands = |text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
        assert!(stands("owner_incarnation"), "what is no secret is found: the search works");
        for secret in
            [PHONE, NAME, QR, PAIR_CODE, ROW_KEY, ROW_VALUE, WORDS, "qr_pending", "connected", "6289876543210"]
        {
            assert!(!stands(secret), "{secret}");
        }
    })
    .await;
}

pub fn keys(server: &RedisServer) -> Vec<String> {
    let answer = String::from_utf8(server.ask(&["KEYS", "*"])).unwrap();
    answer.lines().filter(|line| line.starts_with("tautan")).map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn code_expires_and_the_rest_of_its_event_stays() {
    with_redis(async |redis| {
        let lease = redis.running(&tenant("a")).await;
        let first = redis.journal().append(&lease, qr(1)).await.unwrap().event;
        let newest = redis.journal().append(&lease, qr(2)).await.unwrap().event;
        let codes: Vec<_> = keys(&redis.server).into_iter().filter(|key| key.contains(":code:")).collect();
        assert_eq!(codes.len(), 2);
        for code in codes {
            let ttl = String::from_utf8(redis.server.ask(&["PTTL", &code])).unwrap();
            assert!(!ttl.starts_with(":-"), "{code} has a time to live: {ttl}");
            redis.server.ask(&["DEL", &code]);
        }
        let shown = redis.journal().latest(&tenant("a")).await.unwrap().unwrap();
        assert_eq!((shown.event.cursor, shown.event.since), (newest.cursor, newest.since));
        let Status::QrPending { qr, pair } = &shown.event.status else { panic!("it keeps its word") };
        assert!(!qr.text().contains(QR) && pair.is_none() && qr.expires_at <= shown.event.at, "its code has expired");
        redis.journal().append(&lease, connected()).await.unwrap();
        let before = Cursor { sequence: first.cursor.sequence - 1, ..first.cursor };
        let before = EventId { cursor: before, ..first.id() };
        let mut reader = redis.journal().subscribe(&tenant("a"), Some(before)).await;
        assert_eq!(all(&mut reader).await, [Received::Event(connected())], "what is over is left out");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn history_is_short_and_exact() {
    with_redis(async |redis| {
        let lease = redis.running(&tenant("a")).await;
        for number in 0..100 {
            redis.journal().append(&lease, numbered(number)).await.unwrap();
        }
        assert_eq!(redis.server.ask(&["XLEN", "tautan:{0}:{a}:history"]), b":32\r\n+OK\r\n");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_instance_reads_the_same_status() {
    with_redis(async |redis| {
        let other = instance(&redis.server);
        let lease = redis.running(&tenant("a")).await;
        let mut readers = [
            redis.journal().subscribe(&tenant("a"), None).await,
            other.stores().journal.subscribe(&tenant("a"), None).await,
        ];
        for status in [qr(1), connected()] {
            let appended = redis.journal().append(&lease, status.clone()).await.unwrap();
            assert_eq!(appended.listeners, 2, "one reader here, one instance there");
        }
        for reader in &mut readers {
            let expected = [starting(), qr(1), connected()].map(Received::Event);
            assert_eq!(all(reader).await, expected);
        }
        redis.ownership().release(lease).await.unwrap();
        for reader in &mut readers {
            assert_eq!(next(reader).await, Some(Received::Stale(connected())));
        }
        let _lease = other.stores().ownership.acquire(&tenant("a")).await.unwrap().unwrap();
        for reader in &mut readers {
            assert_eq!(next(reader).await, Some(Received::Event(resuming())));
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn request_reaches_the_owner_from_every_instance() {
    with_redis(async |redis| {
        let other = instance(&redis.server);
        let lease = redis.running(&tenant("a")).await;
        redis.commands().notified().await;
        let number = other.stores().commands.request(&tenant("a"), DesiredState::Unlink).await.unwrap();
        assert_eq!(redis.commands().notified().await, [tenant("a")]);
        assert_eq!(redis.commands().current(&tenant("a")).await.unwrap(), Some((number, DesiredState::Unlink)));
        assert!(other.stores().ownership.acquire(&tenant("a")).await.unwrap().is_none(), "its owner lives");
        assert!(!lease.lost().is_cancelled());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tenant_of_a_dead_incarnation_is_acquired_and_fenced() {
    with_redis(async |redis| {
        let lease = redis.running(&tenant("a")).await;
        redis.journal().append(&lease, connected()).await.unwrap();
        let other = instance(&redis.server);
        let Stores { journal, ownership, .. } = other.stores();
        let mut reader = journal.subscribe(&tenant("a"), None).await;
        assert_eq!(next(&mut reader).await, Some(Received::Event(connected())));
        let alive = keys(&redis.server).into_iter().filter(|key| key.starts_with("tautan:{0}:alive:"));
        let record =
            String::from_utf8_lossy(&redis.server.ask(&["HGET", "tautan:{0}:{a}", "owner_incarnation"])).into_owned();
        let owner =
            alive.into_iter().find(|key| record.contains(key.strip_prefix("tautan:{0}:alive:").unwrap())).unwrap();
        // As if the owner had not renewed its lease: it notices that itself at its next heartbeat.
        redis.server.ask(&["DEL", &owner]);
        assert!(journal.latest(&tenant("a")).await.unwrap().unwrap().stale);
        assert_eq!(ownership.orphaned(10).await.unwrap(), [tenant("a")]);
        let taken = ownership.acquire(&tenant("a")).await.unwrap().unwrap();
        let row = Change::Put { table: "t", key: Bytes::from("k"), value: Bytes::from("v") };
        assert!(matches!(redis.credentials().write(&lease, vec![row]).await, Err(StoreError::Fenced)));
        assert!(matches!(redis.journal().append(&lease, connected()).await, Err(StoreError::Fenced)));
        lease.lost().cancelled().await;
        journal.append(&taken, connected()).await.unwrap();
        let received = all(&mut reader).await;
        assert_eq!(received.last(), Some(&Received::Event(connected())));
        // It goes on as another incarnation.
        redis.commands().request(&tenant("b"), DesiredState::run(None)).await.unwrap();
        let again = async || redis.ownership().acquire(&tenant("b")).await.ok().flatten();
        let _lease = until("an incarnation follows", again).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stream_opens_stale_while_redis_is_away_and_catches_up() {
    with_redis(async |mut redis| {
        let lease = redis.running(&tenant("a")).await;
        redis.journal().append(&lease, connected()).await.unwrap();
        let mut early = redis.journal().subscribe(&tenant("a"), None).await;
        assert_eq!(next(&mut early).await, Some(Received::Event(connected())));
        redis.server.stop();
        assert_eq!(next(&mut early).await, Some(Received::Stale(connected())));
        let asked = Instant::now();
        let mut late = redis.journal().subscribe(&tenant("b"), None).await;
        assert!(asked.elapsed() < Duration::from_secs(1), "a stream waits for no store");
        let nothing_known = Status::connecting(ConnectingReason::Moving, None);
        assert_eq!(next(&mut late).await, Some(Received::Stale(nothing_known.clone())));
        assert!(matches!(redis.journal().latest(&tenant("a")).await, Err(StoreError::Unavailable(_))));
        for (name, known) in [("a", connected()), ("b", nothing_known.clone()), ("nobody-looked", nothing_known)] {
            let received = redis.journal().present(&tenant(name)).await.unwrap().expect("something is said");
            assert_eq!((&received.event.status, received.stale), (&known, true), "{name}");
        }
        // Redis comes back empty, and the tenant is linked again.
        redis.server.restart();
        let other = instance(&redis.server);
        let Stores { journal, ownership, commands, .. } = other.stores();
        for name in ["a", "b"] {
            until("a request can be saved", async || {
                commands.request(&tenant(name), DesiredState::run(None)).await.ok()
            })
            .await;
            let lease = ownership.acquire(&tenant(name)).await.unwrap().unwrap();
            journal.append(&lease, numbered(7)).await.unwrap();
            let reader = if name == "a" { &mut early } else { &mut late };
            while next(reader).await != Some(Received::Event(numbered(7))) {}
            drop(lease);
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn session_forgotten_by_redis_is_published_as_store_lost() {
    with_redis(async |mut redis| {
        let other = instance(&redis.server);
        let lease = redis.running(&tenant("a")).await;
        redis.journal().append(&lease, connected()).await.unwrap();
        let mut readers = [
            redis.journal().subscribe(&tenant("a"), None).await,
            other.stores().journal.subscribe(&tenant("a"), None).await,
        ];
        redis.server.restart();
        for reader in &mut readers {
            assert_eq!(next(reader).await, Some(Received::Event(connected())));
            // The status may be stale, but never current as before, and never absent.
            let received = loop {
                match next(reader).await {
                    Some(Received::Stale(status)) => assert_eq!(status, connected()),
                    received => break received,
                }
            };
            assert_eq!(received, Some(Received::Event(ended(EndReason::StoreLost))));
        }
        lease.lost().cancelled().await;
        // Without readers only the owner can publish the tenant's status.
        let lease = redis.running(&tenant("b")).await;
        redis.journal().append(&lease, connected()).await.unwrap();
        redis.server.restart();
        // One attempt is not enough: here no write succeeds for a while.
        redis.server.ask(&["ACL", "SETUSER", "default", "-xadd"]);
        lease.lost().cancelled().await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(
            redis.journal().latest(&tenant("b")).await.ok().flatten().map(|shown| shown.event.status.clone()),
            None
        );
        redis.server.ask(&["ACL", "SETUSER", "default", "+xadd"]);
        let shown = until("it is published", async || redis.journal().latest(&tenant("b")).await.ok().flatten()).await;
        assert_eq!((&shown.event.status, shown.stale), (&ended(EndReason::StoreLost), false));
        assert!(redis.ownership().orphaned(10).await.unwrap().is_empty());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requested_tenant_without_index_is_found_by_the_sweep() {
    with_redis(async |redis| {
        let (ownership, commands, run) = (redis.ownership(), redis.commands(), DesiredState::run(None));
        for name in ["lost", "here", "settled"] {
            commands.request(&tenant(name), run.clone()).await.unwrap();
        }
        let _here = ownership.acquire(&tenant("here")).await.unwrap().unwrap();
        let settled = ownership.acquire(&tenant("settled")).await.unwrap().unwrap();
        let number = commands.current(&tenant("settled")).await.unwrap().unwrap().0;
        redis.journal().finish(settled, ended(EndReason::Cancelled), number).await.unwrap();
        redis.server.ask(&["DEL", "tautan:{0}:wanted"]);
        assert!(ownership.orphaned(10).await.unwrap().is_empty());
        commands.notified().await;
        redis.store.sweep().await.unwrap();
        assert_eq!(commands.notified().await, [tenant("lost")]);
        assert_eq!(ownership.orphaned(10).await.unwrap(), [tenant("lost")]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stale_stream_learns_that_the_tenant_was_never_linked() {
    with_redis(async |redis| {
        redis.server.pause();
        let mut reader = redis.journal().subscribe(&tenant("a"), None).await;
        assert!(matches!(next(&mut reader).await, Some(Received::Stale(_))));
        redis.server.resume();
        let received = loop {
            match next(&mut reader).await {
                Some(Received::Stale(_)) => {}
                received => break received,
            }
        };
        assert_eq!(received, Some(Received::Fresh(ended(EndReason::NeverLinked))));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_lost_by_a_redis_crash_are_rewritten_by_the_owner() {
    if !redis_is_installed() {
        return;
    }
    let mut redis = Redis::on(RedisServer::start_durable());
    let (credentials, row) = (redis.stores().credentials.clone(), |key: &'static str, value: &'static str| {
        Change::Put { table: "t", key: Bytes::from(key), value: Bytes::from(value) }
    });
    let lease = redis.running(&tenant("a")).await;
    credentials.write(&lease, vec![row("kept", "old"), row("gone", "old")]).await.unwrap();
    let mut reader = redis.journal().subscribe(&tenant("a"), None).await;
    let saved = redis.server.backup();
    credentials.write(&lease, vec![row("kept", "new"), row("added", "new")]).await.unwrap();
    credentials.write(&lease, vec![Change::Delete { table: "t", key: Bytes::from("gone") }]).await.unwrap();
    redis.journal().append(&lease, connected()).await.unwrap();
    assert_eq!(next(&mut reader).await, Some(Received::Event(starting())));
    assert_eq!(next(&mut reader).await, Some(Received::Event(connected())));
    let before = reader_cursor(&redis).await;
    redis.server.restart_from(&saved);
    let status = async || redis.journal().latest(&tenant("a")).await.ok().flatten().filter(|shown| !shown.stale);
    let again = until("the status is back", async || status().await.filter(|shown| shown.event.status == connected()));
    assert!(again.await.event.cursor > before, "no reader takes it for what it saw before");
    let rows = until("so are the rows", async || {
        let rows = credentials.table(&tenant("a"), "t").await.ok()?;
        let sorted: std::collections::BTreeMap<_, _> = rows.into_iter().collect();
        (sorted.len() == 2 && !sorted.contains_key(&Bytes::from("gone"))).then_some(sorted)
    });
    assert!(rows.await.values().all(|value| value == "new"));
    assert!(!lease.lost().is_cancelled(), "it was ours all the time");
    credentials.write(&lease, vec![row("kept", "newer")]).await.unwrap();
}

async fn reader_cursor(redis: &Redis) -> Cursor {
    redis.journal().latest(&tenant("a")).await.unwrap().unwrap().event.cursor
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn write_that_timed_out_is_applied_and_published_once() {
    with_redis(async |redis| {
        let lease = redis.running(&tenant("a")).await;
        let mut reader = redis.journal().subscribe(&tenant("a"), None).await;
        assert_eq!(all(&mut reader).await, [Received::Event(starting())]);
        redis.server.pause();
        let resume = async {
            tokio::time::sleep(Duration::from_millis(1_500)).await;
            redis.server.resume();
        };
        // The first attempt times out and is executed; the second returns the result of the first.
        let (appended, ()) = tokio::join!(redis.journal().append(&lease, connected()), resume);
        let event = appended.unwrap().event;
        assert_eq!(redis.journal().latest(&tenant("a")).await.unwrap().unwrap().event, event);
        let received: Vec<_> =
            all(&mut reader).await.into_iter().filter(|received| matches!(received, Received::Event(_))).collect();
        assert_eq!(received, [Received::Event(connected())]);
        assert_eq!(redis.server.ask(&["XLEN", "tautan:{0}:{a}:history"]), b":2\r\n+OK\r\n");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broken_subscription_loses_no_event() {
    with_redis(async |redis| {
        let lease = redis.running(&tenant("a")).await;
        let mut reader = redis.journal().subscribe(&tenant("a"), None).await;
        assert_eq!(next(&mut reader).await, Some(Received::Event(starting())));
        for round in 0..5 {
            for number in round * 6..round * 6 + 6 {
                redis.journal().append(&lease, numbered(number)).await.unwrap();
                if number % 6 == 2 {
                    assert_eq!(redis.server.ask(&["CLIENT", "KILL", "TYPE", "pubsub"]), b":1\r\n+OK\r\n");
                }
            }
            for number in round * 6..round * 6 + 6 {
                let received = loop {
                    match next(&mut reader).await {
                        Some(Received::Stale(_) | Received::Fresh(_)) => {}
                        received => break received,
                    }
                };
                assert_eq!(received, Some(Received::Event(numbered(number))));
            }
        }
    })
    .await;
}

#[tokio::test]
async fn no_error_shows_where_redis_is() {
    let error = Url::parse("redis://:hunter2@[bad").unwrap_err();
    assert!(!format!("{error}{error:?}").contains("hunter2"));
    let url = Url::parse("redis://:hunter2@127.0.0.1:1/").unwrap();
    let away =
        RedisStore::open(Settings { url, ..redis_settings("redis://127.0.0.1:1/", key(), None) }, clock::system());
    let error = away.stores().journal.latest(&tenant("a")).await.unwrap_err();
    let said = format!("{error}{error:?}");
    assert!(!said.contains("127.0.0.1") && !said.contains("hunter2"), "{said}");
}
