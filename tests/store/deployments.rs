//! Deployments of Redis: a user with few rights, and Sentinel with failovers.

use std::time::{Duration, Instant};

use bytes::Bytes;
use tautan::{
    clock::Timestamp,
    events::Status,
    store::{
        Change, ClientVersion, DesiredState, Lease, StoreError, Stores, Subscription,
        redis::{RedisStore, UnusableServer},
    },
};
use tautan_test_support::{Port, RedisNode, SERVICE, Watched, redis_is_installed};

use crate::{
    backend::{in_time, instance_at, key},
    redis::until,
    statuses::{Received, all, connected, next, numbered, qr, resuming, starting, tenant},
};

const PASSWORD: &str = "se%2Fcret";
/// Failovers, and the time for sentinels to find each other.
const STORY_TIME_MAX: Duration = Duration::from_secs(120);
const RECOVERY_TIME_MAX: Duration = Duration::from_secs(5);

fn open(url: &str) -> RedisStore {
    instance_at(url, key(), None)
}

/// The rule as the document gives it.
fn acl_rule() -> String {
    let document = include_str!("../../docs/redis.md");
    let rule = document.lines().find(|line| line.starts_with("ACL SETUSER tautan ")).expect("the document has it");
    rule.replace("PASSWORD", "se/cret")
}

/// All operations of a session on a store, on two instances.
async fn story(first: &RedisStore, second: &RedisStore) {
    let Stores { journal, ownership, commands, credentials, .. } = first.stores();
    let name = tenant("toko");
    commands.request(&name, DesiredState::run(None)).await.unwrap();
    assert_eq!(ownership.orphaned(10).await.unwrap(), [tenant("toko")]);
    let lease = ownership.acquire(&name).await.unwrap().expect("it has no owner");
    let mut reader = second.stores().journal.subscribe(&name, None).await;
    assert_eq!(next(&mut reader).await, Some(Received::Event(starting())));
    let row = |value: &'static str| Change::Put { table: "t", key: Bytes::from("k"), value: Bytes::from(value) };
    let delete = Change::Delete { table: "t", key: Bytes::from("k") };
    credentials.write(&lease, vec![row("v"), Change::Clear { table: "t" }, row("w"), delete, row("x")]).await.unwrap();
    journal.append(&lease, connected()).await.unwrap();
    assert_eq!(all(&mut reader).await, [Received::Event(connected())]);
    assert_eq!(credentials.get(&name, "t", b"k").await.unwrap(), Some("x".into()));
    assert_eq!(credentials.table(&name, "t").await.unwrap().len(), 1);
    assert!(credentials.holds(&name).await.unwrap());
    let seen = journal.latest(&name).await.unwrap().unwrap().event.id();
    ownership.release(lease).await.unwrap();

    let Stores { journal, ownership, commands, credentials, .. } = second.stores();
    assert_eq!(ownership.orphaned(10).await.unwrap(), [tenant("toko")]);
    let lease = ownership.acquire(&name).await.unwrap().expect("it was given back");
    let mut late = journal.subscribe(&name, Some(seen)).await;
    assert_eq!(next(&mut late).await, Some(Received::Event(resuming())));
    credentials.erase(&lease).await.unwrap();
    let desired = commands.request(&name, DesiredState::Unlink).await.unwrap();
    journal.finish(lease, connected_no_more(), desired).await.unwrap();
    assert_eq!(all(&mut late).await.last(), Some(&Received::Event(connected_no_more())));
    assert_eq!(commands.current(&name).await.unwrap(), None);
}

