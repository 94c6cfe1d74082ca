//! Repeated requests of a client must not fill the log.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use futures::{StreamExt as _, stream};
use reqwest::Method;
use serde_json::{Value, json};
use tautan_test_support::{Api, Program, RedisServer, redis_is_installed};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::sleep,
};

use crate::{
    disk::{limit_files, limitable},
    redis::on,
    stage::{Stage, TENANT},
    starts::KEY,
};

/// The number of requests of each kind.
const TIMES: usize = 300;
/// The most lines of one message, over all kinds of requests.
const LINES_OF_A_MESSAGE_MAX: usize = 60;

/// The defaults, which tests otherwise widen.
fn by_default(settings: tautan_test_support::Settings) -> tautan_test_support::Settings {
    let limits =
        ["COMMANDS", "COMMAND_BURST", "READS", "READ_BURST", "STREAM_OPENINGS", "PAIR_CODES", "DIALS", "NUMBER_CODES"];
    limits.iter().fold(settings, |settings, limit| settings.with(&format!("TAUTAN_LIMIT_{limit}"), ""))
}

async fn many<F: Future<Output = ()>>(one: impl Fn(usize) -> F) {
    stream::iter(0..TIMES).for_each_concurrent(8, one).await;
}

/// Sends a request and reads the answer; a stream is closed.
async fn ask(api: &Api, method: Method, path: &str, body: Option<Value>) {
    let ask = api.ask(method, path);
    let ask = if let Some(body) = body { ask.json(&body) } else { ask };
    let answer = ask.send().await.expect("an answer");
    if path != "events" {
        let _ = answer.bytes().await;
    }
}

async fn raw(server: SocketAddr, bytes: &[u8]) {
    let mut socket = TcpStream::connect(server).await.expect("it listens");
    socket.write_all(bytes).await.expect("it reads");
    socket.shutdown().await.expect("it is open");
    let _ = socket.read_to_end(&mut Vec::new()).await;
}

/// How many lines the log has of each message.
fn messages(program: &Program) -> BTreeMap<String, usize> {
    let mut messages = BTreeMap::new();
    for line in program.output().iter().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
        *messages.entry(line["message"].as_str().unwrap_or_default().to_owned()).or_default() += 1;
    }
    messages
}

fn check(program: &Program) {
    let many: Vec<_> = messages(program).into_iter().filter(|(_, lines)| *lines > LINES_OF_A_MESSAGE_MAX).collect();
    assert!(many.is_empty(), "lines of a message: {many:?}");
}

/// Streams that were opened and closed left 8.5 MB of log in 5 s.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hardening_no_client_floods_the_log() {
    let stage = Stage::new().await;
    // Without a limit on openings, so that the lines of each opening are counted.
    let program = by_default(stage.settings()).with("TAUTAN_LIMIT_STREAM_OPENINGS", "100000/1m").start();
    let (api, server) = (program.api(TENANT), program.address());
    many(|_| ask(&api, Method::GET, "events", None)).await;
    let mut open = Vec::new();
    for _ in 0..20 {
        open.push(api.events().await);
    }
    many(|_| ask(&api, Method::GET, "events", None)).await;
    drop(open);
    for (path, body) in [
        ("connect", None),
        ("disconnect", None),
        ("connect", Some(json!({ "phoneNumber": "6281234567890" }))),
        ("connect", Some(json!({ "phoneNumber": "x" }))),
        ("passkey", Some(json!({ "what": 1 }))),
        ("nowhere", None),
    ] {
        many(|_| ask(&api, Method::POST, path, body.clone())).await;
    }
    many(|number| {
        let path = if number % 2 == 0 { "connect" } else { "disconnect" };
        ask(&api, Method::POST, path, None)
    })
    .await;
    for path in ["status", "qr"] {
        many(|_| ask(&api, Method::GET, path, None)).await;
    }
    let stranger = Api::with_token(program.base(), "no token");
    many(|_| ask(&stranger, Method::GET, "events", None)).await;
    for bytes in ["", "hello\r\n\r\n", "GET /local/sign-in?code=x HTTP/1.1\r\nhost: x\r\n\r\n", "POST / HTTP/1.1\r\n"] {
        many(|_| raw(server, bytes.as_bytes())).await;
    }
    check(&program);
    let opened = messages(&program)["stream opened for tenant"];
    assert!(opened > 0, "the first ones have a line");
}

/// Without a store every request fails again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hardening_no_client_floods_the_log_while_redis_is_away() {
    if !redis_is_installed() {
        return;
    }
    let stage = Stage::new().await;
    let mut server = RedisServer::start();
    let mut program = on(&stage, &server.url(), KEY).start();
    let api = program.api(TENANT);
    api.connect().await;
    server.stop();
    program.wait_for_line("redis is away");
    for path in ["connect", "disconnect"] {
        many(|_| ask(&api, Method::POST, path, None)).await;
    }
    for path in ["status", "qr", "events"] {
        many(|_| ask(&api, Method::GET, path, None)).await;
    }
    check(&program);
    assert!(messages(&program)["the store could not be reached for a request"] > 0);
}

/// Each session tries to save its status again twice a second.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hardening_sessions_do_not_flood_the_log_with_a_full_disk() {
    const TENANTS: usize = 50;
    const RETRIES: &str = "status could not be saved, retrying";
    let stage = Stage::new().await;
    let mut program = limitable(&stage).start();
    let apis: Vec<_> = (0..TENANTS).map(|number| program.api(&format!("toko-{number}"))).collect();
    for api in &apis {
        api.connect().await;
    }
    for api in &apis {
        api.events().await.until_qr().await;
    }
    limit_files(&program, Some(1));
    stage.simulator.unreachable(true);
    program.wait_for_line(RETRIES);
    sleep(Duration::from_secs(4)).await;
    check(&program);
    let lines = messages(&program)[RETRIES];
    assert!(lines <= 2, "{lines} lines of {TENANTS} sessions");
}
