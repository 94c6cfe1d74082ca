//! Nothing of an erased tenant stands anywhere, in clear or encrypted.

use std::{
    collections::{BTreeSet, HashSet},
    fs,
    time::Duration,
};

use redb::{ReadableDatabase as _, ReadableTable as _, TableDefinition};
use tautan::{
    events::{EndReason, PhoneNumber},
    store::{Change, DesiredState, Lease, embedded::rewrite},
    tenant::TenantId,
};
use tautan_test_support::{CREDENTIALS, RedisServer, with_store};

use crate::{
    backend::{Backend, Embedded},
    redis::{keys, until, with_redis},
    statuses::{connected, ended, phone, qr, tenant},
};

const JOURNAL: TableDefinition<&str, &[u8]> = TableDefinition::new("journal");
const DESIRED_STATES: TableDefinition<&str, &[u8]> = TableDefinition::new("wishes");
const ROWS: usize = 200;

/// Longer than what could stand anywhere by chance, and with every kind of character that a name may have.
const NAMES: [&str; 4] =
    ["tenant-to-be-erased", "auth0|erased}:history", "{/}*erased%2F..", "\\\"'<>&?#[]^`~!$(),;erased"];

/// Leaves a trace wherever a tenant can leave one.
async fn lives(store: &(impl Backend + Sync), tenant: &TenantId) -> Lease {
    store.commands().request(tenant, DesiredState::run(Some(phone()))).await.unwrap();
    let lease = store.ownership().acquire(tenant).await.unwrap().unwrap();
    for number in 1..=40 {
        store.journal().append(&lease, qr(number)).await.unwrap();
    }
    store.journal().append(&lease, connected()).await.unwrap();
    let put = |number: usize| Change::Put {
        table: if number.is_multiple_of(2) { "sessions" } else { "keys" },
        key: format!("key {number}").into(),
        value: vec![7; 300].into(),
    };
    store.credentials().write(&lease, (0..ROWS).map(put).collect()).await.unwrap();
    store.commands().send(tenant, "words".into()).await.unwrap();
    store.ownership().crashed(&lease, Duration::from_secs(600)).await.unwrap();
    // Another number for each tenant.
    let number = PhoneNumber::parse(&format!("62812345{:04}", tenant.as_str().len())).unwrap();
    assert!(store.commands().count_code(&number).await.unwrap());
    lease
}

async fn is_erased(store: &(impl Backend + Sync), lease: Lease) {
    let tenant = lease.tenant().clone();
    assert!(!store.erase_tenant(&tenant).await, "its session runs");
    store.commands().request(&tenant, DesiredState::Unlink).await.unwrap();
    let (desired, _) = store.commands().current(&tenant).await.unwrap().unwrap();
    store.credentials().erase(&lease).await.unwrap();
    store.journal().finish(lease, ended(EndReason::UnlinkedByUser), desired).await.unwrap();
    assert!(store.erase_tenant(&tenant).await);
    assert!(store.erase_tenant(&tenant).await, "done twice it is done once");
}

/// Each key with what it holds.
fn everything(server: &RedisServer) -> Vec<(String, Vec<u8>)> {
    let ask = |key: &str| {
        let kind = String::from_utf8(server.ask(&["TYPE", key])).unwrap();
        let command: &[&str] = match kind.lines().next().unwrap() {
            "+string" => &["GET", key],
            "+hash" => &["HGETALL", key],
            "+list" => &["LRANGE", key, "0", "-1"],
            "+set" => &["SMEMBERS", key],
            "+zset" => &["ZRANGE", key, "0", "-1"],
            "+stream" => &["XRANGE", key, "-", "+"],
            "+none" => return Vec::new(),
            other => panic!("{key} is {other}"),
        };
        server.ask(command)
    };
    keys(server).into_iter().map(|key| (key.clone(), ask(&key))).collect()
}

