//! The embedded store's file: which process may open it, and what it contains.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use bytes::Bytes;
use redb::{Database, ReadableTable as _, TableDefinition};
use tautan::{
    clock,
    store::{
        Change, Commands as _, DesiredState, Journal as _, Ownership as _, StoreError,
        crypt::MasterKey,
        embedded::{EmbeddedStore, OpenError, Settings},
    },
};

use crate::{
    backend::{Backend as _, Embedded, key, settings},
    statuses::{NAME, PAIR_CODE, PHONE, QR, connected, numbered, phone, qr, tenant},
};

const CREDENTIALS: TableDefinition<(&str, &str, &[u8]), &[u8]> = TableDefinition::new("vault");

fn open(settings: Settings) -> Result<EmbeddedStore, OpenError> {
    EmbeddedStore::open(settings, clock::system())
}

fn file(dir: &Path) -> std::path::PathBuf {
    dir.join("tautan.redb")
}

#[tokio::test]
async fn no_secret_of_any_kind_stands_in_the_file_in_clear() {
    const ROW_KEY: &str = "6289876543210.0:secret-address";
    const ROW_VALUE: &str = "a-private-key-of-somebody";
    let store = Embedded::fresh();
    let lease = store.running(&tenant("toko-sari")).await;
    let desired = DesiredState::run(Some(phone()));
    store.commands().request(&tenant("toko-sari"), desired).await.unwrap();
    for status in [qr(1), qr(2), connected(), qr(3), connected()] {
        store.journal().append(&lease, status).await.unwrap();
        let row = Change::Put { table: "sessions", key: ROW_KEY.into(), value: ROW_VALUE.into() };
        store.credentials().write(&lease, vec![row]).await.unwrap();
    }
    let Embedded { dir, store, .. } = store;
    store.close().await;
    let bytes = fs::read(file(dir.path())).unwrap();
    let stands = |text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(stands("toko-sari") && stands("sessions"), "what is no secret is found: the search works");
    for secret in [PHONE, NAME, QR, PAIR_CODE, ROW_KEY, ROW_VALUE, "qr_pending", "connected", "secret", "6289876543210"]
    {
        assert!(!stands(secret), "{secret}");
    }
}

/// Not even sealed: the file of a tenant that is shown codes does not change at all.
#[tokio::test]
async fn qr_code_does_not_touch_the_file() {
    let store = Embedded::fresh();
    let lease = store.running(&tenant("a")).await;
    let content = || fs::read(file(store.dir.path())).unwrap();
    let before = content();
    for number in 0..10 {
        store.journal().append(&lease, qr(number)).await.unwrap();
    }
    assert!(content() == before);
    store.journal().append(&lease, connected()).await.unwrap();
    assert!(content() != before, "while a status to keep does");
}

#[tokio::test]
async fn directory_in_use_is_refused_until_released() {
    let first = Embedded::fresh();
    let refused = open(settings(first.dir.path()));
    assert!(matches!(refused, Err(OpenError::InUse(dir)) if dir == first.dir.path()));
    first.store.close().await;
    first.store.close().await;
    open(settings(first.dir.path())).expect("let go by closing");
    open(settings(first.dir.path())).expect("let go by dropping");
}

#[tokio::test]
async fn unusable_directory_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let occupied = dir.path().join("file");
    fs::write(&occupied, "").unwrap();
    for path in [occupied.as_path(), &occupied.join("below"), Path::new("/proc/tautan")] {
        match open(settings(path)) {
            Err(error @ OpenError::Directory { .. }) => {
                assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
            }
            other => panic!("{path:?}: {:?}", other.err()),
        }
    }
}

#[tokio::test]
async fn missing_directory_is_created_for_its_owner_only() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("some/where");
    let _store = open(settings(&path)).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o700);
    assert_eq!(mode(&file(&path)), 0o600);
}

/// A file that allows an empty store, left behind by one of them, would be used after the store file is lost.
#[tokio::test]
async fn first_starts_at_once_leave_one_store_and_a_marker() {
    const STARTS: usize = 8;
    for _ in 0..20 {
        let dir = tempfile::tempdir().unwrap();
        let start = std::sync::Barrier::new(STARTS);
        let opened: Vec<_> = std::thread::scope(|scope| {
            let starts = [(); STARTS].map(|()| {
                scope.spawn(|| {
                    start.wait();
                    open(settings(dir.path()))
                })
            });
            starts.into_iter().map(|start| start.join().unwrap()).collect()
        });
        assert_eq!(opened.iter().filter(|opened| opened.is_ok()).count(), 1);
        assert!(dir.path().join("tautan.marker").exists());
        assert!(!dir.path().join("begin-empty").exists());
    }
}

#[tokio::test]
async fn wrong_key_is_reported_when_the_store_is_opened() {
    let Embedded { dir, store, .. } = Embedded::fresh();
    store.close().await;
    let other = || MasterKey::from([8; 32]);
    let refused = open(Settings { key: other(), ..settings(dir.path()) });
    assert!(matches!(refused, Err(OpenError::WrongKey(_))));
    let refused = open(Settings { key: other(), previous: Some(other()), ..settings(dir.path()) });
    assert!(matches!(refused, Err(OpenError::WrongKey(_))));
    open(settings(dir.path())).expect("the right one opens it still");
}

