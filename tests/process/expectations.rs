//! Whose phone a link may be of, and how the phone lists it.

use serde_json::json;
use tautan_simulator::{Fault, Phone};
use tautan_test_support::{
    Api, DEADLINE, Event, EventStream, Program, RedisServer, Settings, redis_is_installed, token_with,
};

use crate::{
    endings::is_forgotten,
    redis::on,
    stage::{NUMBER, Stage, TENANT, link, scan},
    starts::KEY,
};

/// A phone of another account than the expected one.
fn stranger(stage: &Stage) -> Phone {
    stage.simulator.phone("6281234567891", "Warung")
}

/// Receives events until the end: none of them may show a link.
async fn is_refused(stream: &mut EventStream, phone: &Phone) {
    let is_over = |event: &Event| event.is_status("connected") || event.is_status("disconnected");
    let ended = stream.until("a connection or an end", is_over).await;
    assert_eq!((&ended.data["reason"], &ended.data["retryable"]), (&json!("other-account"), &json!(true)), "{ended:?}");
    assert_eq!((ended.data.get("remote"), &ended.data["phoneNumber"]), (None, &json!(null)), "{ended:?}");
    assert_eq!(phone.devices(), [], "the device was removed from the phone");
}

/// The back end expects a number, and another phone has scanned and was refused.
async fn refused(stage: &Stage, program: &Program) -> (Phone, EventStream) {
    let (api, other) = (program.api(TENANT), stranger(stage));
    let mut stream = api.events().await;
    api.connect_expecting(NUMBER).await;
    scan(&mut stream, &other).await;
    is_refused(&mut stream, &other).await;
    (other, stream)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn phone_of_another_account_is_refused_and_lists_nothing() {
    let stage = Stage::new().await;
    let program = stage.start();
    let (other, mut stream) = refused(&stage, &program).await;
    let api = program.api(TENANT);

    // The page asks for another code, and the expectation stays.
    api.connect().await;
    scan(&mut stream, &other).await;
    is_refused(&mut stream, &other).await;
    api.connect().await;
    scan(&mut stream, &stage.phone).await;
    assert_eq!(stream.until_status("connected").await.text("phoneNumber"), NUMBER);
    stage.proves_device().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn credentials_of_a_refused_account_are_erased() {
    let stage = Stage::new().await;
    let program = stage.start();
    let (_other, _stream) = refused(&stage, &program).await;
    is_forgotten(&stage, program).await;
}

/// A phone of another account has scanned, and the process dies before the login.
async fn dies_after_the_scan(stage: &Stage, api: &Api, other: &Phone, program: &mut Program) {
    stage.simulator.faults().set_times(Fault::SilentPairing, 1);
    let mut stream = api.events().await;
    api.connect_expecting(NUMBER).await;
    scan(&mut stream, other).await;
    stream.until("the scan", |event| event.data["reason"] == "scanned").await;
    program.kill();
    assert_eq!(stage.simulator.faults().consumed(Fault::SilentPairing), 1);
    assert_eq!(other.devices().len(), 1, "the phone lists the device now");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn expectation_holds_over_a_crash_after_the_scan() {
    let stage = Stage::new().await;
    let (mut program, other) = (stage.start(), stranger(&stage));
    dies_after_the_scan(&stage, &program.api(TENANT), &other, &mut program).await;
    let program = stage.start();
    is_refused(&mut program.api(TENANT).events().await, &other).await;
    is_forgotten(&stage, program).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn expectation_holds_over_a_takeover() {
    if !redis_is_installed() {
        return;
    }
    let (stage, server) = (Stage::new().await, RedisServer::start());
    let other = stranger(&stage);
    let mut first = on(&stage, &server.url(), KEY).start();
    let api = first.api(TENANT);
    dies_after_the_scan(&stage, &api, &other, &mut first).await;
    let second = on(&stage, &server.url(), KEY).start();
    is_refused(&mut second.api(TENANT).events().await, &other).await;
    second.api(TENANT).connect().await;
    let mut stream = second.api(TENANT).events().await;
    scan(&mut stream, &stage.phone).await;
    stream.until_status("connected").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn expectation_holds_over_windows_of_codes() {
    let stage = Stage::new().await;
    let other = stranger(&stage);
    let program = stage.settings().with("SIM_QR_PACE", "0.05").with("TAUTAN_QR_WINDOWS", "1").start();
    let api = program.api(TENANT);
    let mut stream = api.events().await;
    api.connect_expecting(NUMBER).await;
    stream.until("the end of the window", |event| event.data["reason"] == "qr-expired").await;
    api.connect().await;
    scan(&mut stream, &other).await;
    is_refused(&mut stream, &other).await;
}

/// Without WhatsApp the device cannot be removed, and the page says so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unreachable_whatsapp_leaves_a_device_that_is_named() {
    let stage = Stage::new().await;
    let (mut program, other) = (stage.start(), stranger(&stage));
    dies_after_the_scan(&stage, &program.api(TENANT), &other, &mut program).await;
    stage.simulator.unreachable(true);
    let program = stage.start();
    let mut stream = program.api(TENANT).events().await;
    let ended = stream.until_status("disconnected").await;
    assert_eq!((&ended.data["reason"], &ended.data["remote"]), (&json!("other-account"), &json!(false)), "{ended:?}");
    assert_eq!(other.devices().len(), 1);
}

/// How the phone lists the link of a tenant whose token has these claims.
async fn listed_as(stage: &Stage, settings: Settings, claims: serde_json::Value) -> String {
    let program = settings.start();
    let mut token = json!({ "id": TENANT, "exp": 4_000_000_000_u64 });
    token.as_object_mut().expect("an object").extend(claims.as_object().cloned().expect("an object"));
    let api = Api::with_token(program.base(), &token_with(token));
    let mut stream = link(&api, &stage.phone).await;
    let name = stage.phone.name_of(stage.device()).expect("it is listed");
    api.disconnect().await;
    stream.until_status("disconnected").await;
    let unlisted = stage.simulator.wait_until(DEADLINE, |_| stage.phone.devices().is_empty()).await;
    unlisted.expect("the phone lists it no longer");
    name
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn phone_lists_the_link_by_the_configured_name() {
    let stage = Stage::new().await;
    assert_eq!(listed_as(&stage, stage.settings(), json!({"shop": "Toko Sari"})).await, "Tautan");
    let named = || stage.settings().with("TAUTAN_DEVICE_NAME", "Kasir");
    assert_eq!(listed_as(&stage, named(), json!({})).await, "Kasir");
    let by_claim = || named().with("TAUTAN_DEVICE_NAME_CLAIM", "shop");
    assert_eq!(listed_as(&stage, by_claim(), json!({"shop": "Toko Sari"})).await, "Toko Sari");
    assert_eq!(listed_as(&stage, by_claim(), json!({"shop": "x".repeat(41)})).await, "Kasir", "it is too long");
}
