//! Signed requests report every change to the back end, whatever fails on either side.

use std::time::{Duration, Instant};

use tautan_simulator::Phone;
use tautan_test_support::{
    Delivery, Mood, Program, Receiver, RedisServer, Settings, in_order, redis_is_installed, secret,
};

use crate::{
    stage::{NUMBER, Stage, TENANT, link, scan},
    starts::KEY,
};

const OTHER: &str = "warung-budi";
const WAITING: &str = "toko-baru";

fn newest<'a>(deliveries: &'a [Delivery], tenant: &str) -> Option<&'a Delivery> {
    deliveries.iter().rev().find(|delivery| delivery.body["tenant"] == tenant)
}

/// The final status of each tenant has arrived.
fn deliveries_until(receiver: &Receiver, last: &[(&str, &str)]) -> Vec<Delivery> {
    let said = |deliveries: &[Delivery]| {
        last.iter()
            .all(|(tenant, status)| newest(deliveries, tenant).is_some_and(|delivery| delivery.is(tenant, status)))
    };
    let deliveries = receiver.until("last word", said);
    in_order(&deliveries);
    deliveries
}

/// Links the tenant and unlinks it again.
async fn link_and_unlink(program: &Program, tenant: &str, phone: &Phone) {
    let api = program.api(tenant);
    let mut stream = link(&api, phone).await;
    api.disconnect().await;
    stream.until_status("disconnected").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_change_of_a_pairing_arrives_signed_and_in_order() {
    let (stage, receiver) = (Stage::new().await, Receiver::start());
    let mut program = receiver.deliveries_of(stage.settings()).start();
    let api = program.api(TENANT);
    let mut stream = api.events().await;
    api.connect().await;
    deliveries_until(&receiver, &[(TENANT, "qr_pending")]);
    scan(&mut stream, &stage.phone).await;
    deliveries_until(&receiver, &[(TENANT, "connected")]);
    api.disconnect().await;
    let deliveries = deliveries_until(&receiver, &[(TENANT, "disconnected")]);
    let said: Vec<_> = deliveries.iter().map(Delivery::says).collect();
    let expected = [
        ("connecting", "starting"),
        ("qr_pending", ""),
        ("connecting", "scanned"),
        ("connected", ""),
        ("disconnected", "unlinked-by-user"),
    ];
    assert_eq!(said, expected.map(|(status, reason)| (status.to_owned(), reason.to_owned())));
    let body = &deliveries[3].body;
    assert_eq!((&body["type"], &body["data"]["phoneNumber"]), (&"connection-status".into(), &NUMBER.into()));
    let mut names: Vec<_> = deliveries.iter().map(|delivery| delivery.name.clone()).collect();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), deliveries.len(), "each has a name of its own and came once");
    let sent: String = deliveries.iter().map(|delivery| delivery.text.as_str()).collect();
    assert!(!sent.contains("2@") && !sent.contains("base64"), "{sent}");
    program.terminate();
    let (code, output) = program.ended();
    assert_eq!(code, Some(0), "{output}");
    for hidden in [&secret()[6..], "hunter2", NUMBER] {
        assert!(!output.contains(hidden), "{hidden} in {output}");
    }
}