#[tokio::test]
async fn previous_key_rewraps_all_rows_and_is_then_not_needed() {
    let store = Embedded::fresh();
    for name in ["a", "ab", "b"] {
        let lease = store.running(&tenant(name)).await;
        store.journal().append(&lease, connected()).await.unwrap();
        let put = |n: u32| Change::Put { table: "t", key: n.to_string().into(), value: format!("{name}{n}").into() };
        store.credentials().write(&lease, (0..50).map(put).collect()).await.unwrap();
    }
    let Embedded { dir, store, .. } = store;
    store.close().await;
    let new = || MasterKey::from([8; 32]);
    let both = Settings { key: new(), previous: Some(key()), ..settings(dir.path()) };
    open(both).unwrap().close().await;
    assert!(matches!(open(settings(dir.path())), Err(OpenError::WrongKey(_))), "the old key is worth nothing now");
    let store = Embedded::with(Settings { key: new(), ..settings(dir.path()) }, dir);
    for name in ["a", "ab", "b"] {
        assert_eq!(store.journal().latest(&tenant(name)).await.unwrap().unwrap().event.status, connected());
        assert!(store.commands().current(&tenant(name)).await.unwrap().is_some());
        assert_eq!(store.credentials().table(&tenant(name), "t").await.unwrap().len(), 50);
        let row = store.credentials().get(&tenant(name), "t", b"7").await.unwrap();
        assert_eq!(row, Some(Bytes::from(format!("{name}7"))));
    }
}

/// hardening: an attacker who can write the file but has no key replaces one row by another.
#[tokio::test]
async fn moved_or_changed_row_is_unreadable() {
    let store = Embedded::fresh();
    let lease = store.running(&tenant("a")).await;
    let put =
        |table, key: &'static str, value: &'static str| Change::Put { table, key: key.into(), value: value.into() };
    let rows = vec![put("t", "1", "one"), put("t", "2", "another"), put("u", "1", "one"), put("v", "1", "one")];
    store.credentials().write(&lease, rows).await.unwrap();
    let Embedded { dir, store, .. } = store;
    store.close().await;
    tamper(dir.path());
    let store = Embedded::at(dir);
    for (table, key) in [("t", "1"), ("u", "1")] {
        let row = store.credentials().get(&tenant("a"), table, key.as_bytes()).await;
        assert!(matches!(row, Err(StoreError::Unreadable)), "{table} {key}");
        assert!(matches!(store.credentials().table(&tenant("a"), table).await, Err(StoreError::Unreadable)));
    }
    assert!(
        matches!(store.credentials().table(&tenant("b"), "v").await, Err(StoreError::Unreadable)),
        "another tenant's"
    );
    assert_eq!(
        store.credentials().get(&tenant("a"), "t", b"2").await.unwrap(),
        Some("another".into()),
        "the others open"
    );
    assert!(store.credentials().holds(&tenant("a")).await.unwrap());
}

/// Puts the second row of `t` in the place of the first, changes a bit of `u`'s, and copies `v`'s to another tenant.
fn tamper(dir: &Path) {
    let database = Database::open(file(dir)).unwrap();
    let transaction = database.begin_write().unwrap();
    {
        let mut credentials = transaction.open_table(CREDENTIALS).unwrap();
        let rows = |credentials: &redb::Table<'_, (&'static str, &'static str, &'static [u8]), &'static [u8]>,
                    table: &str| {
            let all = credentials.iter().unwrap().map(|entry| {
                let (place, sealed) = entry.unwrap();
                let (_, table, name) = place.value();
                (table.to_owned(), name.to_vec(), sealed.value().to_vec())
            });
            let mut rows: Vec<_> = all.filter(|row| row.0 == table).map(|(_, name, sealed)| (name, sealed)).collect();
            // The names are hashes; only the length of an encrypted value can be seen.
            rows.sort_by_key(|(_, sealed)| sealed.len());
            rows
        };
        let [(first, _), (_, second)] = rows(&credentials, "t").try_into().unwrap();
        credentials.insert(("a", "t", first.as_slice()), second.as_slice()).unwrap();
        let [(name, mut sealed)] = rows(&credentials, "u").try_into().unwrap();
        *sealed.last_mut().unwrap() ^= 1;
        credentials.insert(("a", "u", name.as_slice()), sealed.as_slice()).unwrap();
        let [(name, sealed)] = rows(&credentials, "v").try_into().unwrap();
        credentials.insert(("b", "v", name.as_slice()), sealed.as_slice()).unwrap();
    }
    transaction.commit().unwrap();
}

/// A browser may hold an id from after the backup. The restored store counts on, so without a fresh epoch it would give
/// that id to another event, and the browser would receive nothing.
#[tokio::test]
async fn restored_backup_gives_no_event_id_twice() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(settings(dir.path())).unwrap();
    store.request(&tenant("a"), DesiredState::run(None)).await.unwrap();
    let lease = store.acquire(&tenant("a")).await.unwrap().unwrap();
    store.append(&lease, connected()).await.unwrap();
    store.close().await;
    let backup = fs::read(file(dir.path())).unwrap();
    let mut given = Vec::new();
    for round in 0..2 {
        fs::write(file(dir.path()), &backup).unwrap();
        let store = open(settings(dir.path())).unwrap();
        let lease = store.acquire(&tenant("a")).await.unwrap().unwrap();
        given.push(store.append(&lease, numbered(round)).await.unwrap().event.id());
        store.close().await;
    }
    assert_eq!(given[0].journal, given[1].journal);
    assert!(given[0].cursor.epoch < given[1].cursor.epoch, "{given:?}");
}

#[tokio::test]
async fn wiped_store_begins_another_journal() {
    let mut journals = Vec::new();
    for _ in 0..2 {
        let store = Embedded::fresh();
        store.running(&tenant("a")).await;
        journals.push(store.journal().latest(&tenant("a")).await.unwrap().unwrap().event.journal);
    }
    assert_ne!(journals[0], journals[1]);
}
