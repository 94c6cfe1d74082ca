use serde_json::json;
use tautan::http::StoreState;

use crate::support::{Server, header, problem};

#[tokio::test]
async fn unknown_path_is_not_found() {
    let server = Server::start().await;
    for path in [
        "/api",
        "/api/whatsapp",
        "/api/whatsapp/",
        "/api/whatsapp/status/",
        "/api/whatsapp/STATUS",
        "/nothing",
        "//",
        "/api/whatsapp/events/toko",
        "/static",
        "/static/",
        "/static/../Cargo.toml",
        "/static/%2e%2e/Cargo.toml",
        "/static/index.html",
        "/metrics",
        "/unhealthy",
        "/local/sign-in",
    ] {
        problem(server.get(path).send().await.unwrap(), 404, "not-found").await;
    }
}

#[tokio::test]
async fn wrong_method_is_answered_with_the_allowed_ones() {
    let server = Server::start().await;
    for (method, path, allow) in [
        ("GET", "/api/whatsapp/connect", "POST"),
        ("GET", "/api/whatsapp/disconnect", "POST, DELETE"),
        ("DELETE", "/api/whatsapp/connect", "POST"),
        ("DELETE", "/api/whatsapp/passkey", "POST"),
        ("GET", "/api/whatsapp/passkey", "POST"),
        ("POST", "/api/whatsapp/events", "GET, HEAD"),
        ("PUT", "/api/whatsapp/status", "GET, HEAD"),
        ("POST", "/api/whatsapp/qr", "GET, HEAD"),
        ("POST", "/dashboard/settings/whatsapp", "GET, HEAD"),
        ("POST", "/healthz", "GET, HEAD"),
        ("BREW", "/", "GET, HEAD"),
    ] {
        let answer = server.request(method, path).send().await.unwrap();
        assert_eq!(header(&answer, "allow"), allow, "{method} {path}");
        problem(answer, 405, "method-not-allowed").await;
    }
}

#[tokio::test]
async fn readiness_follows_the_drain_and_not_the_store() {
    let server = Server::start().await;
    let ready = async || {
        let answer = server.get("/readyz").send().await.unwrap();
        (answer.status().as_u16(), answer.json::<serde_json::Value>().await.unwrap())
    };
    assert_eq!(ready().await, (200, json!({"store": "ok"})));
    server.health.set_store(StoreState::Away);
    assert_eq!(ready().await, (200, json!({"store": "away"})));
    server.health.set_store(StoreState::ReadOnly);
    assert_eq!(ready().await, (200, json!({"store": "read-only"})));
    server.health.set_store(StoreState::Ok);
    server.health.set_delivering(false);
    assert_eq!(ready().await, (503, json!({"store": "not-delivering"})));
    server.health.set_store(StoreState::Away);
    assert_eq!(ready().await, (200, json!({"store": "away"})), "a store that is away delivers to no instance");
    server.health.set_store(StoreState::Ok);
    server.health.set_delivering(true);
    server.health.drain();
    assert_eq!(ready().await, (503, json!({"store": "ok", "draining": true})));
    assert_eq!(server.get("/healthz").send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn head_answers_as_get_does_without_a_body() {
    let server = Server::start().await;
    for path in ["/healthz", "/readyz", "/dashboard/settings/whatsapp", "/static/page.js"] {
        let (get, head) = (server.get(path).send().await.unwrap(), server.request("HEAD", path).send().await.unwrap());
        assert_eq!(get.status(), head.status());
        assert_eq!(header(&get, "content-type"), header(&head, "content-type"));
        assert!(head.bytes().await.unwrap().is_empty());
    }
}
