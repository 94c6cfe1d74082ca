//! WhatsApp asks some accounts for a passkey between the scan and the link.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tautan_simulator::{DeviceId, Passkey, ScanError};
use tautan_test_support::{Api, Event, EventStream, Program, RedisServer, redis_is_installed, within};
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

use crate::{
    redis::on,
    stage::{NUMBER, Stage, TENANT, link},
    starts::KEY,
};

struct Scanned {
    stage: Stage,
    program: Program,
    api: Api,
    stream: EventStream,
    passkey: Passkey,
    scan: JoinHandle<Result<DeviceId, ScanError>>,
    /// The step that the page received.
    asked: Event,
}

/// An account that asks for a passkey has scanned the page's code.
async fn scanned(pace: &str) -> Scanned {
    let stage = Stage::new().await;
    let program = stage.settings().with("SIM_QR_PACE", pace).start();
    scanned_at(stage, program).await
}

async fn scanned_at(stage: Stage, program: Program) -> Scanned {
    let passkey = stage.phone.asks_for_passkey();
    let api = program.api(TENANT);
    let mut stream = api.events().await;
    api.connect().await;
    let qr = stream.until_qr().await;
    let phone = stage.phone.clone();
    let scan = TaskTracker::new().spawn(async move { phone.scan(qr.text("qrText")).await });
    let status = stream.until("the passkey", |event| event.data["reason"] == "passkey-required").await;
    assert!(status.is_status("connecting"));
    let asked = stream.until("what is asked", |event| event.name == "passkey-required").await;
    Scanned { stage, program, api, stream, passkey, scan, asked }
}

async fn answer(api: &Api, body: &Value) -> (StatusCode, Value) {
    let sent = within("the answer", api.ask(Method::POST, "passkey").json(body).send()).await.expect("an answer");
    let status = sent.status();
    (status, sent.json().await.expect("JSON"))
}

