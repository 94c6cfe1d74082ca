//! Rows that a later version of this program wrote: an upgrade runs beside this version, and may be rolled back.

use redb::TableDefinition;
use serde_json::{Value, json};
use tautan::{
    events::{EndReason, VOCABULARY},
    store::{
        DesiredState,
        crypt::{MasterKey, RowLocation, TenantKeys},
        embedded::{EmbeddedStore, OpenError, Settings},
        redis::UnusableServer,
    },
    tenant::TenantId,
};
use tautan_test_support::{RedisServer, with_store};

use crate::{
    backend::{Backend, Embedded, delivered, in_time, instance, key, next_entry, settings},
    redis::with_redis,
    statuses::{Received, connected, ended, next, resuming, starting, tenant},
};

const WORD: &str = "eaten-by-a-whale";

fn sealed(keys: &TenantKeys, table: &str, row: &[u8], value: &Value) -> Vec<u8> {
    keys.seal(RowLocation { table, row }, value.to_string().as_bytes())
}

/// A tenant whose session ended, and one that is to be linked and has been before.
async fn before_the_upgrade(store: &(impl Backend + Sync)) {
    let lease = store.running(&tenant("ended")).await;
    let (number, _) = store.commands().current(&tenant("ended")).await.unwrap().unwrap();
    store.journal().finish(lease, ended(EndReason::QrExpired), number).await.unwrap();
    let lease = store.running(&tenant("linked")).await;
    store.journal().append(&lease, connected()).await.unwrap();
    store.ownership().release(lease).await.unwrap();
}

/// "ended" ended with an unknown reason, "linked" has an unknown desired state.
async fn after_the_rollback(store: &(impl Backend + Sync)) {
    let latest = store.journal().latest(&tenant("ended")).await.unwrap().unwrap();
    assert_eq!(latest.event.status, ended(EndReason::Internal), "the general case");
    let lease = store.running(&tenant("ended")).await;
    assert_eq!(store.journal().latest(&tenant("ended")).await.unwrap().unwrap().event.status, starting());
    store.ownership().release(lease).await.unwrap();

    let desired = store.commands().current(&tenant("linked")).await.unwrap().unwrap().1;
    assert_eq!(desired, DesiredState::Unknown(json!({"Dance": {"steps": 3}})));
    assert!(store.ownership().acquire(&tenant("linked")).await.unwrap().is_none(), "left to the version that knows it");
    assert_eq!(store.commands().current(&tenant("linked")).await.unwrap().unwrap().1, desired, "and not dropped");
    store.commands().request(&tenant("linked"), DesiredState::Unlink).await.unwrap();
    let lease = store.ownership().acquire(&tenant("linked")).await.unwrap().expect("the user asked anew");
    assert_eq!(store.journal().latest(&tenant("linked")).await.unwrap().unwrap().event.status, resuming());
    store.ownership().release(lease).await.unwrap();
}

fn event_with_unknown_word(event: &impl serde::Serialize) -> Value {
    let mut event = serde_json::to_value(event).unwrap();
    event["status"]["reason"] = WORD.into();
    event["status"]["whale"] = json!({"length": 30});
    event
}

async fn unknown_event(store: &(impl Backend + Sync)) -> (String, Value) {
    let latest = store.journal().latest(&tenant("ended")).await.unwrap().unwrap().event;
    let id = format!("{}-{}", latest.cursor.epoch, latest.cursor.sequence);
    (id, event_with_unknown_word(&*latest))
}

/// Bytes as a string of a script.
pub fn quoted(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("\\{byte:03}")).collect()
}

fn keep_in_redis(server: &RedisServer, tenant: &TenantId, id: &str, event: &[u8]) {
    let history = format!("tautan:{{0}}:{{{tenant}}}:history");
    let script = format!(
        "redis.call('DEL', '{history}') redis.call('XADD', '{history}', '{id}', 'event', '{}', 'coded', '0')",
        quoted(event)
    );
    assert!(!server.ask(&["EVAL", &script, "0"]).starts_with(b"-"));
}

