use serde_json::Value;
use tautan_test_support::read_png;

use crate::support::{Server, header, problem};

const QR: &str = "/api/whatsapp/qr";
const TEXT: &str = "2@hZtWJ2Kp0B7yQ0m1S9dXbnVqTq0rUuCw4Gk8FZ1yY2o3a5c7e9gBiDkFmHoJqLsNuPwRyTzV,3q2+7wAA=,3q2+7wAA=,9";

#[tokio::test]
async fn qr_code_has_the_requested_format() {
    let server = Server::start().await;
    let owner = server.own("toko").await;
    owner.show_qr(TEXT, 60).await;
    let (text, png, svg, json) = ("text/plain; charset=utf-8", "image/png", "image/svg+xml", "application/json");
    for (accept, kind) in [
        ("*/*", text),
        ("text/plain", text),
        ("text/*", text),
        ("text/plain; charset=utf-8", text),
        ("application/json;charset=UTF-8", json),
        ("image/png", png),
        ("image/*", png),
        ("image/avif,image/webp,image/*;q=0.9,*/*;q=0.8", png),
        ("image/svg+xml", svg),
        ("image/svg+xml, image/png;q=0.5", svg),
        ("application/json", json),
        ("application/json;q=0.9, text/plain;q=0.1", json),
        ("image/png;q=0, image/*", svg),
        ("text/html, application/json", json),
        ("application/*", json),
        ("nonsense", text),
        ("", text),
    ] {
        let answer = server.get(QR).bearer_auth(server.token("toko")).header("accept", accept).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{accept}");
        assert_eq!(header(&answer, "content-type"), kind, "{accept}");
        assert_eq!(header(&answer, "cache-control"), "no-store");
        assert!(answer.headers().get_all("vary").iter().any(|vary| vary == "Accept"));
    }
    for accept in ["text/html", "image/webp", "application/xml", "*/*;q=0", "text/plain;q=0, text/*;q=0"] {
        let answer = server.get(QR).bearer_auth(server.token("toko")).header("accept", accept).send().await.unwrap();
        problem(answer, 406, "not-acceptable").await;
    }
}

#[tokio::test]
async fn every_form_holds_the_same_code() {
    let server = Server::start().await;
    let owner = server.own("toko").await;
    owner.show_qr(TEXT, 60).await;
    let ask = async |accept: &str| {
        let request = server.get(QR).bearer_auth(server.token("toko")).header("accept", accept);
        request.send().await.unwrap().bytes().await.unwrap()
    };
    assert_eq!(read_png(&ask("image/png").await), TEXT);
    let json: Value = serde_json::from_slice(&ask("application/json").await).unwrap();
    assert_eq!(json["qrText"], TEXT);
    assert!((58..=60).contains(&json["expiresIn"].as_i64().unwrap()));
    assert_eq!(ask("*/*").await, tautan::qr::terminal(TEXT));
    assert_eq!(ask("image/svg+xml").await, tautan::qr::svg(TEXT));
}

#[tokio::test]
async fn qr_code_is_absent_before_after_and_without_an_owner() {
    let server = Server::start().await;
    let none = async |tenant: &str| {
        problem(server.get(QR).bearer_auth(server.token(tenant)).send().await.unwrap(), 404, "no-qr").await;
    };
    none("toko").await;
    let owner = server.own("toko").await;
    none("toko").await;
    owner.show_qr(TEXT, 60).await;
    none("another").await;
    server.clock.advance(60);
    none("toko").await;
    owner.show_qr("fresh", 60).await;
    let answer = server.get(QR).bearer_auth(server.token("toko")).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    owner.leave().await;
    none("toko").await;
}
