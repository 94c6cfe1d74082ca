//! How often one tenant may send each request.

use futures::future::join_all;
use serde_json::{Value, json};
use tautan::http::{Limits, Settings};
use tautan_test_support::{EventStream, Frame};

use crate::support::{Server, Setup, header, problem};

async fn connects(server: &Server, tenant: &str, count: usize) -> Vec<reqwest::Response> {
    let connects = (0..count).map(|_| server.post("/api/whatsapp/connect").bearer_auth(server.token(tenant)).send());
    join_all(connects).await.into_iter().map(Result::unwrap).collect()
}

/// One tenant that sent 2,491 commands a second had them all accepted.
#[tokio::test]
async fn commands_beyond_the_burst_are_refused_until_a_second_on() {
    let limits = Limits { commands_per_second: 1, ..Limits::default() };
    let http = Settings { limits, ..Settings::default() };
    let server = Setup { http, ..Setup::default() }.start().await;
    let (accepted, refused): (Vec<_>, Vec<_>) =
        connects(&server, "a", 40).await.into_iter().partition(|answer| answer.status() == 202);
    // One more comes back for each second that sending them takes.
    assert!((20..=22).contains(&accepted.len()), "{}", accepted.len());
    for answer in refused {
        assert_eq!(header(&answer, "retry-after"), "1");
        let detail = problem(answer, 429, "too-many-commands").await;
        assert!(detail.contains("20 commands at once, then 1 per second"), "{detail}");
    }
    let passkey = || server.post("/api/whatsapp/passkey").bearer_auth(server.token("a")).json(&json!({}));
    let mut codes = Vec::new();
    for _ in 0..3 {
        codes.push(passkey().send().await.unwrap().status().as_u16());
    }
    assert!(codes.contains(&429), "every command counts: {codes:?}");
    for answer in connects(&server, "b", 20).await {
        assert_eq!(answer.status(), 202, "another tenant has a budget of its own");
    }
    let disconnect = || server.post("/api/whatsapp/disconnect").bearer_auth(server.token("a")).send();
    for answer in join_all((0..40).map(|_| disconnect())).await {
        assert_eq!(answer.unwrap().status(), 202, "who has used up its budget can stop all the same");
    }
    tokio::time::sleep(std::time::Duration::from_millis(1_050)).await;
    assert_eq!(connects(&server, "a", 1).await[0].status(), 202, "after Retry-After");
}

/// Each `GET /qr` drew a picture, so one tenant could keep all cores busy, and heartbeats with them.
#[tokio::test]
async fn reads_beyond_the_burst_are_refused_until_a_second_on() {
    let limits = Limits { reads_per_second: 1, ..Limits::default() };
    let http = Settings { limits, ..Settings::default() };
    let server = Setup { http, ..Setup::default() }.start().await;
    let began = std::time::Instant::now();
    let read = |path: &'static str| server.get(path).bearer_auth(server.token("a")).send();
    for answer in join_all((0..50).flat_map(|_| [read("/api/whatsapp/status"), read("/api/whatsapp/qr")])).await {
        let answer = answer.unwrap();
        assert!([200, 404].contains(&answer.status().as_u16()), "{}", answer.status());
    }
    let mut refused = 0;
    for answer in join_all((0..20).map(|_| read("/api/whatsapp/status"))).await {
        let answer = answer.unwrap();
        if answer.status() == 429 {
            refused += 1;
            assert_eq!(header(&answer, "retry-after"), "1");
            let detail = problem(answer, 429, "too-many-reads").await;
            assert!(detail.contains("100 reads at once, then 1 per second"), "{detail}");
        }
    }
    let came_back = began.elapsed().as_secs() + 1;
    assert!(refused + came_back >= 20, "one more comes back for each second: {refused} in {came_back} s");
    assert_eq!(header(&read("/api/whatsapp/qr").await.unwrap(), "content-type"), "application/problem+json");
    let other = server.get("/api/whatsapp/status").bearer_auth(server.token("b")).send().await.unwrap();
    assert_eq!(other.status(), 200, "another tenant has a budget of its own");
    assert_eq!(connects(&server, "a", 1).await[0].status(), 202, "commands have one of their own");
    tokio::time::sleep(std::time::Duration::from_millis(1_050)).await;
    assert_eq!(read("/api/whatsapp/status").await.unwrap().status(), 200, "after Retry-After");
}

#[tokio::test]
async fn stream_over_its_budget_asks_to_come_back_later() {
    let server = Server::start().await;
    for _ in 0..60 {
        let stream = server.stream("a").await;
        assert!(stream.retry_ms <= 5_000, "{}", stream.retry_ms);
    }
    let mut stream = server.stream("a").await;
    assert_eq!(stream.retry_ms, 30_000);
    assert_eq!(stream.headers["content-type"], "text/event-stream; charset=utf-8");
    assert_eq!(stream.headers["cache-control"], "no-store, no-transform");
    let rest: Vec<Frame> = stream.rest().await;
    assert!(rest.is_empty(), "it ends: {rest:?}");
    assert!(server.stream("b").await.retry_ms <= 5_000, "another tenant has a budget of its own");
    let refused = server.get("/api/whatsapp/events").send().await.unwrap();
    problem(refused, 401, "missing-token").await;
    let again = EventStream::open(server.get("/api/whatsapp/events").bearer_auth(server.token("a"))).await;
    assert_eq!(again.retry_ms, 30_000);
}

async fn over(server: &Server, body: Value, code: &str) {
    let answer = server.post("/api/whatsapp/connect").bearer_auth(server.token("a")).json(&body).send().await.unwrap();
    let seconds: u32 = header(&answer, "retry-after").parse().unwrap();
    assert!((590..=600).contains(&seconds), "{seconds}");
    problem(answer, 429, code).await;
}

async fn command(server: &Server, name: &str, body: Value) -> u16 {
    let path = format!("/api/whatsapp/{name}");
    server.post(&path).bearer_auth(server.token("a")).json(&body).send().await.unwrap().status().as_u16()
}

#[tokio::test]
async fn sixth_pairing_code_is_refused_until_ten_minutes_on() {
    let server = Server::start().await;
    let to = |number: usize| json!({ "phoneNumber": format!("628123456789{number}") });
    for number in 0..5 {
        assert_eq!(command(&server, "connect", to(number)).await, 202, "{number}");
    }
    over(&server, to(5), "too-many-pair-codes").await;
    assert_eq!(command(&server, "connect", to(4)).await, 202, "a repetition is free");
    assert_eq!(command(&server, "disconnect", json!({})).await, 202);
    server.clock.advance(600);
    assert_eq!(command(&server, "connect", to(5)).await, 202);
}

#[tokio::test]
async fn eleventh_dial_is_refused_and_disconnect_is_not() {
    let server = Server::start().await;
    for dial in 0..10 {
        assert_eq!(command(&server, "connect", json!({})).await, 202, "{dial}");
        assert_eq!(command(&server, "disconnect", json!({})).await, 202, "{dial}");
    }
    over(&server, json!({}), "too-many-dials").await;
    assert_eq!(command(&server, "disconnect", json!({})).await, 202);
    server.clock.advance(600);
    assert_eq!(command(&server, "connect", json!({})).await, 202);
}
