//! Heartbeats expire by the clock of Redis, which may be set, and differs from that of a promoted replica. Here it cannot be set:
//! the heartbeats are made to expire as they would.

use std::time::{Duration, Instant};

use tautan::store::{Lease, Stores};
use tautan_test_support::{Network, RedisServer, Way, redis_is_installed};

use crate::{
    backend::{Backend as _, Redis, in_time, instance_behind},
    indexes::{ALIVE, owner},
    redis::acquired,
    rollback::{are_registered, orphaned},
};

/// An owner with a link that cannot reach Redis any more, and an instance that would take over.
struct Cut {
    redis: Redis,
    network: Network,
    lease: Lease,
    heartbeat: String,
    _owner: Stores,
}

async fn cut() -> Cut {
    let redis = Redis::on(RedisServer::start());
    let (network, store) = instance_behind(redis.server.port).await;
    let stores = store.stores();
    are_registered(&redis.server, 2).await;
    orphaned(&redis).await;
    let lease = acquired(&stores).await;
    let heartbeat = format!("{ALIVE}{}", owner(&redis.server, "a").expect("it was acquired"));
    // The other one has seen it.
    tokio::time::sleep(Duration::from_secs(2)).await;
    network.set(Way::Silent);
    Cut { redis, network, lease, heartbeat, _owner: stores }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tenant_has_one_owner_after_the_clock_was_set_forward() {
    if !redis_is_installed() {
        return;
    }
    in_time(async {
        let cut = cut().await;
        cut.redis.server.ask(&["DEL", &cut.heartbeat]);
        let taken = acquired(cut.redis.stores()).await;
        assert!(cut.lease.lost().is_cancelled(), "the tenant has two owners");
        drop(taken);
        cut.network.set(Way::Open);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn death_is_found_in_time_after_the_clock_was_set_back() {
    if !redis_is_installed() {
        return;
    }
    in_time(async {
        let (cut, begin) = (cut().await, Instant::now());
        cut.redis.server.ask(&["PEXPIRE", &cut.heartbeat, "38000"]);
        let taken = acquired(cut.redis.stores()).await;
        assert!(cut.lease.lost().is_cancelled(), "the tenant has two owners");
        let took = begin.elapsed();
        assert!(took < Duration::from_secs(13), "a lease after it fell silent: {took:?}");
        drop(taken);
        cut.network.set(Way::Open);
    })
    .await;
}
