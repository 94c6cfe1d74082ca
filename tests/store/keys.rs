//! The encryption key over Redis: a wrong key is reported, and a rotation never leaves an instance unable to read.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use tautan::{
    events::{EndReason, JournalId},
    store::{
        Change, DesiredState, Lease, PAGE_ROWS, StoreError, Stores,
        crypt::{MasterKey, RowLocation, TenantKeys},
        redis::{RedisStore, UnusableServer},
    },
};
use tautan_test_support::RedisServer;

use crate::{
    backend::{Backend as _, Redis, instance, instance_at},
    later::quoted,
    redis::{keys, until, with_redis},
    statuses::{Received, connected, ended, next, numbered, phone, qr, tenant},
};

const WAIT: Duration = Duration::from_secs(3);
/// The byte that the tests' own key consists of, and the byte of the key that replaces it.
const OLD: u8 = 7;
const NEW: u8 = 8;

fn with(server: &RedisServer, current: u8, previous: Option<u8>) -> RedisStore {
    let key = |byte| MasterKey::from([byte; 32]);
    instance_at(&server.url(), key(current), previous.map(key))
}

fn put(key: &'static str, value: &'static str) -> Change {
    Change::Put { table: "t", key: Bytes::from(key), value: Bytes::from(value) }
}

async fn rows(store: &RedisStore, name: &str) -> Result<BTreeMap<Bytes, Bytes>, StoreError> {
    Ok(store.stores().credentials.table(&tenant(name), "t").await?.into_iter().collect())
}

async fn own(store: &RedisStore, name: &str) -> Lease {
    let Stores { ownership, commands, .. } = store.stores();
    commands.request(&tenant(name), DesiredState::run(Some(phone()))).await.unwrap();
    ownership.acquire(&tenant(name)).await.unwrap().expect("it has no owner")
}

