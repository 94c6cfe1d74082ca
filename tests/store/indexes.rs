//! An index changes in the step that changes the record, and no read changes it.

use tautan::{
    events::EndReason,
    store::{DesiredState, StoreError},
};
use tautan_test_support::RedisServer;

use crate::{
    backend::{Backend as _, instance},
    redis::{keys, until, with_redis},
    statuses::{ended, tenant},
};

const RUN: DesiredState = DesiredState::run(None);
pub const ALIVE: &str = "tautan:{0}:alive:";

fn text(answer: &[u8]) -> String {
    String::from_utf8_lossy(answer).into_owned()
}

/// The answer's one string.
fn string(answer: &[u8]) -> Option<String> {
    text(answer).lines().nth(1).filter(|line| !line.starts_with('+')).map(str::to_owned)
}

pub fn owner(server: &RedisServer, name: &str) -> Option<String> {
    string(&server.ask(&["HGET", &format!("tautan:{{0}}:{{{name}}}"), "owner_incarnation"]))
}

fn members(server: &RedisServer, key: &str) -> Vec<String> {
    text(&server.ask(&["SMEMBERS", key]))
        .lines()
        .filter(|line| !line.starts_with(['*', '$', '+']))
        .map(str::to_owned)
        .collect()
}

/// The index names a tenant whose record does not exist yet, as between two commands.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn read_of_orphaned_tenants_changes_no_index() {
    with_redis(async |redis| {
        redis.server.ask(&["SADD", "tautan:{0}:wanted", "coming"]);
        redis.ownership().orphaned(10).await.unwrap();
        assert_eq!(members(&redis.server, "tautan:{0}:wanted"), ["coming"]);
        assert!(redis.ownership().acquire(&tenant("coming")).await.unwrap().is_none(), "the record decides");
    })
    .await;
}

/// Each change of a tenant, with the indexes that it leaves.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn indexes_name_a_tenant_as_its_record_is() {
    with_redis(async |redis| {
        let (name, other) = (tenant("a"), instance(&redis.server).stores());
        let wanted = || members(&redis.server, "tautan:{0}:wanted");
        let owned = |incarnation: &str| members(&redis.server, &format!("tautan:{{0}}:owned:{incarnation}"));
        redis.commands().request(&name, RUN).await.unwrap();
        assert_eq!(wanted(), ["a"]);
        let lease = redis.ownership().acquire(&name).await.unwrap().unwrap();
        let first = owner(&redis.server, "a").unwrap();
        assert_eq!((wanted(), owned(&first)), (vec![], vec!["a".to_owned()]));
        redis.ownership().release(lease).await.unwrap();
        assert_eq!((wanted(), owned(&first)), (vec!["a".to_owned()], vec![]));
        let lease = other.ownership.acquire(&name).await.unwrap().unwrap();
        let second = owner(&redis.server, "a").unwrap();
        assert_eq!((wanted(), owned(&second)), (vec![], vec!["a".to_owned()]));
        let (old, _) = other.commands.current(&name).await.unwrap().unwrap();
        redis.commands().request(&name, RUN).await.unwrap();
        assert_eq!(wanted(), Vec::<String>::new(), "its owner was notified");
        other.journal.finish(lease, ended(EndReason::Cancelled), old).await.unwrap();
        assert_eq!((wanted(), owned(&second)), (vec!["a".to_owned()], vec![]), "the newer request stands");
        redis.commands().request(&name, DesiredState::Unlink).await.unwrap();
        let lease = redis.ownership().acquire(&name).await.unwrap().unwrap();
        let (unlink, _) = redis.commands().current(&name).await.unwrap().unwrap();
        redis.journal().finish(lease, ended(EndReason::UnlinkedByUser), unlink).await.unwrap();
        assert_eq!((wanted(), owned(&first)), (vec![], vec![]), "nothing is left to do");
    })
    .await;
}

/// A process that froze between its read and its acquire.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_incarnation_acquires_no_lease() {
    with_redis(async |redis| {
        redis.commands().request(&tenant("a"), RUN).await.unwrap();
        // Right after a heartbeat, so that the next one, by which it would find out, is a second away.
        let has_beaten = async || {
            let alive = keys(&redis.server).into_iter().find(|key| key.starts_with(ALIVE))?;
            let beat = string(&redis.server.ask(&["GET", &alive]))?;
            beat.starts_with("1 ").then_some(alive)
        };
        let alive = until("it has beaten once", has_beaten).await;
        redis.server.ask(&["DEL", &alive]);
        let taken = redis.ownership().acquire(&tenant("a")).await;
        assert_eq!(owner(&redis.server, "a"), None, "no instance would look for it: {taken:?}");
        assert!(matches!(&taken, Err(StoreError::Unavailable(_))), "{taken:?}");
        let again = async || redis.ownership().acquire(&tenant("a")).await.ok().flatten();
        until("another incarnation acquires it", again).await;
    })
    .await;
}

/// The session ended, its instance died before it released the tenant, and the user disconnects.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_owner_is_forgotten_with_the_request() {
    with_redis(async |redis| {
        let other = instance(&redis.server).stores();
        other.commands.request(&tenant("a"), RUN).await.unwrap();
        let lease = other.ownership.acquire(&tenant("a")).await.unwrap().unwrap();
        other.journal.append(&lease, ended(EndReason::CredentialsUnreadable)).await.unwrap();
        let dead = owner(&redis.server, "a").unwrap();
        redis.server.ask(&["DEL", &format!("{ALIVE}{dead}")]);
        redis.commands().request(&tenant("a"), DesiredState::Unlink).await.unwrap();
        assert_eq!(owner(&redis.server, "a"), None);
        redis.ownership().orphaned(10).await.unwrap();
        let listed = members(&redis.server, "tautan:{0}:incarnations");
        assert!(!listed.is_empty() && !listed.contains(&dead), "{dead} is listed for ever: {listed:?}");
    })
    .await;
}
