//! A wall clock that jumps, because of an operator, NTP or a restored machine.

use std::time::Duration;

use serde_json::{Value, json};
use tautan::events::{PairCode, PairingId, Passkey, PasskeyStep, PhoneNumber, Status};

use crate::support::Server;

/// `expiresIn`, and the seconds from the server's now to `expiresAt`.
fn left(server: &Server, data: &Value) -> (i64, i64) {
    let expires_at: tautan::clock::Timestamp = data["expiresAt"].as_str().unwrap().parse().unwrap();
    (data["expiresIn"].as_i64().unwrap(), expires_at.as_second() - server.second())
}

#[tokio::test]
async fn codes_last_no_longer_when_the_clock_is_set_back() {
    let server = Server::start().await;
    let owner = server.own("toko").await;
    let phone = PhoneNumber::parse("6281234567890").unwrap();
    let lifetime = Some(Duration::from_secs(160));
    let pair = PairCode { code: "ABCD-1234".into(), phone, expires_at: server.clock.after(160), lifetime };
    let Status::QrPending { qr, .. } = owner.qr("one", 60) else { unreachable!() };
    owner.publish(Status::QrPending { qr, pair: Some(pair) }).await;
    server.clock.advance(-3_600);
    let asked = server.get("/api/whatsapp/qr").bearer_auth(server.token("toko")).header("accept", "application/json");
    let qr: Value = asked.send().await.unwrap().json().await.unwrap();
    let (seconds, until) = left(&server, &qr);
    assert!((58..=60).contains(&seconds) && (58..=61).contains(&until), "{qr}");

    let mut stream = server.stream("toko").await;
    stream.expect("connection-status").await;
    let (_, qr) = stream.expect("qr-code").await;
    let (_, pair) = stream.expect("pair-code").await;
    for (data, lifetime) in [(qr, 60), (pair, 160)] {
        let (seconds, until) = left(&server, &data);
        assert!(
            (lifetime - 2..=lifetime).contains(&seconds) && (lifetime - 2..=lifetime + 1).contains(&until),
            "{data}"
        );
    }
}

#[tokio::test]
async fn passkey_step_lasts_no_longer_when_the_clock_is_set_back() {
    let server = Server::start().await;
    let owner = server.own("toko").await;
    let step = PasskeyStep::Assert { options: json!({}).to_string() };
    let (expires_at, lifetime) = (server.clock.after(60), Some(Duration::from_secs(60)));
    owner.publish(Status::passkey_required(Passkey { step, expires_at, lifetime, pairing: PairingId::new(1) })).await;
    server.clock.advance(-3_600);
    let mut stream = server.stream("toko").await;
    stream.expect("connection-status").await;
    let (_, data) = stream.expect("passkey-required").await;
    let (seconds, until) = left(&server, &data);
    assert!((58..=60).contains(&seconds) && (58..=61).contains(&until), "{data}");
}
