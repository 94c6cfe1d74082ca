//! The phone goes on notifying its owner although a device is linked, and the device stays small.

use std::time::Duration;

use tautan_test_support::DEADLINE;

use crate::stage::{Stage, TENANT, link};

/// What the phone may be kept silent for after each login.
const SILENCE_MAX: Duration = Duration::from_secs(1);

async fn is_hushed(stage: &Stage, logins: u32) {
    let device = stage.device();
    let hushed = stage.simulator.wait_until(DEADLINE, |simulator| {
        simulator.presence(device).unavailable >= u64::from(logins) && !simulator.is_available(device)
    });
    hushed.await.expect("it says that nobody is there");
    let silence = stage.simulator.available_for(device);
    println!("after {logins} logins the phone was kept silent for {silence:?}");
    assert!(silence < SILENCE_MAX * logins, "{silence:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_every_login_the_phone_is_left_to_notify_its_owner() {
    let stage = Stage::new().await;
    let mut program = stage.start();
    let api = program.api(TENANT);
    let mut stream = link(&api, &stage.phone).await;
    is_hushed(&stage, 1).await;
    assert!(stage.simulator.cut(stage.device()));
    stream.until_status("connecting").await;
    stream.until_status("connected").await;
    is_hushed(&stage, 2).await;
    program.kill();
    let program = stage.start();
    program.api(TENANT).events().await.until_status("connected").await;
    is_hushed(&stage, 3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_linked_device_offers_no_more_one_time_keys_than_it_needs() {
    let stage = Stage::new().await;
    let program = stage.start();
    let _stream = link(&program.api(TENANT), &stage.phone).await;
    let device = stage.device();
    let offered = stage.simulator.wait_until(DEADLINE, |simulator| simulator.one_time_keys(device) > 0);
    offered.await.expect("it offers some");
    assert_eq!(stage.simulator.one_time_keys(device), 30, "the library's own number is 812");
}
