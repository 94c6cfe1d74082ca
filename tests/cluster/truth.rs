//! No instance shows a current `connected` for longer than the owner's lease.

use std::time::Duration;

use tautan_test_support::Way;
use tokio::time::{Instant, sleep};

use crate::{
    quiet::together,
    stage::{Cluster, Setup, TTL},
    tab::Tab,
};

const TENANTS: usize = 4;
const BOUND: Duration = Duration::from_secs(TTL.as_secs() + 1);
/// How long it is looked for after that.
const WATCHED: Duration = Duration::from_secs(4);

enum Death {
    Kill,
    Stop,
    /// It lives, but Redis is out of its reach.
    Partition,
}

/// Each instance owns as many sessions as it may: no instance can acquire those of the first one.
async fn nobody_can_acquire() -> (Cluster, Vec<String>) {
    const MAX: &str = "TAUTAN_MAX_SESSIONS";
    let mut cluster = Setup::of(1).with(MAX, &TENANTS.to_string()).behind_network(0..1).start().await;
    let tenants: Vec<String> = (0..TENANTS).map(|at| format!("idle-{at}")).collect();
    cluster.connect_stubs(&tenants).await;
    cluster.environment.push((MAX.to_owned(), "1".to_owned()));
    for (instance, tenant) in [(1, "idle-one"), (2, "idle-two")] {
        cluster.add();
        cluster.api(instance, tenant).connect().await;
        cluster.tab(instance, tenant).until_status("connected").await;
        assert_eq!(cluster.owner(tenant), Some(instance), "who owns what is settled");
    }
    (cluster, tenants)
}

async fn nothing_is_claimed_after(death: Death) {
    let (mut cluster, tenants) = nobody_can_acquire().await;
    assert!(tenants.iter().all(|tenant| cluster.owner(tenant) == Some(0)), "the others are full");
    let tabs = |instance| tenants.iter().map(|tenant| cluster.tab(instance, tenant)).collect::<Vec<Tab>>();
    let mut tabs: Vec<Tab> = (0..3).flat_map(tabs).collect();
    for tab in &mut tabs {
        tab.until_status("connected").await;
    }
    let died = match death {
        Death::Kill => cluster.kill(0),
        Death::Stop => cluster.pause(0),
        Death::Partition => {
            cluster.set_network(0, Way::Silent);
            Instant::now()
        }
    };
    let asked: &[usize] = if matches!(death, Death::Partition) { &[0, 1, 2] } else { &[1, 2] };
    let mut last_claim = died;
    while died.elapsed() < BOUND + WATCHED {
        for instance in asked {
            for tenant in &tenants {
                let from = Instant::now();
                if claims(&cluster.status(*instance, tenant).await) {
                    // It was true when it was read, which was after it was asked.
                    last_claim = last_claim.max(from);
                }
            }
        }
        if died.elapsed() > BOUND {
            // The streams of a stopped instance are silent: its program does not run.
            let held = if matches!(death, Death::Stop) { &tabs[TENANTS..] } else { &tabs };
            for tab in held {
                assert!(!claims(&tab.status()), "a stream still says so:\n{}", tab.story());
            }
        }
        sleep(Duration::from_millis(20)).await;
    }
    crate::quiet::within_bound("the last false claim of /status after a death", died, last_claim, BOUND);
    if matches!(death, Death::Partition) {
        assert!(tabs.iter().all(|tab| !tab.has_closed()), "no stream is dropped");
    }
}

fn claims(status: &serde_json::Value) -> bool {
    status["status"] == "connected" && status["stale"] == false
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connected_of_a_killed_owner_ends_with_its_ttl_plus_1_s() {
    let Some(_turn) = together().await else { return };
    nothing_is_claimed_after(Death::Kill).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connected_of_a_stopped_owner_ends_with_its_ttl_plus_1_s() {
    let Some(_turn) = together().await else { return };
    nothing_is_claimed_after(Death::Stop).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connected_of_an_owner_without_redis_ends_also_on_itself() {
    let Some(_turn) = together().await else { return };
    nothing_is_claimed_after(Death::Partition).await;
}
