//! Redis comes back without an instance's registration, which no list has then.

use std::time::{Duration, Instant};

use tautan::store::{DesiredState, Lease, Stores};
use tautan_test_support::{Backup, Network, RedisServer, Way, redis_is_installed};

use crate::{
    backend::{Backend as _, Redis, in_time, instance, instance_behind},
    indexes::owner,
    redis::acquired,
    rollback::{are_registered, orphaned},
    statuses::tenant,
};

/// The most that a crash loses.
const LOST: Duration = Duration::from_secs(2);
/// An acquire that waits for nothing.
const AT_ONCE: Duration = Duration::from_secs(1);

/// An instance behind a network that can be broken.
struct Young {
    network: Network,
    stores: Stores,
}

impl Young {
    async fn start(server: &RedisServer) -> Self {
        let (network, store) = instance_behind(server.port).await;
        Self { network, stores: store.stores() }
    }

    /// It cannot reach Redis any more, which comes back without its registration.
    async fn is_lost(&self, server: &mut RedisServer, saved: &Backup, lease: Option<Lease>, taker: &Stores) {
        self.network.set(Way::Silent);
        server.restart_from(saved);
        let taken = acquired(taker).await;
        assert!(lease.is_none_or(|lease| lease.lost().is_cancelled()), "the tenant has two owners");
        drop(taken);
        self.network.set(Way::Open);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tenant_has_one_owner_after_a_lost_registration() {
    if !redis_is_installed() {
        return;
    }
    in_time(async {
        let mut redis = Redis::on(RedisServer::start_durable());
        orphaned(&redis).await;
        let saved = redis.server.backup();
        let young = Young::start(&redis.server).await;
        let lease = tokio::time::timeout(LOST, acquired(&young.stores)).await.ok();
        let taker = redis.stores().clone();
        young.is_lost(&mut redis.server, &saved, lease, &taker).await;
    })
    .await;
}

/// The owner hands over to an instance that has just been registered, and Redis loses both.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tenant_has_one_owner_after_a_lost_release() {
    if !redis_is_installed() {
        return;
    }
    in_time(async {
        let mut redis = Redis::on(RedisServer::start_durable());
        orphaned(&redis).await;
        let taker = redis.stores().clone();
        let before = acquired(&taker).await;
        let saved = redis.server.backup();
        let young = Young::start(&redis.server).await;
        are_registered(&redis.server, 2).await;
        taker.ownership.release(before).await.unwrap();
        let released = Instant::now();
        let lease = acquired(&young.stores).await;
        assert!(released.elapsed() < AT_ONCE, "what was released in order waits for nothing");
        young.is_lost(&mut redis.server, &saved, Some(lease), &taker).await;
    })
    .await;
}

/// The only instance is restarted in order, and Redis loses the registration of the next one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tenant_has_one_owner_after_a_lost_restart() {
    if !redis_is_installed() {
        return;
    }
    in_time(async {
        let mut redis = Redis::on(RedisServer::start_durable());
        orphaned(&redis).await;
        redis.store.close().await;
        let saved = redis.server.backup();
        let begin = Instant::now();
        let young = Young::start(&redis.server).await;
        let lease = acquired(&young.stores).await;
        assert!(begin.elapsed() < AT_ONCE, "the only instance waits for nothing");
        let taker = instance(&redis.server).stores();
        young.is_lost(&mut redis.server, &saved, Some(lease), &taker).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn second_instance_after_a_restart_waits_to_acquire() {
    if !redis_is_installed() {
        return;
    }
    in_time(async {
        let redis = Redis::on(RedisServer::start_durable());
        orphaned(&redis).await;
        redis.store.close().await;
        let _first = Young::start(&redis.server).await;
        are_registered(&redis.server, 1).await;
        let second = instance(&redis.server).stores();
        assert!(tokio::time::timeout(LOST, acquired(&second)).await.is_err(), "its registration can be lost");
    })
    .await;
}

/// An instance was cut off for a while and registers again. Redis loses that registration, together with an acquire.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tenant_has_one_owner_after_a_lost_second_registration() {
    if !redis_is_installed() {
        return;
    }
    in_time(async {
        let mut redis = Redis::on(RedisServer::start_durable());
        let (network, again) = instance_behind(redis.server.port).await;
        let again = again.stores();
        are_registered(&redis.server, 2).await;
        again.commands.request(&tenant("b"), DesiredState::run(None)).await.unwrap();
        again.ownership.acquire(&tenant("b")).await.unwrap().expect("it has no owner");
        let owner = owner(&redis.server, "b").expect("it was acquired");
        orphaned(&redis).await;
        network.set(Way::Silent);
        redis.server.ask(&["DEL", &format!("tautan:{{0}}:alive:{owner}")]);
        let saved = redis.server.backup();
        network.set(Way::Open);
        // The next incarnation acquires it.
        let lease = acquired(&again).await;
        network.set(Way::Silent);
        redis.server.restart_from(&saved);
        acquired(redis.stores()).await;
        assert!(lease.lost().is_cancelled(), "the tenant has two owners");
        network.set(Way::Open);
    })
    .await;
}
