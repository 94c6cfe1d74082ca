use tautan_test_support::EventStream;

use crate::{
    server::send,
    support::{Server, header},
};

const ID: &str = "x-request-id";

fn is_fresh(id: &str) -> bool {
    id.len() == 32 && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[tokio::test]
async fn every_answer_has_the_id_of_its_request() {
    let server = Server::start().await;
    for (method, path, status) in [
        ("GET", "/healthz", 200),
        ("GET", "/readyz", 200),
        ("GET", "/", 302),
        ("GET", "/static/page.js", 200),
        ("GET", "/api/whatsapp/status", 401),
        ("POST", "/api/whatsapp/connect", 401),
        ("GET", "/api/whatsapp/events", 401),
        ("DELETE", "/api/whatsapp/status", 405),
        ("OPTIONS", "/api/whatsapp/connect", 204),
        ("GET", "/nothing", 404),
    ] {
        let answer = server.request(method, path).header(ID, "Ab.9_-z").send().await.unwrap();
        assert_eq!((answer.status().as_u16(), header(&answer, ID)), (status, "Ab.9_-z"), "{method} {path}");
        let answer = server.request(method, path).header(ID, "a b").send().await.unwrap();
        let second = header(&answer, ID).to_owned();
        let answer = server.request(method, path).send().await.unwrap();
        let third = header(&answer, ID);
        assert!(is_fresh(&second) && is_fresh(third) && second != third, "{method} {path}: {second} {third}");
    }
}

#[tokio::test]
async fn head_of_a_stream_has_the_id() {
    let server = Server::start().await;
    let request = server.get("/api/whatsapp/events").bearer_auth(server.token("toko")).header(ID, "of-a-stream");
    let answer = request.send().await.unwrap();
    assert_eq!((answer.status().as_u16(), header(&answer, ID)), (200, "of-a-stream"));
    let mut stream = EventStream::open(server.get("/api/whatsapp/events").bearer_auth(server.token("toko"))).await;
    stream.until_status("disconnected").await;
}

/// What the parser refuses reaches no route, and its headers are not known.
#[tokio::test]
async fn refusal_of_the_parser_and_of_the_host_have_an_id() {
    let server = Server::start().await;
    for request in ["hello\r\n\r\n", "GET /healthz HTTP/1.1\r\nhost: a\r\nhost: b\r\nconnection: close\r\n\r\n"] {
        let answer = send(&server, request).await;
        let id = answer.lines().find_map(|line| line.strip_prefix("x-request-id: "));
        assert!(answer.starts_with("HTTP/1.1 400 ") && id.is_some_and(is_fresh), "{answer}");
    }
}