fn connected_no_more() -> tautan::events::Status {
    crate::statuses::ended(tautan::events::EndReason::UnlinkedByPhone)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn documented_redis_rights_are_enough() {
    if !redis_is_installed() {
        return;
    }
    in_time(async {
        let node = RedisNode::start(&["save \"\""]);
        let rule = acl_rule();
        let answer = node.ask(&rule.split(' ').collect::<Vec<_>>()[..]);
        assert!(answer.starts_with("+OK"), "{answer}");
        let url = format!("redis://tautan:{PASSWORD}@127.0.0.1:{}/1", node.port);
        let (first, second) = (open(&url), open(&url));
        assert_eq!(first.proven(Duration::from_secs(3)).await, Ok(true));
        story(&first, &second).await;
        // While the key is being replaced there is more to do: a request, an event with a code, a row.
        let Stores { journal, ownership, commands, credentials, .. } = first.stores();
        commands.request(&tenant("toko"), DesiredState::run(None)).await.unwrap();
        let lease = ownership.acquire(&tenant("toko")).await.unwrap().expect("it has no owner");
        let row = Change::Put { table: "t", key: Bytes::from("k"), value: Bytes::from("v") };
        credentials.write(&lease, vec![row]).await.unwrap();
        journal.append(&lease, qr(1)).await.unwrap();
        second.stores().commands.send(&tenant("toko"), Bytes::from("words")).await.unwrap();
        assert_eq!(commands.receive(&lease).await.unwrap().len(), 1);
        let Stores { client_versions, .. } = second.stores();
        client_versions
            .keep_client_version(ClientVersion { version: (2, 3000, 1), at: Timestamp::UNIX_EPOCH })
            .await
            .unwrap();
        assert!(first.stores().client_versions.client_version().await.unwrap().is_some());
        ownership.release(lease).await.unwrap();
        let rotating = instance_at(&url, tautan::store::crypt::MasterKey::from([8; 32]), Some(key()));
        let new = instance_at(&url, tautan::store::crypt::MasterKey::from([8; 32]), None);
        assert_eq!(rotating.proven(Duration::from_secs(3)).await, Ok(true));
        let Stores { journal, credentials, .. } = new.stores();
        let anew = async || {
            journal.latest(&tenant("toko")).await.ok()?;
            credentials.table(&tenant("toko"), "t").await.ok()
        };
        assert_eq!(until("it is sealed anew", anew).await.len(), 1);
        for store in [first, second, rotating, new] {
            store.close().await;
        }
        let denied = node.ask(&["ACL", "LOG"]);
        assert!(denied.starts_with("*0"), "nothing was denied: {denied}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn user_without_info_rights_is_served() {
    if !redis_is_installed() {
        return;
    }
    in_time(async {
        let node = RedisNode::start(&["save \"\""]);
        let rule = acl_rule() + " -info";
        assert!(node.ask(&rule.split(' ').collect::<Vec<_>>()[..]).starts_with("+OK"));
        let url = format!("redis://tautan:{PASSWORD}@127.0.0.1:{}", node.port);
        story(&open(&url), &open(&url)).await;
        assert!(node.ask(&["ACL", "SETUSER", "tautan", "-evalsha"]).starts_with("+OK"));
        let fresh = node.ask(&["DEL", "tautan:proof"]);
        assert!(fresh.starts_with(":1"), "{fresh}");
        assert_eq!(open(&url).proven(Duration::from_secs(3)).await, Err(UnusableServer::Permission));
    })
    .await;
}

/// A replica takes no writes: a connection to a master that became a replica is closed, with its unanswered commands.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connection_to_a_new_replica_is_closed() {
    if !redis_is_installed() {
        return;
    }
    in_time(async {
        let node = RedisNode::start(&["save \"\""]);
        let store = open(&node.url());
        let commands = store.stores().commands;
        commands.request(&tenant("a"), DesiredState::run(None)).await.unwrap();
        let clients = || -> Vec<String> {
            let list = node.ask(&["CLIENT", "LIST", "TYPE", "normal"]);
            list.lines()
                .filter_map(|line| line.split(' ').find(|word| word.starts_with("id=")))
                .map(Into::into)
                .collect()
        };
        let before = clients();
        node.ask(&["REPLICAOF", "127.0.0.1", "1"]);
        let refused = commands.request(&tenant("a"), DesiredState::Unlink).await;
        assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
        until("the old connection is given up", async || {
            let now = clients();
            before.iter().all(|old| !now.contains(old)).then_some(())
        })
        .await;
        node.ask(&["REPLICAOF", "NO", "ONE"]);
        until("it is a master again", async || commands.request(&tenant("a"), DesiredState::Unlink).await.ok()).await;
    })
    .await;
}

/// An instance that owns a tenant throughout, and a reader on another instance.
struct Pair {
    owner: RedisStore,
    lease: Option<Lease>,
    /// Held by another instance.
    reader: Subscription,
    said: u64,
    _listening: RedisStore,
}

impl Pair {
    async fn on(url: &str) -> Self {
        let (owner, listening) = (open(url), open(url));
        let reader = listening.stores().journal.subscribe(&tenant("a"), None).await;
        Self { owner, lease: None, reader, said: 0, _listening: listening }
    }

    /// Waits until a new event was appended, and received by an earlier stream and by a new one. A write to a master
    /// that is about to become a replica may be lost with it; then the event is appended once more.
    async fn works(&mut self) -> Duration {
        let begin = Instant::now();
        loop {
            self.said += 1;
            let status = numbered(self.said);
            self.says(&status).await;
            let heard = async {
                hears(&mut self.reader, &status).await;
                let mut fresh = self.owner.stores().journal.subscribe(&tenant("a"), None).await;
                hears(&mut fresh, &status).await;
            };
            if tokio::time::timeout(Duration::from_secs(1), heard).await.is_ok() {
                return begin.elapsed();
            }
        }
    }

    async fn says(&mut self, status: &Status) {
        let Stores { journal, ownership, commands, .. } = self.owner.stores();
        loop {
            if self.lease.is_none() {
                let wanted = commands.request(&tenant("a"), DesiredState::run(None)).await.is_ok();
                self.lease = if wanted { ownership.acquire(&tenant("a")).await.ok().flatten() } else { None };
            }
            match &self.lease {
                Some(lease) => match journal.append(lease, status.clone()).await {
                    Ok(_) => return,
                    Err(StoreError::Fenced) => self.lease = None,
                    Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                },
                None => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }
}

/// Received as an event, or as the current status by a reader that started stale.
async fn hears(reader: &mut Subscription, status: &Status) {
    loop {
        match next(reader).await.expect("the subscription goes on") {
            Received::Event(outcome) | Received::Fresh(outcome) if outcome == *status => return,
            Received::Event(_) | Received::Fresh(_) | Received::Stale(_) => {}
        }
    }
}

fn follows(node: &RedisNode) -> bool {
    node.ask(&["ROLE"]).contains("\r\nslave\r\n")
}

async fn with_sentinels(story: impl AsyncFnOnce(Watched)) {
    if redis_is_installed() {
        let watched = tokio::task::spawn_blocking(Watched::start).await.unwrap();
        tokio::time::timeout(STORY_TIME_MAX, story(watched)).await.expect("the story ends in time");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn next_master_serves_within_5_s_of_a_kill() {
    with_sentinels(async |mut watched| {
        let mut pair = Pair::on(&watched.url()).await;
        pair.works().await;
        watched.nodes[0].stop();
        watched.is_promoted(1);
        let took = pair.works().await;
        println!("killed: works {took:?} after the promotion");
        assert!(took < RECOVERY_TIME_MAX, "{took:?}");
        // It comes back, acts as the master for a moment, and becomes a replica of the other.
        watched.nodes[0].start_again();
        while !follows(&watched.nodes[0]) {
            assert!(pair.works().await < RECOVERY_TIME_MAX);
        }
        // It becomes the master once more, and the other one a replica.
        watched.is_settled(1);
        until("the sentinel finds the other one good enough", async || {
            watched.sentinels[0].ask(&["SENTINEL", "FAILOVER", SERVICE]).starts_with("+OK").then_some(())
        })
        .await;
        watched.is_promoted(0);
        // Until the sentinels demote the other one, which was not down, both act as the master.
        while !follows(&watched.nodes[1]) {
            pair.works().await;
        }
        let took = pair.works().await;
        println!("handed over: works {took:?} after the other one followed");
        assert!(took < RECOVERY_TIME_MAX, "{took:?}");
    })
    .await;
}

/// Worse than a dead server: its connections stay open and are silent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn next_master_serves_within_5_s_of_silence() {
    with_sentinels(async |watched| {
        let mut pair = Pair::on(&watched.url()).await;
        pair.works().await;
        watched.nodes[0].pause();
        watched.sentinels[0].pause();
        watched.is_promoted(1);
        let took = pair.works().await;
        println!("silent: works {took:?} after the promotion");
        assert!(took < RECOVERY_TIME_MAX, "{took:?}");
        watched.nodes[0].resume();
        for _ in 0..20 {
            assert!(pair.works().await < RECOVERY_TIME_MAX, "the old master that wakes delays no write");
        }
    })
    .await;
}

/// The old master and an owner are cut off from the next master: it never received the owner's last heartbeats, and its
/// view of dead instances does not count until the owner must have noticed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn owner_on_the_old_master_is_not_taken_over_too_early() {
    /// Before that the heartbeats that the next master received expire.
    const SWITCHED_AFTER: Duration = Duration::from_secs(4);
    const TTL: Duration = Duration::from_secs(8);
    if !redis_is_installed() {
        return;
    }
    in_time(async {
        let old = RedisNode::start(&["save \"\"", "repl-diskless-sync-delay 0"]);
        let next = RedisNode::start(&["save \"\"", &format!("replicaof 127.0.0.1 {}", old.port)]);
        let sentinel = RedisNode::start_sentinel(&old);
        let owner = open(&old.url());
        let other = open(&format!("redis+sentinel://127.0.0.1:{}/{SERVICE}", sentinel.port)).stores();
        let Stores { journal, ownership, commands, credentials, .. } = owner.stores();
        commands.request(&tenant("a"), DesiredState::run(None)).await.unwrap();
        let lease = ownership.acquire(&tenant("a")).await.unwrap().expect("it has no owner");
        let row = Change::Put { table: "t", key: Bytes::from("k"), value: Bytes::from("v") };
        credentials.write(&lease, vec![row]).await.unwrap();
        journal.append(&lease, connected()).await.unwrap();
        let known = async || (other.ownership.acquire(&tenant("a")).await.ok()?).is_none().then_some(());
        until("the other instance is there", known).await;
        next.catches_up_with(&old);

        assert!(next.ask(&["REPLICAOF", "NO", "ONE"]).starts_with("+OK"));
        tokio::time::sleep(SWITCHED_AFTER).await;
        sentinel.ask(&["SENTINEL", "REMOVE", SERVICE]);
        sentinel.ask(&["SENTINEL", "MONITOR", SERVICE, "127.0.0.1", &next.port.to_string(), "1"]);
        let switched = Instant::now();
        old.ask(&["CLIENT", "KILL", "TYPE", "normal"]);
        let take = async || other.ownership.acquire(&tenant("a")).await.ok().flatten();
        until("it is taken over", take).await;
        assert!(switched.elapsed() >= TTL, "{:?} after the next one took over", switched.elapsed());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unusable_server_is_reported_with_its_reason() {
    if !redis_is_installed() {
        return;
    }
    in_time(async {
        let outcome = async |url: String| open(&url).proven(Duration::from_secs(3)).await;
        let closed = RedisNode::start(&["requirepass hunter2"]);
        assert_eq!(outcome(closed.url()).await, Err(UnusableServer::Password));
        assert_eq!(outcome(format!("redis://:hunter3@127.0.0.1:{}", closed.port)).await, Err(UnusableServer::Password));
        assert_eq!(outcome(format!("redis://:hunter2@127.0.0.1:{}", closed.port)).await, Ok(true));
        // Otherwise it takes the port that is 10,000 higher, which may be another's.
        let bus = Port::reserve();
        let cluster = RedisNode::start(&["cluster-enabled yes", &format!("cluster-port {}", bus.number)]);
        assert_eq!(outcome(cluster.url()).await, Err(UnusableServer::Cluster));
        let stranger = tautan_test_support::stranger();
        assert_eq!(outcome(format!("redis://127.0.0.1:{stranger}")).await, Err(UnusableServer::NotRedis));
    })
    .await;
    with_sentinels(async |watched| {
        let outcome = async |url: &str| open(url).proven(Duration::from_secs(3)).await;
        assert_eq!(outcome(&watched.sentinels[0].url()).await, Err(UnusableServer::Sentinel));
        assert_eq!(outcome(&watched.url().replace(SERVICE, "other")).await, Err(UnusableServer::Service));
        assert_eq!(outcome(&watched.url()).await, Ok(true));
    })
    .await;
}
