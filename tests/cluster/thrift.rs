//! The load of an instance on Redis does not grow with its sessions.

use std::{collections::BTreeMap, time::Duration};

use tautan_test_support::RedisServer;
use tokio::time::{Instant, sleep};

use crate::{
    quiet::{alone, together},
    stage::{Cluster, Setup},
};

/// Longer than the interval of every command that an idle instance repeats, for most of them several times.
const WATCHED: Duration = Duration::from_secs(20);
const PER_SECOND_MAX: f64 = 10.0;

/// How often each was called, also by scripts.
fn commands(redis: &RedisServer) -> BTreeMap<String, u64> {
    let answer = redis.ask(&["INFO", "commandstats"]);
    let text = String::from_utf8_lossy(&answer).into_owned();
    let calls = text.lines().filter_map(|line| {
        let (name, rest) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
        Some((name.to_owned(), rest.split(',').next()?.parse().ok()?))
    });
    calls.collect()
}

async fn rate(cluster: &Cluster) -> f64 {
    let (from, before) = (Instant::now(), commands(&cluster.redis));
    sleep(WATCHED).await;
    let mut calls = commands(&cluster.redis);
    calls.retain(|name, count| {
        *count -= before.get(name).unwrap_or(&0);
        *count > 0 && name != "info"
    });
    println!("in {WATCHED:?}: {calls:?}");
    calls.values().sum::<u64>() as f64 / from.elapsed().as_secs_f64()
}

async fn owns(cluster: &Cluster, tenants: std::ops::Range<usize>) {
    for at in tenants.clone() {
        cluster.api(0, &format!("idle-{at}")).connect().await;
    }
    let owned = || {
        let keys = cluster.redis.ask(&["KEYS", "tautan:{0}:owned:*"]);
        let keys = String::from_utf8_lossy(&keys).into_owned();
        let key = keys.lines().find(|line| line.starts_with("tautan:{0}:owned:")).unwrap_or_default().to_owned();
        let size = cluster.redis.ask(&["SCARD", &key]);
        String::from_utf8_lossy(&size).lines().next().and_then(|line| line.strip_prefix(':')?.parse::<usize>().ok())
    };
    tautan_test_support::within("all are owned", async {
        while owned() != Some(tenants.end) {
            sleep(Duration::from_millis(100)).await;
        }
    })
    .await;
    let patience = Instant::now() + Duration::from_secs(30 + tenants.end as u64 / 20);
    while last_second(&cluster.redis).await > PER_SECOND_MAX as u64 * 2 {
        assert!(Instant::now() < patience, "it does not come to rest");
    }
}

/// Commands in a second, to see that what follows a start is over.
async fn last_second(redis: &RedisServer) -> u64 {
    let total = || commands(redis).values().sum::<u64>();
    let before = total();
    sleep(Duration::from_secs(1)).await;
    total() - before
}

async fn costs_what_ten_cost(many: usize) {
    let cluster = Setup::of(1).start().await;
    owns(&cluster, 0..10).await;
    let few = rate(&cluster).await;
    owns(&cluster, 10..many).await;
    let all = rate(&cluster).await;
    println!("FIGURE commands a second with 10 idle sessions: {few:.1}, with {many}: {all:.1}");
    assert!(few <= PER_SECOND_MAX, "10 sessions: {few} commands a second");
    assert!(all <= PER_SECOND_MAX, "{many} sessions: {all} commands a second");
    assert!(all <= few * 1.2 + 0.2, "{many} sessions cost {all} commands a second, 10 cost {few}");
}

/// Longer than all that an answer takes beside its round trips.
const DELAY: Duration = Duration::from_millis(150);
const CONNECT_TRIPS_MAX: u128 = 3;

/// Round trips to Redis one after the other before the command is answered: the fewest of several times, since a heartbeat on
/// the same connection may come before a command.
async fn trips(cluster: &Cluster, tenants: std::ops::Range<usize>) -> u128 {
    let mut fewest = u128::MAX;
    for at in tenants {
        let begin = Instant::now();
        cluster.api(0, &format!("idle-{at}")).connect().await;
        fewest = fewest.min(begin.elapsed().as_millis() / DELAY.as_millis());
    }
    fewest
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connect_is_answered_after_three_round_trips_to_redis() {
    let Some(_turn) = alone().await else { return };
    let cluster = Setup::of(1).behind_network(0..1).start().await;
    owns(&cluster, 0..6).await;
    for at in 0..6 {
        let api = cluster.api(0, &format!("idle-{at}"));
        api.disconnect().await;
        tautan_test_support::within("it is disconnected", async {
            while api.status().await["status"] != "disconnected" {
                sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
    }
    cluster.set_delay(0, DELAY);
    let (unknown, known) = (trips(&cluster, 100..106).await, trips(&cluster, 0..6).await);
    println!("FIGURE round trips to Redis before 202: {unknown} of an unknown tenant, {known} of a known one");
    assert!(unknown <= CONNECT_TRIPS_MAX, "{unknown} of an unknown tenant");
    assert!(known <= CONNECT_TRIPS_MAX, "{known} of a known tenant");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousand_idle_sessions_send_redis_what_ten_do() {
    let Some(_turn) = together().await else { return };
    costs_what_ten_cost(1_000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "minutes; make long"]
async fn ten_thousand_idle_sessions_send_redis_what_ten_do() {
    let Some(_turn) = alone().await else { return };
    costs_what_ten_cost(10_000).await;
}
