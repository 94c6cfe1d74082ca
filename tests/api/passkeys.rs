//! The passkey step over HTTP. `tests/process` has the whole step with the simulator.

use serde_json::{Value, json};
use tautan::events::{ConnectingReason, PairingId, Passkey, PasskeyStep, Status};

use crate::support::{Owner, Server, problem};

const PASSKEY: &str = "/api/whatsapp/passkey";

async fn asks(owner: &Owner<'_>, server: &Server, step: PasskeyStep, seconds: i64) {
    let expires_at = server.clock.after(seconds);
    owner
        .publish(Status::passkey_required(Passkey { step, expires_at, lifetime: None, pairing: PairingId::new(1) }))
        .await;
}

async fn answer(server: &Server, body: Value) -> reqwest::Response {
    server.post(PASSKEY).bearer_auth(server.token("toko")).json(&body).send().await.unwrap()
}

#[tokio::test]
async fn passkey_answer_is_refused_when_no_step_is_open() {
    let server = Server::start().await;
    problem(server.post(PASSKEY).send().await.unwrap(), 401, "missing-token").await;
    problem(answer(&server, json!({ "confirmed": true })).await, 409, "passkey-not-asked").await;
    let owner = server.own("toko").await;
    owner.show_qr("one", 60).await;
    problem(answer(&server, json!({ "confirmed": true })).await, 409, "passkey-not-asked").await;
    asks(&owner, &server, PasskeyStep::Assert { options: "{}".into() }, 60).await;
    problem(answer(&server, json!({ "confirmed": true })).await, 409, "passkey-not-asked").await;
    asks(&owner, &server, PasskeyStep::Compare { code: "ABCD-1234".into() }, 0).await;
    problem(answer(&server, json!({ "confirmed": true })).await, 409, "passkey-not-asked").await;
}

/// Its user has compared the code of a window that is over: the one that is asked for now may be somebody else's.
#[tokio::test]
async fn passkey_answer_to_another_window_is_refused() {
    let server = Server::start().await;
    let owner = server.own("toko").await;
    asks(&owner, &server, PasskeyStep::Compare { code: "ABCD-1234".into() }, 60).await;
    for other in [json!("0000000000000002"), json!("1"), json!(1)] {
        let late = answer(&server, json!({ "confirmed": true, "pairing": other })).await;
        problem(late, 409, "passkey-not-asked").await;
    }
    for same in [json!("0000000000000001"), Value::Null] {
        assert_eq!(answer(&server, json!({ "confirmed": true, "pairing": same })).await.status(), 202);
    }
    assert_eq!(owner.hears().await, 2);
}

#[tokio::test]
async fn passkey_answer_is_passed_to_an_owner_elsewhere() {
    let server = Server::start().await;
    let owner = server.own("toko").await;
    asks(&owner, &server, PasskeyStep::Compare { code: "ABCD-1234".into() }, 60).await;
    let taken = answer(&server, json!({ "confirmed": true })).await;
    assert_eq!(taken.status(), 202);
    assert_eq!(taken.json::<Value>().await.unwrap()["reason"], "passkey-required");
    assert_eq!(owner.hears().await, 1);
}

#[tokio::test]
async fn passkey_step_is_sent_with_its_options_and_time_left() {
    let server = Server::start().await;
    let owner = server.own("toko").await;
    asks(&owner, &server, PasskeyStep::Assert { options: r#"{"challenge":"x"}"#.into() }, 100).await;
    let mut stream = server.stream("toko").await;
    let (status_id, status) = stream.expect("connection-status").await;
    assert_eq!((&status["status"], &status["reason"]), (&json!("connecting"), &json!("passkey-required")));
    let (asked_id, mut asked) = stream.expect("passkey-required").await;
    assert!(asked_id.is_some() && status_id.is_none(), "the id is on the last of the two");
    assert!(asked["expiresAt"].take().is_string());
    assert!((98..=100).contains(&asked["expiresIn"].take().as_i64().expect("seconds")));
    let rest = json!({"step": "assert", "options": {"challenge": "x"}, "expiresIn": null, "expiresAt": null,
        "pairing": "0000000000000001"});
    assert_eq!(asked, rest);

    // The newest step replaces earlier ones: a reconnecting reader receives only the newest.
    let first = asked_id.expect("it has one");
    asks(&owner, &server, PasskeyStep::Compare { code: "ABCD-1234".into() }, 90).await;
    owner.publish(Status::connecting(ConnectingReason::Scanned, None)).await;
    let mut back = server.stream_after("toko", &first).await;
    for reason in ["passkey-required", "scanned"] {
        assert_eq!(back.expect("connection-status").await.1["reason"], reason);
    }
}
