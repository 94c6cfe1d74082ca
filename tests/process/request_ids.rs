//! The id and the trace of a request in the log.

use reqwest::Method;
use serde_json::Value;
use tautan_test_support::Api;

use crate::stage::{Stage, TENANT};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// The fields that the spans of a line give it.
fn from_spans<'l>(line: &'l Value, field: &str) -> Option<&'l str> {
    line["spans"].as_array()?.iter().find_map(|span| span[field].as_str())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn log_lines_name_the_request_and_its_trace() {
    let stage = Stage::new().await;
    let mut program = stage.start();
    let api = program.api(TENANT);
    let ask = |method, path, id| api.ask(method, path).header("x-request-id", id).header("traceparent", TRACEPARENT);
    let stream = ask(Method::GET, "events", "of-stream").send().await.expect("an answer");
    let connect = ask(Method::POST, "connect", "of-connect").send().await.expect("an answer");
    assert_eq!(connect.headers()["x-request-id"], "of-connect");
    let refused = api.ask(Method::GET, "status").header("authorization", "Bearer hunter2").header("traceparent", "x");
    let refused = refused.send().await.expect("an answer");
    let made = refused.headers()["x-request-id"].to_str().expect("text").to_owned();
    for (message, id, trace) in [
        ("stream opened for tenant", "of-stream", Some(TRACE)),
        // The session goes on after the request.
        ("session started", "of-connect", Some(TRACE)),
        ("authentication failed", made.as_str(), None),
    ] {
        let line: Value = serde_json::from_str(&program.wait_for_line(message)).expect("the log is JSON");
        assert_eq!((from_spans(&line, "request_id"), from_spans(&line, "trace_id")), (Some(id), trace), "{line}");
    }
    drop(stream);
}

/// The supervisor hears of a request too, and may start the session before the request does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn session_names_its_request_whichever_task_starts_it() {
    let stage = Stage::new().await;
    let mut program = stage.start();
    for number in 0..30 {
        let (tenant, id) = (format!("toko-{number}"), format!("of-connect-{number}"));
        let connect = program.api(&tenant).ask(Method::POST, "connect").header("x-request-id", &id);
        assert_eq!(connect.send().await.expect("an answer").status(), 202);
        let started = format!("\"message\":\"session started\",\"tenant\":\"{tenant}\"");
        let line = program.wait_for_line(&started);
        let line: Value = serde_json::from_str(&line).expect("the log is JSON");
        assert_eq!(from_spans(&line, "request_id"), Some(&*id), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn warnings_name_the_request_whatever_the_filter_says() {
    let stage = Stage::new().await;
    // The line that says where it listens is one of `app`.
    let mut program = stage.settings().with("RUST_LOG", "warn,tautan::app=info").start();
    let api = Api::with_token(program.base(), "hunter2.hunter2.hunter2");
    let refused = api.ask(Method::GET, "status").header("x-request-id", "of-status").send().await.expect("an answer");
    assert_eq!(refused.status(), 401);
    let line: Value = serde_json::from_str(&program.wait_for_line("authentication failed")).expect("the log is JSON");
    assert_eq!(from_spans(&line, "request_id"), Some("of-status"), "{line}");
}