/// All bytes that are stored of tenants and of the key.
fn kept(server: &RedisServer) -> Vec<(String, Vec<u8>)> {
    let mut kept = keys(server);
    kept.retain(|key| key.contains("}:{") || key == "tautan:proof" || key == "tautan:{0}:data");
    kept.sort();
    kept.into_iter().map(|key| (key.clone(), server.ask(&["DUMP", &key]))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_key_is_reported_and_changes_nothing() {
    with_redis(async |redis| {
        let lease = redis.running(&tenant("a")).await;
        redis.credentials().write(&lease, vec![put("k", "v")]).await.unwrap();
        redis.ownership().release(lease).await.unwrap();
        redis.store.close().await;
        let before = kept(&redis.server);
        assert!(before.len() >= 5, "{before:?}");

        let wrong = with(&redis.server, NEW, None);
        assert_eq!(wrong.proven(WAIT).await, Err(UnusableServer::WrongKey));
        let Stores { journal, ownership, commands, credentials, .. } = wrong.stores();
        let refused = |error| match error {
            StoreError::Unavailable(cause) => assert!(cause.to_string().contains("another encryption key"), "{cause}"),
            other => panic!("{other:?}"),
        };
        refused(journal.latest(&tenant("a")).await.unwrap_err());
        refused(commands.request(&tenant("a"), DesiredState::Unlink).await.unwrap_err());
        refused(ownership.acquire(&tenant("a")).await.unwrap_err());
        refused(credentials.get(&tenant("a"), "t", b"k").await.unwrap_err());
        assert_eq!(kept(&redis.server), before);

        let right = instance(&redis.server);
        assert_eq!(right.proven(WAIT).await, Ok(true));
        assert_eq!(rows(&right, "a").await.unwrap(), [("k".into(), "v".into())].into());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn key_is_checked_once_redis_is_back_after_the_start() {
    with_redis(async |redis| {
        drop(redis.running(&tenant("a")).await);
        redis.server.pause();
        let (wrong, right) = (with(&redis.server, NEW, None), instance(&redis.server));
        assert_eq!(wrong.proven(Duration::ZERO).await, Ok(false));
        assert_eq!(right.proven(Duration::ZERO).await, Ok(false));
        redis.server.resume();
        let updates = async || wrong.proven(Duration::ZERO).await.err();
        assert_eq!(until("the wrong key is reported", updates).await, UnusableServer::WrongKey);
        let served = async || right.stores().journal.latest(&tenant("a")).await.ok();
        until("the right one is served", served).await;
    })
    .await;
}

/// The complete rotation from one key to another. One of the two instances is always a step behind.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn key_changes_in_three_steps_and_stays_readable() {
    with_redis(async |redis| {
        let Redis { store: first, server, .. } = redis;
        let server = &server;
        // No request touches this tenant again: only the slow walk reaches it.
        let lease = own(&first, "idle").await;
        first.stores().credentials.write(&lease, vec![put("k", "idle")]).await.unwrap();
        first.stores().journal.append(&lease, qr(1)).await.unwrap();
        first.stores().ownership.release(lease).await.unwrap();
        let lease = own(&first, "over").await;
        let (desired, _) = first.stores().commands.current(&tenant("over")).await.unwrap().unwrap();
        first.stores().journal.finish(lease, ended(EndReason::QrExpired), desired).await.unwrap();

        // Both keys can decrypt; the instances get the second key one after the other.
        let second = with(server, OLD, Some(NEW));
        side_by_side(&first, &second, "step-1").await;
        first.close().await;
        let first = with(server, OLD, Some(NEW));
        // The new key encrypts; the other instance still encrypts with the old one.
        second.close().await;
        let second = with(server, NEW, Some(OLD));
        assert_eq!(second.proven(WAIT).await, Ok(true));
        assert_eq!(first.proven(WAIT).await, Ok(true));
        side_by_side(&first, &second, "step-2a").await;
        side_by_side(&second, &first, "step-2b").await;
        first.close().await;
        let first = with(server, NEW, Some(OLD));
        side_by_side(&first, &second, "step-2c").await;

        // The old key is removed once no row is encrypted with it.
        let third = with(server, NEW, None);
        assert_eq!(third.proven(WAIT).await, Ok(true));
        let names = ["idle", "over", "step-1", "step-2a", "step-2b", "step-2c"];
        let all = async || {
            for name in names {
                rows(&third, name).await.ok()?;
                // A row that cannot be decrypted is no error: its status is shown as unknown.
                let shown = third.stores().journal.latest(&tenant(name)).await.ok()??;
                let desired = third.stores().commands.current(&tenant(name)).await.ok()?;
                if shown.event.journal == JournalId::NONE || matches!(desired, Some((_, DesiredState::Unknown(_)))) {
                    return None;
                }
            }
            Some(())
        };
        until("everything is sealed anew", all).await;
        assert_eq!(rows(&third, "idle").await.unwrap(), [("k".into(), "idle".into())].into());
        let shown = third.stores().journal.latest(&tenant("idle")).await.unwrap().unwrap();
        assert_eq!(shown.event.status, qr(1), "also the code that still lives");
        let ttl = String::from_utf8(server.ask(&["PTTL", &code_key(server)])).unwrap();
        assert!(!ttl.starts_with(":-"), "it still has its time to live: {ttl}");
        let (_, desired) = third.stores().commands.current(&tenant("idle")).await.unwrap().unwrap();
        assert_eq!(desired, DesiredState::run(Some(phone())));
        let shown = third.stores().journal.latest(&tenant("over")).await.unwrap().unwrap();
        assert_eq!(shown.event.status, ended(EndReason::QrExpired));
        assert_eq!(with(server, OLD, None).proven(WAIT).await, Err(UnusableServer::WrongKey));
    })
    .await;
}

fn code_key(server: &RedisServer) -> String {
    keys(server).into_iter().find(|key| key.starts_with("tautan:{0}:{idle}:code:")).expect("it is kept")
}

/// One instance owns a tenant and writes; the other one reads, listens, and acquires it.
async fn side_by_side(owner: &RedisStore, other: &RedisStore, name: &str) {
    let lease = own(owner, name).await;
    let Stores { journal, credentials, .. } = owner.stores();
    let mut reader = other.stores().journal.subscribe(&tenant(name), None).await;
    assert!(matches!(next(&mut reader).await, Some(Received::Event(_))));
    credentials.write(&lease, vec![put("kept", "1"), put("changed", "1"), put("gone", "1")]).await.unwrap();
    journal.append(&lease, numbered(1)).await.unwrap();
    assert_eq!(next(&mut reader).await, Some(Received::Event(numbered(1))), "{name}");
    let (_, desired) = other.stores().commands.current(&tenant(name)).await.unwrap().unwrap();
    assert_eq!(desired, DesiredState::run(Some(phone())));
    owner.stores().ownership.release(lease).await.unwrap();

    let lease = other.stores().ownership.acquire(&tenant(name)).await.unwrap().expect("it was given back");
    let gone = Change::Delete { table: "t", key: Bytes::from("gone") };
    other.stores().credentials.write(&lease, vec![put("changed", "2"), gone]).await.unwrap();
    other.stores().journal.append(&lease, connected()).await.unwrap();
    let expected: BTreeMap<Bytes, Bytes> = [("kept".into(), "1".into()), ("changed".into(), "2".into())].into();
    for store in [owner, other] {
        assert_eq!(rows(store, name).await.unwrap(), expected, "{name}");
        let get =
            async |key: &'static str| store.stores().credentials.get(&tenant(name), "t", key.as_bytes()).await.unwrap();
        assert_eq!(get("changed").await, Some("2".into()), "{name}");
        assert_eq!(get("gone").await, None, "{name}");
        let shown = store.stores().journal.latest(&tenant(name)).await.unwrap().unwrap();
        assert_eq!(shown.event.status, connected());
    }
    other.stores().ownership.release(lease).await.unwrap();
}

/// Without this, instances a step apart would re-encrypt each other's rows for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_connection_does_not_decide_the_key_rotation() {
    with_redis(async |redis| {
        let server = &redis.server;
        let behind = with(server, OLD, Some(NEW));
        assert_eq!(behind.proven(WAIT).await, Ok(true));
        let proof = || server.ask(&["HGET", "tautan:proof", "proof"]);
        let before = proof();
        let ahead = with(server, NEW, Some(OLD));
        assert_eq!(ahead.proven(WAIT).await, Ok(true));
        let turned = proof();
        assert_ne!(turned, before);
        for _ in 0..3 {
            server.ask(&["CLIENT", "KILL", "TYPE", "normal"]);
            for store in [&behind, &ahead] {
                let served = async || store.stores().journal.latest(&tenant("a")).await.ok();
                until("it is served again", served).await;
            }
            assert_eq!(proof(), turned);
        }
        // A return to the old configuration is deliberate.
        let back = with(server, OLD, Some(NEW));
        assert_eq!(back.proven(WAIT).await, Ok(true));
        assert_ne!(proof(), turned);
    })
    .await;
}

/// The walk replaces rows that it read a moment ago, and must not undo a write that came meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn owner_can_write_while_its_rows_are_rewrapped() {
    with_redis(async |redis| {
        let Redis { store: old, server, .. } = redis;
        let lease = own(&old, "a").await;
        for from in (0..400).step_by(50) {
            let some = (from..from + 50).map(|n| Change::Put { table: "t", key: number(n), value: number(0) });
            old.stores().credentials.write(&lease, some.collect()).await.unwrap();
        }
        old.close().await;
        let new = with(&server, NEW, Some(OLD));
        let lease =
            until("its owner is gone", async || new.stores().ownership.acquire(&tenant("a")).await.ok().flatten());
        let lease = lease.await;
        for round in 1..40 {
            let some = (0..400).step_by(7).map(|n| Change::Put { table: "t", key: number(n), value: number(round) });
            new.stores().credentials.write(&lease, some.collect()).await.unwrap();
            let found = rows(&new, "a").await.unwrap();
            assert_eq!(found.len(), 400);
            assert!((0..400).step_by(7).all(|n| found[&number(n)] == number(round)), "round {round}");
        }
        let only_new = with(&server, NEW, None);
        let found = until("all is sealed anew", async || rows(&only_new, "a").await.ok()).await;
        assert_eq!(found.len(), 400);
        assert_eq!(found[&number(7)], number(39));
        assert_eq!(found[&number(8)], number(0));
    })
    .await;
}

/// The table is encrypted again between its first page and the others, so most rows get new names behind the scan or
/// ahead of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_hold_every_row_while_the_key_changes() {
    const ROWS: u32 = 2_000;
    with_redis(async |redis| {
        let server = &redis.server;
        let lease = redis.running(&tenant("a")).await;
        let rows_of_old = (0..ROWS).map(|n| Change::Put { table: "t", key: number(n), value: number(n) });
        redis.credentials().write(&lease, rows_of_old.collect()).await.unwrap();
        let reader = with(server, OLD, Some(NEW));
        let credentials = reader.stores().credentials;
        let (mut found, mut new) = (BTreeMap::new(), None);
        let mut after = None;
        loop {
            let page = credentials.page(&tenant("a"), "t", after).await.unwrap();
            assert!(page.rows.len() <= 4 * PAGE_ROWS, "{}", page.rows.len());
            found.extend(page.rows);
            if new.is_none() {
                let both = with(server, NEW, Some(OLD));
                assert_eq!(both.proven(WAIT).await, Ok(true));
                new = Some(both);
                let only_new = with(server, NEW, None);
                until("all is sealed anew", async || rows(&only_new, "a").await.ok()).await;
            }
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(found, (0..ROWS).map(|n| (number(n), number(n))).collect());
    })
    .await;
}

/// As a script leaves it that Redis stopped midway.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_rows_with_one_key_the_current_one_is_read() {
    with_redis(async |redis| {
        let lease = redis.running(&tenant("a")).await;
        let puts = (0..40).map(|n| Change::Put { table: "t", key: number(n), value: "newer".into() });
        redis.credentials().write(&lease, puts.collect()).await.unwrap();
        let keys = TenantKeys::new(&MasterKey::from([NEW; 32]), &tenant("a"));
        for key in (0..40).map(number) {
            let name = keys.row("t", &key);
            let length = u32::try_from(key.len()).unwrap().to_le_bytes();
            let sealed = keys.seal(RowLocation { table: "t", row: &name }, &[&length, &*key, b"older"].concat());
            let field = (quoted(&name), quoted(&sealed));
            let script = format!("redis.call('HSET', 'tautan:{{0}}:{{a}}:rows:t', '{}', '{}')", field.0, field.1);
            assert!(!redis.server.ask(&["EVAL", &script, "0"]).starts_with(b"-"));
        }
        let reader = with(&redis.server, OLD, Some(NEW));
        let found = rows(&reader, "a").await.unwrap();
        assert_eq!(found, (0..40).map(|n| (number(n), "newer".into())).collect());
    })
    .await;
}

fn number(number: u32) -> Bytes {
    Bytes::from(number.to_string())
}