fn want_in_redis(server: &RedisServer, tenant: &TenantId, desired: &[u8]) {
    let script = format!("redis.call('HSET', 'tautan:{{0}}:{{{tenant}}}', 'desired', '{}')", quoted(desired));
    assert!(!server.ask(&["EVAL", &script, "0"]).starts_with(b"-"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unknown_states_in_redis_lock_no_tenant_out() {
    with_redis(async |redis| {
        before_the_upgrade(&redis).await;
        let keys = |name: &str| TenantKeys::new(&key(), &tenant(name));
        let (id, event) = unknown_event(&redis).await;
        keep_in_redis(&redis.server, &tenant("ended"), &id, &sealed(&keys("ended"), "event", id.as_bytes(), &event));
        let (number, _) = redis.commands().current(&tenant("linked")).await.unwrap().unwrap();
        let desired = sealed(&keys("linked"), "desired", &number.0.to_be_bytes(), &json!({"Dance": {"steps": 3}}));
        want_in_redis(&redis.server, &tenant("linked"), &desired);
        after_the_rollback(&redis).await;
    })
    .await;
}

/// Damage, or a key that this instance does not have: an unlink must still end it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_do_not_open_in_redis_can_be_unlinked() {
    with_redis(async |redis| {
        before_the_upgrade(&redis).await;
        let foreign = TenantKeys::new(&MasterKey::from([9; 32]), &tenant("linked"));
        let latest = redis.journal().latest(&tenant("linked")).await.unwrap().unwrap().event;
        let id = format!("{}-{}", latest.cursor.epoch, latest.cursor.sequence);
        let event = sealed(&foreign, "event", id.as_bytes(), &serde_json::to_value(&*latest).unwrap());
        keep_in_redis(&redis.server, &tenant("linked"), &id, &event);
        want_in_redis(&redis.server, &tenant("linked"), b"no desired state");

        let present = redis.journal().present(&tenant("linked")).await.unwrap().unwrap();
        assert!(present.stale, "it says what is not known: {present:?}");
        assert!(redis.ownership().acquire(&tenant("linked")).await.unwrap().is_none());
        redis.commands().request(&tenant("linked"), DesiredState::Unlink).await.unwrap();
        let lease = redis.ownership().acquire(&tenant("linked")).await.unwrap().expect("the user asked anew");
        let (number, _) = redis.commands().current(&tenant("linked")).await.unwrap().unwrap();
        let over = redis.journal().finish(lease, ended(EndReason::UnlinkedByUser), number).await.unwrap();
        assert_ne!(over.journal, latest.journal, "ids of an event that was not read are not gone on with");
        assert_eq!(redis.journal().latest(&tenant("linked")).await.unwrap().unwrap().event, over);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_layout_in_redis_refuses_the_start() {
    with_redis(async |redis| {
        let field = |name: &str| String::from_utf8(redis.server.ask(&["HGET", "tautan:proof", name])).unwrap();
        redis.store.sweep().await.unwrap();
        let says = |name: &str, number: u64| field(name).contains(&format!("\r\n{number}\r\n"));
        assert!(says("layout", 2) && says("vocabulary", VOCABULARY));
        let later = VOCABULARY + 1;
        redis.server.ask(&["HSET", "tautan:proof", "vocabulary", &later.to_string()]);
        let wait = std::time::Duration::from_secs(3);
        assert_eq!(instance(&redis.server).proven(wait).await, Ok(true), "new words are no reason");
        assert!(says("vocabulary", later), "it never falls");
        redis.server.ask(&["HSET", "tautan:proof", "layout", "3"]);
        assert_eq!(instance(&redis.server).proven(wait).await, Err(UnusableServer::Later));
        // Read as ours it would be empty, beside instances that still own what is in it.
        redis.server.ask(&["HSET", "tautan:proof", "layout", "1"]);
        assert_eq!(instance(&redis.server).proven(wait).await, Err(UnusableServer::Earlier));
        redis.server.ask(&["HDEL", "tautan:proof", "layout"]);
        assert_eq!(instance(&redis.server).proven(wait).await, Err(UnusableServer::Earlier));
    })
    .await;
}

const JOURNAL: TableDefinition<&str, &[u8]> = TableDefinition::new("journal");
const DESIRED_STATES: TableDefinition<&str, &[u8]> = TableDefinition::new("wishes");
const META: TableDefinition<&str, &[u8]> = TableDefinition::new("meta");

fn put(dir: &tempfile::TempDir, table: TableDefinition<&'static str, &'static [u8]>, row: &str, value: &[u8]) {
    with_store(dir.path(), |file| {
        let transaction = file.begin_write().unwrap();
        transaction.open_table(table).unwrap().insert(row, value).unwrap();
        transaction.commit().unwrap();
    });
}

/// A row as the file has it.
fn row(dir: &tempfile::TempDir, table: TableDefinition<'static, &str, &[u8]>, name: &str) -> Option<Vec<u8>> {
    with_store(dir.path(), |file| {
        use redb::ReadableDatabase as _;
        let table = file.begin_read().unwrap().open_table(table).unwrap();
        table.get(name).unwrap().map(|row| row.value().to_vec())
    })
}

/// The tenant's newest event, as the file has it.
fn kept_event(dir: &tempfile::TempDir, key: &MasterKey, name: &str) -> Value {
    let sealed = row(dir, JOURNAL, name).unwrap();
    let plain = TenantKeys::new(key, &tenant(name)).open(RowLocation { table: "journal", row: b"" }, &sealed).unwrap();
    serde_json::from_slice(&plain).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unknown_states_in_the_file_lock_no_tenant_out_and_stay() {
    in_time(unknown_words_in_the_file()).await;
}

async fn unknown_words_in_the_file() {
    let store = Embedded::fresh();
    store.outbox();
    before_the_upgrade(&store).await;
    let (_, event) = unknown_event(&store).await;
    let Embedded { dir, store, .. } = store;
    store.close().await;
    drop(store);
    let mut kept = kept_event(&dir, &key(), "ended");
    assert_ne!(kept["untold"], Value::Null, "its webhook is not delivered yet");
    kept["event"] = event;
    let keys = |name: &str| TenantKeys::new(&key(), &tenant(name));
    put(&dir, JOURNAL, "ended", &sealed(&keys("ended"), "journal", b"", &kept));
    let desired = json!({"number": 7, "unsettled": {"Dance": {"steps": 3}}});
    put(&dir, DESIRED_STATES, "linked", &sealed(&keys("linked"), "wish", b"", &desired));

    // The webhook is delivered, and the key is changed: each writes the row again.
    let store = Embedded::at(dir);
    let outbox = store.outbox();
    loop {
        let entry = next_entry(&*outbox).await;
        delivered(&*outbox, &entry).await;
        if entry.tenant == tenant("ended") {
            break;
        }
    }
    let Embedded { dir, store, .. } = store;
    drop(outbox);
    store.close().await;
    drop(store);
    let settled = kept_event(&dir, &key(), "ended");
    assert_eq!(settled["untold"], Value::Null);
    assert_eq!(
        (&settled["event"]["status"]["reason"], &settled["event"]["status"]["whale"]["length"]),
        (&json!(WORD), &json!(30))
    );
    let (old, new) = (key(), MasterKey::from([8; 32]));
    let rotated = Settings { key: new.clone(), previous: Some(old), ..settings(dir.path()) };
    let store = Embedded::with(rotated, dir);
    let Embedded { dir, store, .. } = store;
    store.close().await;
    drop(store);
    assert_eq!(kept_event(&dir, &new, "ended")["event"], settled["event"]);

    after_the_rollback(&Embedded::with(Settings { key: new, ..settings(dir.path()) }, dir)).await;
}

const FOREIGN: &[u8] = b"of another key";

async fn shows_unreadable(store: &Embedded, name: &str) {
    let shown = store.journal().latest(&tenant(name)).await.unwrap().unwrap();
    assert_eq!((&shown.event.status, shown.stale), (&ended(EndReason::CredentialsUnreadable), false));
    let mut reader = store.journal().subscribe(&tenant(name), None).await;
    assert_eq!(next(&mut reader).await, Some(Received::Fresh(ended(EndReason::CredentialsUnreadable))));
    assert!(store.ownership().acquire(&tenant(name)).await.unwrap().is_none());
    assert!(!store.ownership().orphaned(10).await.unwrap().contains(&tenant(name)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unread_desired_state_in_the_file_waits_and_is_shown() {
    let store = Embedded::fresh();
    before_the_upgrade(&store).await;
    let dir = store.ends().await;
    let ours = row(&dir, DESIRED_STATES, "linked").unwrap();
    put(&dir, DESIRED_STATES, "linked", FOREIGN);
    let store = Embedded::at(dir);
    shows_unreadable(&store, "linked").await;
    let dir = store.ends().await;
    assert_eq!(row(&dir, DESIRED_STATES, "linked").as_deref(), Some(FOREIGN), "nothing is settled");

    // The version that can read it is back.
    put(&dir, DESIRED_STATES, "linked", &ours);
    let store = Embedded::at(dir);
    let lease = store.ownership().acquire(&tenant("linked")).await.unwrap().expect("it resumes by itself");
    assert_eq!(store.journal().latest(&tenant("linked")).await.unwrap().unwrap().event.status, resuming());
    store.ownership().release(lease).await.unwrap();

    // Gone for good: an unlink makes room.
    let dir = store.ends().await;
    put(&dir, DESIRED_STATES, "linked", FOREIGN);
    let store = Embedded::at(dir);
    shows_unreadable(&store, "linked").await;
    let number = store.commands().request(&tenant("linked"), DesiredState::Unlink).await.unwrap();
    let lease = store.ownership().acquire(&tenant("linked")).await.unwrap().expect("the user asked anew");
    store.journal().finish(lease, ended(EndReason::UnlinkedByUser), number).await.unwrap();
    let store = Embedded::at(store.ends().await);
    let latest = store.journal().latest(&tenant("linked")).await.unwrap().unwrap();
    assert_eq!(latest.event.status, ended(EndReason::UnlinkedByUser));
    assert_eq!(store.commands().current(&tenant("linked")).await.unwrap(), None);
}

/// A later version would otherwise start the session that the user has cancelled.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unread_rows_of_an_ended_tenant_go_with_an_unlink() {
    for unread in [&[JOURNAL][..], &[JOURNAL, DESIRED_STATES]] {
        let store = Embedded::fresh();
        before_the_upgrade(&store).await;
        let dir = store.ends().await;
        unread.iter().for_each(|table| put(&dir, *table, "ended", FOREIGN));
        let store = Embedded::at(dir);
        shows_unreadable(&store, "ended").await;
        store.commands().request(&tenant("ended"), DesiredState::Unlink).await.unwrap();
        assert!(store.journal().latest(&tenant("ended")).await.unwrap().is_none());
        let dir = store.ends().await;
        assert_eq!((row(&dir, JOURNAL, "ended"), row(&dir, DESIRED_STATES, "ended")), (None, None));
    }
}

/// The back end may not know of the event yet.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unlink_replaces_an_unread_request_and_keeps_the_last_event() {
    let store = Embedded::fresh();
    before_the_upgrade(&store).await;
    let last = store.journal().latest(&tenant("ended")).await.unwrap().unwrap().event;
    let dir = store.ends().await;
    put(&dir, DESIRED_STATES, "ended", FOREIGN);
    let store = Embedded::at(dir);
    shows_unreadable(&store, "ended").await;
    store.commands().request(&tenant("ended"), DesiredState::Unlink).await.unwrap();
    assert_eq!(store.journal().latest(&tenant("ended")).await.unwrap().unwrap().event.status, last.status);
    let dir = store.ends().await;
    assert_ne!(row(&dir, DESIRED_STATES, "ended").as_deref(), Some(FOREIGN));
    let store = Embedded::at(dir);
    assert_eq!(store.commands().current(&tenant("ended")).await.unwrap(), None);
    assert_eq!(store.journal().latest(&tenant("ended")).await.unwrap().unwrap().event.status, last.status);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unread_event_in_the_file_does_not_stop_a_session() {
    let store = Embedded::fresh();
    before_the_upgrade(&store).await;
    let before = store.journal().latest(&tenant("linked")).await.unwrap().unwrap().event;
    let dir = store.ends().await;
    put(&dir, JOURNAL, "linked", FOREIGN);
    let store = Embedded::at(dir);
    let lease = store.ownership().acquire(&tenant("linked")).await.unwrap().expect("its desired state can be read");
    let begun = store.journal().latest(&tenant("linked")).await.unwrap().unwrap();
    assert_eq!((&begun.event.status, begun.stale), (&starting(), false));
    assert_ne!(begun.event.journal, before.journal, "ids of an event that was not read are not gone on with");
    store.journal().append(&lease, connected()).await.unwrap();
    let store = Embedded::at(store.ends().await);
    assert_eq!(store.journal().latest(&tenant("linked")).await.unwrap().unwrap().event.status, connected());
}

#[tokio::test]
async fn later_format_of_the_file_refuses_the_start() {
    let Embedded { dir, store, .. } = Embedded::fresh();
    store.close().await;
    drop(store);
    put(&dir, META, "format", &2_u64.to_le_bytes());
    let clock = std::sync::Arc::new(crate::backend::Ticking::default());
    let refused = EmbeddedStore::open(settings(dir.path()), clock).err();
    assert!(matches!(refused, Some(OpenError::Later { format: 2, .. })), "{refused:?}");
}
