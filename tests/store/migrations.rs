//! A made-up earlier layout is migrated at a start, which is killed at any moment. This test binary starts itself to be killed.
//! In the made-up layout a tenant's desired state has another place, in Redis as in the file.

use std::{
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use redb::{ReadableTable as _, TableDefinition, WriteTransaction};
use tautan::{
    clock,
    events::{EndReason, Status},
    store::{
        Change, DesiredState, Migration,
        crypt::MasterKey,
        embedded::{self, CommitPoint, EmbeddedStore, MigrationStep, OpenError},
        redis::{RedisStore, Settings, Step, UnusableServer},
    },
};
use tautan_test_support::{Network, RedisServer, with_store};

use crate::{
    backend::{Backend, Embedded, Redis, instance, key, redis_settings, settings},
    redis::{keys, until, with_redis},
    statuses::{connected, ended, tenant},
};

const TENANTS: usize = 24;
/// What the child opens, and where it dies.
const STORE: &str = "MIGRATION_TEST_STORE";
const DIE_AT: &str = "MIGRATION_TEST_DIE_AT";
const WAIT: Duration = Duration::from_secs(3);

fn name(at: usize) -> String {
    format!("t{at}")
}

/// Linked tenants, every second one also with an end and a request that is not fulfilled.
async fn fill(store: &(impl Backend + Sync)) {
    for at in 0..TENANTS {
        let lease = store.running(&tenant(&name(at))).await;
        let row = Change::Put { table: "t", key: Bytes::from("row"), value: Bytes::from(name(at)) };
        store.credentials().write(&lease, vec![row]).await.unwrap();
        store.journal().append(&lease, connected()).await.unwrap();
        if at % 2 == 0 {
            store.ownership().release(lease).await.unwrap();
        } else {
            let (desired, _) = store.commands().current(lease.tenant()).await.unwrap().unwrap();
            store.journal().finish(lease, ended(EndReason::Banned), desired).await.unwrap();
        }
    }
}

/// Nothing is lost, and sessions run on it.
async fn is_filled(store: &(impl Backend + Sync)) {
    for at in 0..TENANTS {
        let tenant = tenant(&name(at));
        let row = store.credentials().get(&tenant, "t", b"row").await.unwrap();
        assert_eq!(row, Some(Bytes::from(name(at))), "{tenant}");
        let desired = store.commands().current(&tenant).await.unwrap();
        assert_eq!(desired.map(|(_, desired)| desired), (at % 2 == 0).then(|| DesiredState::run(None)), "{tenant}");
        let status: Status = store.journal().latest(&tenant).await.unwrap().unwrap().event.status.clone();
        assert_eq!(status, if at % 2 == 0 { connected() } else { ended(EndReason::Banned) }, "{tenant}");
    }
    let lease = store.ownership().acquire(&tenant(&name(0))).await.unwrap().expect("it is to run");
    store.journal().append(&lease, connected()).await.unwrap();
    store.ownership().release(lease).await.unwrap();
}

fn start(test: &str, store: &str, die_at: &str) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--ignored", "--nocapture"]).env(STORE, store).env(DIE_AT, die_at);
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// In layout 0 the desired state is in a string of its own, and an incarnation lives by another key.
const REDIS: &[Migration<Step>] = &[Migration {
    from: 0,
    to: 2,
    step: Step {
        incarnations: "tautan:instances",
        heartbeat: "tautan:beat:",
        tenants: "tautan:old:*",
        script: "local record = 'tautan:{0}:{' .. string.match(found, '^tautan:old:(.*)$') .. '}' \
                 local desired = redis.call('HGET', found, 'wish') \
                 if desired then redis.call('HSET', found, 'desired', desired) redis.call('HDEL', found, 'wish') end \
                 if redis.call('EXISTS', found) == 1 then redis.call('RENAME', found, record) end",
    },
}];

/// Turns what the store has written into what layout 0 would hold.
fn set_back(server: &RedisServer) {
    const SCRIPT: &str = "for _, record in ipairs(redis.call('KEYS', 'tautan:{0}:{*}')) do \
                            local found = 'tautan:old:' .. string.match(record, '{([^{}]*)}$') \
                            redis.call('RENAME', record, found) \
                            local desired = redis.call('HGET', found, 'desired') \
                            if desired then redis.call('HSET', found, 'wish', desired) redis.call('HDEL', found, 'desired') end \
                          end \
                          redis.call('HSET', 'tautan:proof', 'layout', '0') return redis.status_reply('OK')";
    server.does(&["EVAL", SCRIPT, "0"]);
}

fn migrating(url: &str) -> RedisStore {
    let settings = Settings { migrations: REDIS, ..redis_settings(url, key(), None) };
    RedisStore::open(settings, clock::system())
}

fn says(server: &RedisServer, field: &str) -> Option<String> {
    let answer = String::from_utf8(server.ask(&["HGET", "tautan:proof", field])).unwrap();
    (!answer.starts_with("$-1")).then(|| answer.lines().nth(1).unwrap_or_default().to_owned())
}

/// How many tenants still have the earlier layout.
fn left(server: &RedisServer) -> usize {
    String::from_utf8(server.ask(&["KEYS", "tautan:old:*"])).unwrap().matches("tautan:old:").count()
}

fn signal(child: &Child, name: &str) {
    let done = Command::new("kill").args([name, &child.id().to_string()]).status().unwrap();
    assert!(done.success());
}

/// A Redis in layout 0, and a slow way to it.
async fn set_back_redis(redis: Redis) -> (RedisServer, Network) {
    fill(&redis).await;
    let Redis { store, server, .. } = redis;
    store.close().await;
    set_back(&server);
    let network = Network::to(([127, 0, 0, 1], server.port).into()).await.unwrap();
    network.set_delay(Duration::from_millis(30));
    (server, network)
}

/// Another process that has begun to migrate, and has left so many tenants at most.
async fn begun(server: &RedisServer, network: &Network, kept: usize) -> Child {
    let url = format!("redis://{}/", network.address());
    let child = start("migrations::migrates_redis_until_it_is_killed", &url, "");
    let begun = async || (says(server, "migrating").is_some() && left(server) <= kept).then_some(());
    until("some are migrated", begun).await;
    child
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_is_migrated_wherever_the_start_is_killed() {
    with_redis(async |redis| {
        let (server, network) = set_back_redis(redis).await;
        assert_eq!(instance(&server).proven(WAIT).await, Err(UnusableServer::Earlier), "there is no step");
        for kept in [TENANTS, TENANTS / 2, 3] {
            let mut child = begun(&server, &network, kept).await;
            child.kill().unwrap();
            child.wait().unwrap();
            assert!((1..=kept).contains(&left(&server)));
            assert_eq!((says(&server, "layout"), says(&server, "migrating")), (Some("2".into()), Some("0".into())));
            assert_eq!(instance(&server).proven(WAIT).await, Err(UnusableServer::Earlier), "half of it is missing");
            // The lock of the process that was killed expires in half a minute.
            assert!(server.ask(&["DEL", "tautan:migration"]).starts_with(b":1"));
        }
        let (one, other) = (migrating(&server.url()), migrating(&server.url()));
        let proven = tokio::join!(one.proven(WAIT), other.proven(WAIT));
        assert_eq!(proven, (Ok(true), Ok(true)), "one migrates, and the other waits");
        assert_eq!((left(&server), says(&server, "layout"), says(&server, "migrating")), (0, Some("2".into()), None));
        assert!(!keys(&server).contains(&"tautan:migration".to_owned()));
        one.close().await;
        other.close().await;
        is_filled(&Redis::on(server)).await;
    })
    .await;
}

#[tokio::test]
#[ignore = "started by a test, to be killed"]
async fn migrates_redis_until_it_is_killed() {
    let wait = Duration::from_secs(20);
    assert_eq!(migrating(&std::env::var(STORE).unwrap()).proven(wait).await, Ok(true));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frozen_migration_changes_nothing_after_another_one() {
    with_redis(async |redis| {
        let (server, network) = set_back_redis(redis).await;
        let mut child = begun(&server, &network, TENANTS - 1).await;
        signal(&child, "-STOP");
        server.ask(&["DEL", "tautan:migration"]);
        let other = migrating(&server.url());
        assert_eq!(other.proven(WAIT).await, Ok(true));
        // What the frozen one would take for tenants of the earlier layout.
        for at in 0..TENANTS {
            server.ask(&["HSET", &format!("tautan:old:{}", name(at)), "wish", "nonsense"]);
        }
        signal(&child, "-CONT");
        assert!(child.wait().unwrap().success(), "it finds the layout that it wanted");
        assert_eq!(left(&server), TENANTS, "it has migrated nothing more");
        other.close().await;
        is_filled(&Redis::on(server)).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_on_which_earlier_instances_run_is_not_migrated() {
    with_redis(async |redis| {
        let (server, _network) = set_back_redis(redis).await;
        let is_untouched = || {
            assert_eq!(
                (left(&server), says(&server, "layout"), says(&server, "migrating")),
                (TENANTS, Some("0".into()), None)
            );
        };
        let looks = Settings { migrations: REDIS, migrates: false, ..redis_settings(&server.url(), key(), None) };
        let looks = RedisStore::open(looks, clock::system());
        assert_eq!(looks.proven(WAIT).await, Err(UnusableServer::Unmigrated), "`tautan check` changes nothing");
        let foreign = Settings { migrations: REDIS, ..redis_settings(&server.url(), MasterKey::from([9; 32]), None) };
        let foreign = RedisStore::open(foreign, clock::system());
        assert_eq!(foreign.proven(WAIT).await, Err(UnusableServer::WrongKey));
        is_untouched();

        server.ask(&["SADD", "tautan:instances", "earlier"]);
        server.does(&["SET", "tautan:beat:earlier", "1"]);
        assert_eq!(migrating(&server.url()).proven(WAIT).await, Err(UnusableServer::EarlierRuns));
        is_untouched();

        // One that has looked at the layout just before the number was changed, and then begins to live.
        server.ask(&["DEL", "tautan:beat:earlier"]);
        let late = migrating(&server.url());
        let (proven, ()) = tokio::join!(late.proven(WAIT), async {
            until("it has begun", async || says(&server, "migrating")).await;
            server.does(&["SET", "tautan:beat:earlier", "1"]);
        });
        assert_eq!(proven, Err(UnusableServer::EarlierRuns));
        is_untouched();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tenant_that_cannot_be_migrated_refuses_the_start() {
    with_redis(async |redis| {
        let (server, _network) = set_back_redis(redis).await;
        server.does(&["SET", "tautan:old:broken", "no hash"]);
        let refused = migrating(&server.url());
        assert_eq!(refused.proven(WAIT).await, Err(UnusableServer::Unmigratable));
        refused.close().await;
        server.ask(&["DEL", "tautan:old:broken"]);
        let store = migrating(&server.url());
        assert_eq!(store.proven(WAIT).await, Ok(true));
        store.close().await;
        is_filled(&Redis::on(server)).await;
    })
    .await;
}

const DESIRED_STATES: TableDefinition<&str, &[u8]> = TableDefinition::new("wishes");
/// Where layout 0 keeps them.
const OLD_DESIRED_STATES: TableDefinition<&str, &[u8]> = TableDefinition::new("old-wishes");
const META: TableDefinition<&str, &[u8]> = TableDefinition::new("meta");

const FILE: &[Migration<MigrationStep>] =
    &[Migration { from: 0, to: 1, step: |transaction, _| rename(transaction, OLD_DESIRED_STATES, DESIRED_STATES) }];

type Rows = TableDefinition<'static, &'static str, &'static [u8]>;

fn rename(transaction: &WriteTransaction, from: Rows, to: Rows) -> Result<(), redb::Error> {
    let mut into = transaction.open_table(to)?;
    for row in transaction.open_table(from)?.iter()? {
        let (tenant, sealed) = row?;
        into.insert(tenant.value(), sealed.value())?;
    }
    transaction.delete_table(from)?;
    Ok(())
}

fn set_back_file(dir: &Path) {
    with_store(dir, |file| {
        let transaction = file.begin_write().unwrap();
        rename(&transaction, DESIRED_STATES, OLD_DESIRED_STATES).unwrap();
        transaction.open_table(META).unwrap().insert("format", 0_u64.to_le_bytes().as_slice()).unwrap();
        transaction.commit().unwrap();
    });
}

fn format(dir: &Path) -> Vec<u8> {
    use redb::ReadableDatabase as _;
    with_store(dir, |file| {
        let meta = file.begin_read().unwrap().open_table(META).unwrap();
        meta.get("format").unwrap().unwrap().value().to_vec()
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn file_is_migrated_wherever_the_start_is_killed() {
    for (point, migrated) in [(CommitPoint::Before, 0_u64), (CommitPoint::After, 1)] {
        let store = Embedded::fresh();
        fill(&store).await;
        let dir = store.ends().await;
        set_back_file(dir.path());
        let refused = EmbeddedStore::open(settings(dir.path()), clock::system()).err();
        assert!(matches!(refused, Some(OpenError::Earlier { format: 0, .. })), "there is no step: {refused:?}");
        let path = dir.path().to_str().unwrap();
        let child = start("migrations::migrates_the_file_and_dies", path, &format!("{point:?}")).wait().unwrap();
        assert!(!child.success());
        assert_eq!(format(dir.path()), migrated.to_le_bytes());
        // With a new key at once: the step reads with the one before.
        let (key, previous) = (MasterKey::from([8; 32]), Some(key()));
        let settings = embedded::Settings { key, previous, migrations: FILE, ..settings(dir.path()) };
        is_filled(&Embedded::with(settings, dir)).await;
    }
}

#[tokio::test]
#[ignore = "started by a test, to be killed"]
async fn migrates_the_file_and_dies() {
    let (dir, die_at) = (std::env::var(STORE).unwrap(), std::env::var(DIE_AT).unwrap());
    let on_commit = move |point| {
        if format!("{point:?}") == die_at {
            std::process::abort();
        }
    };
    let settings =
        embedded::Settings { migrations: FILE, on_commit: Some(Arc::new(on_commit)), ..settings(Path::new(&dir)) };
    EmbeddedStore::open(settings, clock::system()).unwrap().close().await;
}
