//! The phone goes on notifying its owner although a device is linked, and the device stays small.

use std::time::Duration;

use tautan_test_support::DEADLINE;

use crate::stage::{Stage, TENANT, link};

/// How long the phone may show no notifications after each login.
const SILENCE_MAX: Duration = Duration::from_secs(1);
/// After this time no presence of a login is sent any more.
const SENT_WITHIN: Duration = Duration::from_millis(2_500);

/// The presences that the device sent before its newest login, and for how long it was available.
#[derive(Default)]
struct Before {
    unavailable: u64,
    silence: Duration,
}

async fn is_hushed(stage: &Stage, login: &str, before: Before) -> Before {
    let device = stage.device();
    let hushed = stage.simulator.wait_until(DEADLINE, |simulator| {
        simulator.presence(device).unavailable > before.unavailable && !simulator.is_available(device)
    });
    hushed.await.expect("it sends unavailable");
    tokio::time::sleep(SENT_WITHIN).await;
    assert!(!stage.simulator.is_available(device), "{login}: whatever was said later");
    let silence = stage.simulator.available_for(device);
    println!("{login}: the phone was kept silent for {:?}", silence - before.silence);
    assert!(silence - before.silence < SILENCE_MAX, "{login}: {:?}", silence - before.silence);
    Before { unavailable: stage.simulator.presence(device).unavailable, silence }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_every_login_the_phone_is_left_to_notify_its_owner() {
    let stage = Stage::new().await;
    let mut program = stage.start();
    let api = program.api(TENANT);
    let mut stream = link(&api, &stage.phone).await;
    let linked = is_hushed(&stage, "the first login", Before::default()).await;
    assert!(stage.simulator.cut(stage.device()));
    stream.until_status("connecting").await;
    stream.until_status("connected").await;
    let back = is_hushed(&stage, "after a cut", linked).await;
    program.kill();
    let program = stage.start();
    program.api(TENANT).events().await.until_status("connected").await;
    is_hushed(&stage, "after a restart", back).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn linked_device_offers_few_one_time_keys() {
    let stage = Stage::new().await;
    let program = stage.start();
    let _stream = link(&program.api(TENANT), &stage.phone).await;
    let device = stage.device();
    let offered = stage.simulator.wait_until(DEADLINE, |simulator| simulator.one_time_keys(device) > 0);
    offered.await.expect("it offers some");
    assert_eq!(stage.simulator.one_time_keys(device), 30, "the library's own number is 812");
}
