//! Many webhooks that are due together: what they cost Redis, and what an instance that dies, or a receiver that hangs, does
//! to them.

use std::{collections::HashSet, ops::Range, time::Duration};

use tautan_test_support::{Mood, Receiver, in_order, within};
use tokio::time::{Instant, sleep};

use crate::{
    quiet::{alone, together},
    stage::{Cluster, Setup},
    trips::Count,
};

const EACH_MAX: usize = 3;
const BURST: usize = 100;
/// Deliveries at once: so many may be repeated after a kill.
const AT_ONCE: usize = 32;

fn tenants(range: Range<usize>) -> Vec<String> {
    range.map(|at| format!("idle-{at}")).collect()
}

/// Each of so many tenants has a webhook that the receiver refused, to be tried again in minutes. From now on it takes them.
async fn with_waiting(instances: usize, number: usize) -> (Receiver, Cluster) {
    let receiver = Receiver::start();
    receiver.is(Mood::IsBusy(503, 300));
    let variables = receiver.variables();
    let setup = variables.iter().fold(Setup::of(instances), |setup, (name, value)| setup.with(name, value));
    let cluster = setup.start().await;
    cluster.connect_stubs(&tenants(0..number)).await;
    until_waiting(&cluster, number).await;
    receiver.is(Mood::Takes);
    (receiver, cluster)
}

/// How many webhooks wait whose turn is further away than a minute.
fn waiting(cluster: &Cluster) -> usize {
    const SCRIPT: &str = "local now = redis.call('TIME')[1] * 1000 \
                          return redis.call('ZCOUNT', 'tautan:{0}:outbox', now + 60000, '+inf')";
    let answer = cluster.redis.ask(&["EVAL", SCRIPT, "0"]);
    let text = String::from_utf8_lossy(&answer).into_owned();
    text.lines().next().and_then(|line| line.strip_prefix(':')?.parse().ok()).unwrap_or_default()
}

async fn until_waiting(cluster: &Cluster, number: usize) {
    within("the webhooks wait", async {
        while waiting(cluster) != number {
            sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

/// The webhooks of these tenants are due at once.
fn due(cluster: &Cluster, range: Range<usize>) {
    let each = tenants(range).into_iter().map(|tenant| {
        format!(
            "redis.call('HSET', 'tautan:{{0}}:{{{tenant}}}', 'outbox_due', '0') redis.call('ZADD', KEYS[1], 0, '{tenant}') "
        )
    });
    let script = each.collect::<String>();
    assert!(!cluster.redis.ask(&["EVAL", &script, "1", "tautan:{0}:outbox"]).starts_with(b"-"));
}

/// So many are left in the index, those under way included.
async fn until_left(cluster: &Cluster, number: usize) {
    let left = || cluster.redis.ask(&["ZCARD", "tautan:{0}:outbox"]);
    within("the others are settled", async {
        while left() != format!(":{number}\r\n+OK\r\n").as_bytes() {
            sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

/// The number of commands until the webhooks of these tenants, which are due now, are delivered and settled.
async fn cost(count: &Count<'_>, receiver: &Receiver, range: Range<usize>) -> usize {
    let (before, waited, number) = (receiver.deliveries().len(), waiting(count.cluster), range.len());
    count.begin();
    due(count.cluster, range);
    receiver.until("webhooks", |deliveries| deliveries.len() >= before + number);
    until_left(count.cluster, waited - number).await;
    count.sent("{idle-")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn webhook_costs_three_commands_and_less_in_a_burst() {
    let Some(_turn) = alone().await else { return };
    let (receiver, cluster) = with_waiting(1, BURST + 2).await;
    let count = Count::on(&cluster).await;
    // Redis has loaded each script after it.
    cost(&count, &receiver, BURST + 1..BURST + 2).await;
    let one = cost(&count, &receiver, BURST..BURST + 1).await;
    let burst = cost(&count, &receiver, 0..BURST).await;
    println!("FIGURE commands to Redis: {one} for a webhook, {burst} for {BURST} that are due together");
    assert!(one <= EACH_MAX, "{one} for one");
    assert!(burst <= BURST / 2, "{burst} for {BURST}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batch_of_a_killed_instance_is_delivered_by_another() {
    let Some(_turn) = together().await else { return };
    let (receiver, mut cluster) = with_waiting(2, BURST).await;
    cluster.pause(1);
    let begun = Instant::now();
    due(&cluster, 0..BURST);
    receiver.until("some webhooks", |deliveries| deliveries.len() >= 10);
    cluster.kill(0);
    cluster.resume(1);
    let in_hand = tenants(0..BURST).iter().filter(|tenant| cluster.record(tenant, "outbox_claim").is_some()).count();
    assert!(in_hand > 0, "it died with a batch in its hand");
    let deliveries = receiver.until("every webhook", |deliveries| {
        let known: HashSet<_> = deliveries.iter().map(|delivery| delivery.body["tenant"].to_string()).collect();
        known.len() == BURST
    });
    println!("FIGURE all webhooks of a killed instance are delivered after {:.1} s", begun.elapsed().as_secs_f64());
    in_order(&deliveries);
    let names: HashSet<_> = deliveries.iter().map(|delivery| &delivery.name).collect();
    let repeated = deliveries.len() - names.len();
    assert!(repeated <= AT_ONCE, "{repeated} were repeated, {in_hand} were in its hand");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tenant_that_hangs_holds_up_no_other_of_its_batch() {
    let Some(_turn) = together().await else { return };
    const TENANTS: usize = 40;
    let (receiver, cluster) = with_waiting(1, TENANTS).await;
    receiver.is(Mood::HangsFor("idle-0"));
    let begun = Instant::now();
    due(&cluster, 0..TENANTS);
    until_left(&cluster, 1).await;
    // Before the hung one is given up.
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    let api = cluster.api(0, "idle-1");
    api.disconnect().await;
    let ended = |deliveries: &[tautan_test_support::Delivery]| {
        deliveries.iter().any(|delivery| delivery.is("idle-1", "disconnected"))
    };
    receiver.until("the next status of another tenant", ended);
    assert!(begun.elapsed() < Duration::from_secs(9), "{:?}", begun.elapsed());
    receiver.is(Mood::Takes);
    let deliveries =
        receiver.until("the hung one", |deliveries| deliveries.iter().any(|one| one.body["tenant"] == "idle-0"));
    in_order(&deliveries);
}
