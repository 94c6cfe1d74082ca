//! A Redis that comes back without its last second may have lost leases.

use std::time::{Duration, Instant};

use bytes::Bytes;
use tautan::{
    events::EndReason,
    store::{Change, DesiredState, Lease, Stores},
};
use tautan_test_support::{Network, RedisServer, Way, redis_is_installed};

use crate::{
    backend::{Backend as _, Redis, in_time, instance, instance_behind},
    redis::until,
    statuses::{Received, connected, ended, next, resuming, tenant},
};

/// Two instances, and a lease of the one that Redis has forgotten: the tenant has credentials and is to run.
struct Forgotten {
    redis: Redis,
    network: Network,
    lease: Lease,
    _taker: Stores,
}

/// `way`: the state of the owner's network from then on.
async fn forgotten(way: Way) -> Forgotten {
    let mut redis = Redis::on(RedisServer::start_durable());
    let (network, taker) = instance_behind(redis.server.port).await;
    let taker = taker.stores();
    are_registered(&redis.server, 2).await;
    orphaned(&redis).await;
    let saved = redis.server.backup();
    let take = async || taker.ownership.acquire(&tenant("a")).await.unwrap();
    let lease = until("it is known who lives", take).await;
    network.set(way);
    redis.server.restart_from(&saved);
    Forgotten { redis, network, lease, _taker: taker }
}

/// Redis knows so many instances. A real loss takes 2 s at most, so a backup must not be older than an owner's registration.
pub async fn are_registered(server: &RedisServer, instances: usize) {
    let listed = async || (server.ask(&["SCARD", "tautan:{0}:incarnations"]) == answer(instances)).then_some(());
    until("they are registered", listed).await;
}

fn answer(number: usize) -> Vec<u8> {
    format!(":{number}\r\n+OK\r\n").into_bytes()
}

/// A tenant with credentials that is to run and has no owner.
pub async fn orphaned(redis: &Redis) {
    let lease = redis.running(&tenant("a")).await;
    let row = Change::Put { table: "t", key: Bytes::from("device"), value: Bytes::from("kept") };
    redis.credentials().write(&lease, vec![row]).await.unwrap();
    redis.journal().append(&lease, connected()).await.unwrap();
    redis.ownership().release(lease).await.unwrap();
}

/// Another instance acquires it, and not before the owner knows that it lost the lease.
async fn taken_in_turn(forgotten: &Forgotten) -> Duration {
    let restarted = Instant::now();
    let ownership = forgotten.redis.ownership();
    let take = async || ownership.acquire(&tenant("a")).await.ok().flatten();
    let taken = until("it is taken over", take).await;
    assert!(forgotten.lease.lost().is_cancelled(), "two have it after {:?}", restarted.elapsed());
    drop(taken);
    restarted.elapsed()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forgotten_tenant_is_acquired_once_all_instances_reconciled() {
    if redis_is_installed() {
        in_time(async {
            let took = taken_in_turn(&forgotten(Way::Open).await).await;
            assert!(took < Duration::from_secs(5), "it does not wait for dead instances: {took:?}");
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forgotten_tenant_is_not_acquired_while_an_owner_may_live() {
    if redis_is_installed() {
        in_time(async {
            let forgotten = forgotten(Way::Silent).await;
            let took = taken_in_turn(&forgotten).await;
            assert!(took > Duration::from_secs(5), "its owner gives up by itself: {took:?}");
            forgotten.network.set(Way::Open);
        })
        .await;
    }
}

/// The account is connected, dropped for a moment, and connected again; Redis lost the event of the drop.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_of_lost_events_receive_the_current_status_again() {
    if !redis_is_installed() {
        return;
    }
    in_time(async {
        let mut redis = Redis::on(RedisServer::start_durable());
        let lease = redis.running(&tenant("a")).await;
        let before = redis.journal().append(&lease, connected()).await.unwrap().event.id();
        let reader = instance(&redis.server).stores();
        let mut reader = reader.journal.subscribe(&tenant("a"), None).await;
        let saved = redis.server.backup();
        redis.journal().append(&lease, resuming()).await.unwrap();
        while next(&mut reader).await != Some(Received::Event(resuming())) {}
        redis.server.restart_from(&saved);
        let again = async || redis.journal().append(&lease, connected()).await.ok();
        let after = until("it is said", again).await.event.id();
        assert_ne!(after.journal, before.journal, "ids of the lost run are of another journal");
        while next(&mut reader).await != Some(Received::Event(connected())) {}
    })
    .await;
}

/// Redis has lost a request; the owner that fulfils it holds its generation.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn request_after_a_lost_request_is_not_mistaken_for_it() {
    if !redis_is_installed() {
        return;
    }
    in_time(async {
        let mut redis = Redis::on(RedisServer::start_durable());
        let lease = redis.running(&tenant("a")).await;
        redis.journal().append(&lease, connected()).await.unwrap();
        let saved = redis.server.backup();
        let unlink = redis.commands().request(&tenant("a"), DesiredState::Unlink).await.unwrap();
        redis.server.restart_from(&saved);
        let run = DesiredState::run(None);
        let again = async || redis.commands().request(&tenant("a"), run.clone()).await.ok();
        let number = until("the user wants it once more", again).await;
        let end = ended(EndReason::UnlinkedByUser);
        let finish = async || redis.journal().finish(lease.clone(), end.clone(), unlink).await.ok();
        until("what he wanted before is done", finish).await;
        assert_eq!(redis.commands().current(&tenant("a")).await.unwrap(), Some((number, run)));
    })
    .await;
}

/// An instance dies after it saved a request: the owner finds the request although it was not notified.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn request_succeeds_only_after_its_owner_was_notified() {
    if !redis_is_installed() {
        return;
    }
    in_time(async {
        let redis = Redis::on(RedisServer::start_durable());
        let _lease = redis.running(&tenant("a")).await;
        let other = instance(&redis.server).stores();
        assert!(other.commands.current(&tenant("a")).await.unwrap().is_some());
        redis.server.ask(&["ACL", "SETUSER", "default", "-sadd"]);
        assert!(other.commands.request(&tenant("a"), DesiredState::Unlink).await.is_err());
        redis.server.ask(&["ACL", "SETUSER", "default", "+sadd"]);
        let kept = until("the store is there", async || redis.commands().current(&tenant("a")).await.ok()).await;
        assert!(matches!(kept, Some((_, DesiredState::Run { .. }))), "{kept:?}");
    })
    .await;
}

/// It is the same data set and has no record of the tenant: only the owner can publish the loss.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn session_lost_in_the_last_second_is_published_without_readers() {
    if !redis_is_installed() {
        return;
    }
    in_time(async {
        let mut redis = Redis::on(RedisServer::start_durable());
        // Redis knows the owners, and keeps them.
        let _other = redis.running(&tenant("b")).await;
        let saved = redis.server.backup();
        let lease = redis.running(&tenant("a")).await;
        redis.journal().append(&lease, connected()).await.unwrap();
        redis.server.restart_from(&saved);
        lease.lost().cancelled().await;
        let updates = async || redis.journal().latest(&tenant("a")).await.ok().flatten();
        let shown = until("its end is published", updates).await;
        assert_eq!(shown.event.status, ended(EndReason::StoreLost));
    })
    .await;
}