fn traces(server: &RedisServer, tenant: &TenantId) -> Vec<String> {
    let holds = |text: &[u8], part: &str| text.windows(part.len()).any(|window| window == part.as_bytes());
    let names = [tenant.as_str().to_owned(), tenant.to_string()];
    let found = everything(server)
        .into_iter()
        .filter(|(key, value)| names.iter().any(|name| holds(key.as_bytes(), name) || holds(value, name)));
    found.map(|(key, _)| key).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn erased_tenant_stands_nowhere_in_redis() {
    with_redis(async |redis| {
        let _outbox = redis.outbox();
        let neighbour = tenant("tenant-to-be-erased-not");
        let _neighbour = lives(&redis, &neighbour).await;
        for name in NAMES {
            let tenant = tenant(name);
            let lease = lives(&redis, &tenant).await;
            let traces_of = || traces(&redis.server, &tenant).into_iter().filter(|key| !key.contains("erased-not}"));
            assert!(traces_of().count() > 8, "the search works: {:?}", traces_of().collect::<Vec<_>>());
            is_erased(&redis, lease).await;
            // An index that is written after a record is cleared by the next look at it.
            until("nothing is left", async || {
                redis.ownership().orphaned(10).await.unwrap();
                let left: Vec<_> = traces_of().filter(|key| key != "tautan:{0}:incarnations").collect();
                left.iter().all(|key| name == NAMES[0] && is_of_neighbour(&redis.server, key)).then_some(())
            })
            .await;
        }
        let left = keys(&redis.server);
        for suffix in ["", ":history", ":tables", ":rows:keys", ":rows:sessions", ":crashes", ":used-dials"] {
            let key = format!("tautan:{{0}}:{{{neighbour}}}{suffix}");
            assert!(left.contains(&key), "another tenant keeps {key}");
        }
    })
    .await;
}

/// The first name is the beginning of the neighbour's.
fn is_of_neighbour(server: &RedisServer, key: &str) -> bool {
    let all = everything(server).into_iter().filter(|(found, _)| found == key).map(|(_, value)| value);
    let text =
        all.map(|value| String::from_utf8_lossy(&value).replace("tenant-to-be-erased-not", "")).collect::<String>();
    !text.contains(NAMES[0])
}

/// What the file holds of a tenant, as it stands there.
fn sealed(dir: &std::path::Path, name: &str) -> BTreeSet<Vec<u8>> {
    with_store(dir, |database| {
        let transaction = database.begin_read().unwrap();
        let mut found = BTreeSet::new();
        for table in [JOURNAL, DESIRED_STATES] {
            let row = transaction.open_table(table).unwrap().get(name).unwrap();
            found.extend(row.map(|row| row.value().to_vec()));
        }
        for row in transaction.open_table(CREDENTIALS).unwrap().iter().unwrap() {
            let (place, value) = row.unwrap();
            if place.value().0 == name {
                found.extend([place.value().2.to_vec(), value.value().to_vec()]);
            }
        }
        found
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn erased_tenant_stands_nowhere_in_the_file() {
    for name in NAMES {
        let store = Embedded::fresh();
        let neighbour = tenant("neighbour");
        lives(&store, &neighbour).await;
        let lease = lives(&store, &tenant(name)).await;
        store.ownership().release(lease).await.unwrap();
        let dir = store.ends().await;
        let rows = sealed(dir.path(), name);
        assert!(rows.len() > ROWS, "{}", rows.len());
        let neighbours = sealed(dir.path(), "neighbour");

        let store = Embedded::at(dir);
        let lease = store.ownership().acquire(&tenant(name)).await.unwrap().unwrap();
        is_erased(&store, lease).await;
        let dir = store.ends().await;
        let path = dir.path().join("tautan.redb");
        let stands = |part: &[u8]| fs::read(&path).unwrap().windows(part.len()).any(|window| window == part);
        assert!(stands(name.as_bytes()), "a page that is free keeps it");
        rewrite(dir.path()).unwrap();
        assert!(!stands(name.as_bytes()), "{name}");
        let beginnings: HashSet<&[u8]> = rows.iter().map(|row| &row[..16]).collect();
        let file = fs::read(&path).unwrap();
        assert!(!file.windows(16).any(|window| beginnings.contains(window)), "a row of {name}");
        assert_eq!(sealed(dir.path(), "neighbour"), neighbours);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2, "the store and its marker");

        let store = Embedded::at(dir);
        assert!(store.journal().latest(&tenant(name)).await.unwrap().is_none());
        assert_eq!(store.credentials().table(&neighbour, "sessions").await.unwrap().len(), ROWS / 2);
        assert!(store.ownership().acquire(&neighbour).await.unwrap().is_some());
    }
}