/// Several tenants change while the receiver is down for this long: each tenant's final status arrives.
async fn outage(lasts: Duration) {
    let (stage, receiver) = (Stage::new().await, Receiver::start());
    let program = receiver.deliveries_of(stage.settings()).start();
    let waiting = program.api(WAITING);
    waiting.connect().await;
    deliveries_until(&receiver, &[(WAITING, "qr_pending")]);
    receiver.is(Mood::Down);
    let down_since = Instant::now();
    let _linked = link(&program.api(TENANT), &stage.phone).await;
    let phone = stage.simulator.phone("6289876543210", "Warung Budi");
    link_and_unlink(&program, OTHER, &phone).await;
    receiver.is(Mood::Answers(500));
    receiver.refuses(3);
    // A redirect is no delivery either.
    receiver.is(Mood::Answers(307));
    receiver.refuses(1);
    while down_since.elapsed() < lasts {
        receiver.refuses(1);
    }
    receiver.is(Mood::Takes);
    // Its codes may be used up by the time the others' turn comes.
    waiting.disconnect().await;
    deliveries_until(&receiver, &[(TENANT, "connected"), (OTHER, "disconnected"), (WAITING, "disconnected")]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn receiver_that_was_down_gets_final_states_in_order() {
    outage(Duration::from_secs(4)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes two minutes: `make long`"]
async fn receiver_down_for_a_minute_gets_final_states_in_order() {
    outage(Duration::from_secs(60)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn receiver_with_retry_after_is_given_that_time() {
    // By itself the program would be back after a second at most.
    const ASKED: u64 = 4;
    for status in [429, 503] {
        let (stage, receiver) = (Stage::new().await, Receiver::start());
        receiver.is(Mood::IsBusy(status, ASKED));
        let program = receiver.deliveries_of(stage.settings()).start();
        program.api(TENANT).connect().await;
        receiver.has_refused();
        let busy_since = Instant::now();
        receiver.is(Mood::Takes);
        deliveries_until(&receiver, &[(TENANT, "qr_pending")]);
        // It was refused a moment before this was seen.
        let left_alone = busy_since.elapsed();
        assert!(left_alone > Duration::from_secs(ASKED - 1), "{status}: {left_alone:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn webhook_of_before_a_kill_is_delivered_after_the_restart() {
    let (stage, receiver) = (Stage::new().await, Receiver::start());
    let settings = || receiver.deliveries_of(stage.settings());
    let mut program = settings().start();
    receiver.is(Mood::Down);
    link_and_unlink(&program, TENANT, &stage.phone).await;
    program.kill();
    stage.until_disconnected().await;
    receiver.is(Mood::Takes);
    assert!(receiver.deliveries().is_empty());
    let mut program = settings().start();
    let deliveries = deliveries_until(&receiver, &[(TENANT, "disconnected")]);
    assert_eq!(deliveries.len(), 1, "the newest alone");
    program.terminate();
    assert!(program.wait().success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hanging_receiver_delays_no_session_and_no_other_tenant() {
    let (stage, receiver) = (Stage::new().await, Receiver::start());
    let program = receiver.deliveries_of(stage.settings()).start();
    receiver.is(Mood::HangsFor(TENANT));
    let _linked = link(&program.api(TENANT), &stage.phone).await;
    receiver.has_refused();
    let phone = stage.simulator.phone("6289876543210", "Warung Budi");
    let begun = Instant::now();
    link_and_unlink(&program, OTHER, &phone).await;
    let deliveries = deliveries_until(&receiver, &[(OTHER, "disconnected")]);
    assert!(begun.elapsed() < Duration::from_secs(10), "before the hung one is given up");
    assert!(newest(&deliveries, TENANT).is_none());
    receiver.is(Mood::Takes);
    deliveries_until(&receiver, &[(TENANT, "connected")]);
}

/// One tenant of many was deleted in the back end, which answers 410 for it and goes on taking all others'.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_tenant_that_is_gone_stops_its_own_webhooks_only() {
    let (stage, receiver) = (Stage::new().await, Receiver::start());
    let mut program = receiver.deliveries_of(stage.settings()).start();
    receiver.is(Mood::GoneFor(TENANT));
    let api = program.api(TENANT);
    api.connect().await;
    receiver.has_refused();
    let line = program.wait_for_line("410 Gone");
    assert!(line.contains(TENANT), "{line}");
    let phone = stage.simulator.phone("6289876543210", "Warung Budi");
    let _linked = link(&program.api(OTHER), &phone).await;
    deliveries_until(&receiver, &[(OTHER, "connected")]);
    receiver.is(Mood::Takes);
    api.disconnect().await;
    program.api(OTHER).disconnect().await;
    let deliveries = deliveries_until(&receiver, &[(OTHER, "disconnected")]);
    assert!(newest(&deliveries, TENANT).is_none(), "for a day: {deliveries:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn receiver_that_is_gone_for_several_tenants_gets_nothing() {
    let (stage, receiver) = (Stage::new().await, Receiver::start());
    let mut program = receiver.deliveries_of(stage.settings()).start();
    receiver.is(Mood::Answers(410));
    for tenant in [TENANT, WAITING, "toko-lama"] {
        program.api(tenant).connect().await;
    }
    program.wait_for_line("several tenants in a row");
    receiver.is(Mood::Takes);
    let _linked = link(&program.api(OTHER), &stage.phone).await;
    program.terminate();
    assert!(program.wait().success());
    assert!(receiver.deliveries().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_instance_delivers_what_a_killed_one_could_not() {
    if !redis_is_installed() {
        return;
    }
    let (stage, receiver, redis) = (Stage::new().await, Receiver::start(), RedisServer::start());
    let settings = || -> Settings {
        let shared = stage.settings().with("REDIS_URL", &redis.url()).with("TAUTAN_ENCRYPTION_KEY", KEY);
        receiver.deliveries_of(shared)
    };
    let mut owner = settings().start();
    receiver.is(Mood::Down);
    link_and_unlink(&owner, TENANT, &stage.phone).await;
    let mut other = settings().start();
    owner.kill();
    receiver.is(Mood::Takes);
    deliveries_until(&receiver, &[(TENANT, "disconnected")]);
    let phone = stage.simulator.phone("6289876543210", "Warung Budi");
    let third = settings().start();
    link_and_unlink(&third, OTHER, &phone).await;
    let deliveries = deliveries_until(&receiver, &[(OTHER, "disconnected")]);
    let mut names: Vec<_> = deliveries.iter().map(|delivery| &delivery.name).collect();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), deliveries.len(), "nothing is sent twice where nothing goes wrong");
    other.terminate();
    assert!(other.wait().success());
}