/// The second one may come too late to be taken.
async fn twice(api: &Api, body: &Value) {
    let (first, second) = tokio::join!(answer(api, body), answer(api, body));
    assert!([first.0, second.0].contains(&StatusCode::ACCEPTED), "{first:?} {second:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn passkey_and_equal_codes_link_the_account() {
    let Scanned { stage, program: _program, api, mut stream, passkey, scan, asked } = scanned("1").await;
    assert_eq!((asked.text("step"), &asked.data["options"]["rpId"]), ("assert", &json!("web.whatsapp.com")));
    let left = asked.data["expiresIn"].as_u64().expect("seconds");
    assert!((100..=160).contains(&left), "what is left of WhatsApp's window: {left}");
    // A page that is opened now shows the step as well.
    let late = api.events().await.until("what is asked", |event| event.name == "passkey-required").await;
    assert_eq!(late.data["options"], asked.data["options"]);

    let early = answer(&api, &json!({ "confirmed": true })).await;
    assert_eq!((early.0, &early.1["code"]), (StatusCode::CONFLICT, &json!("passkey-not-asked")));
    let assertion = passkey.assertion(&asked.data["options"]);
    // A second click or a second tab must not send another answer.
    twice(&api, &json!({ "assertion": assertion })).await;
    let compare = stream.until("the code", |event| event.data["step"] == "compare").await;
    assert_eq!(stage.phone.passkey_code().as_deref(), Some(compare.text("code")));
    assert_eq!(stage.phone.devices(), [], "nothing is linked before the owner has compared");
    twice(&api, &json!({ "confirmed": true })).await;
    let connected = stream.until_status("connected").await;
    assert_eq!(connected.text("phoneNumber"), NUMBER);
    within("the scan", scan).await.expect("no panic").expect("linked");
    stage.proves_device().await;
    assert_eq!(answer(&api, &json!({ "confirmed": true })).await.0, StatusCode::CONFLICT, "it is over");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn passkey_answer_reaches_the_owner_from_another_instance() {
    if !redis_is_installed() {
        return;
    }
    let (stage, server) = (Stage::new().await, RedisServer::start());
    let owner = on(&stage, &server.url(), KEY).start();
    // Started later, so that the session does not run there.
    let Scanned { stage, program: _owner, passkey, scan, asked, .. } = scanned_at(stage, owner).await;
    let other = on(&stage, &server.url(), KEY).start();
    let api = other.api(TENANT);
    let mut stream = api.events().await;
    let early = answer(&api, &json!({ "confirmed": true })).await;
    assert_eq!((early.0, &early.1["code"]), (StatusCode::CONFLICT, &json!("passkey-not-asked")));
    let assertion = passkey.assertion(&asked.data["options"]);
    let taken = answer(&api, &json!({ "assertion": assertion })).await;
    assert_eq!((taken.0, &taken.1["reason"]), (StatusCode::ACCEPTED, &json!("passkey-required")));
    let compare = stream.until("the code", |event| event.data["step"] == "compare").await;
    assert_eq!(stage.phone.passkey_code().as_deref(), Some(compare.text("code")));
    assert_eq!(answer(&api, &json!({ "confirmed": true })).await.0, StatusCode::ACCEPTED);
    stream.until_status("connected").await;
    within("the scan", scan).await.expect("no panic").expect("linked");
    stage.proves_device().await;
    assert_eq!(stage.simulator.double_logins(stage.device()), 0, "no other instance took the session over");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn foreign_passkey_fails_the_pairing_and_the_next_one_works() {
    let Scanned { stage, mut program, api, mut stream, passkey, scan, asked } = scanned("1").await;
    let foreign = stage.simulator.phone("6289876543210", "Budi").asks_for_passkey();
    answer(&api, &json!({ "assertion": foreign.assertion(&asked.data["options"]) })).await;
    let ended = stream.until_status("disconnected").await;
    assert_eq!((ended.text("reason"), &ended.data["retryable"]), ("pairing-failed", &json!(true)));
    assert_eq!(within("the scan", scan).await.expect("no panic"), Err(ScanError::PasskeyRefused));

    assert_eq!(stage.credentials_after(&mut program), 0);
    let program = stage.start();
    let api = program.api(TENANT);
    let mut stream = api.events().await;

    // A new step has another challenge.
    api.connect().await;
    let qr = stream.until_qr().await;
    let phone = stage.phone.clone();
    let _scan = TaskTracker::new().spawn(async move { phone.scan(qr.text("qrText")).await });
    let again = stream.until("what is asked", |event| event.name == "passkey-required").await;
    assert_ne!(again.data["options"]["challenge"], asked.data["options"]["challenge"]);
    answer(&api, &json!({ "assertion": passkey.assertion(&again.data["options"]) })).await;
    stream.until("the code", |event| event.data["step"] == "compare").await;
    answer(&api, &json!({ "confirmed": true })).await;
    stream.until_status("connected").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn passkey_timeout_is_published_and_the_next_connect_works() {
    // The window is over after 8 s.
    let Scanned { stage, mut program, api, mut stream, .. } = scanned("0.05").await;
    let ended = stream.until_status("disconnected").await;
    assert_eq!((ended.text("reason"), &ended.data["retryable"]), ("passkey-timeout", &json!(true)));
    assert_eq!(stage.phone.devices(), []);
    assert_eq!(answer(&api, &json!({ "confirmed": true })).await.0, StatusCode::CONFLICT);
    assert_eq!(stage.credentials_after(&mut program), 0);
    // Another account, which is not asked for one.
    let other = stage.simulator.phone("6289876543210", "Budi");
    link(&stage.start().api(TENANT), &other).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn passkey_step_of_a_dead_owner_starts_with_a_new_code() {
    let Scanned { stage, mut program, stream, .. } = scanned("1").await;
    program.kill();
    let program = stage.start();
    let mut stream = program.api(TENANT).events_after(stream.last_id.as_deref()).await;
    stream.until_qr().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_passkey_answer_is_refused_with_a_reason() {
    let Scanned { stage: _stage, program: _program, api, asked, passkey, .. } = scanned("1").await;
    let mut unsigned = passkey.assertion(&asked.data["options"]);
    unsigned["response"]["signature"] = Value::Null;
    for bad in [json!({}), json!({ "confirmed": false }), json!({ "assertion": "x" }), json!({ "assertion": unsigned })]
    {
        let (status, problem) = answer(&api, &bad).await;
        assert_eq!((status, &problem["code"]), (StatusCode::BAD_REQUEST, &json!("bad-passkey")), "{bad}");
    }
}
