//! The log lines for an event at the default level.

use std::collections::BTreeMap;

use reqwest::Method;
use serde_json::{Value, json};
use tautan_test_support::{Api, Program, RedisServer, redis_is_installed, token_with};

use crate::{
    redis::on,
    stage::{Stage, TENANT, link},
    starts::KEY,
};

const CODE: &str = "qr code emitted to tenant";
const STATUS: &str = "connection status emitted to tenant";

/// Lines with this message, about the tenant.
fn lines(program: &Program, message: &str) -> Vec<Value> {
    let lines = program.output();
    let lines = lines.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|line| line["message"] == message && line["tenant"] == TENANT).collect()
}

fn streams(lines: &[Value]) -> Vec<u64> {
    lines.iter().map(|line| line["streams"].as_u64().expect("a number of streams")).collect()
}

/// A line for each stream took half of the time of a fan-out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn event_leaves_one_line_with_the_number_of_its_streams() {
    let stage = Stage::new().await;
    let mut program = stage.start();
    let api = program.api(TENANT);
    let mut open = Vec::new();
    for _ in 0..3 {
        open.push(api.events().await);
    }
    for stream in &mut open {
        stream.until_status("disconnected").await;
    }
    // The reader opens a fourth stream.
    let _fourth = link(&api, &stage.phone).await;
    for stream in &mut open {
        stream.until_status("connected").await;
    }
    // The log has a thread of its own.
    program.wait_for_line("\"status\":\"connected\"");
    let codes = lines(&program, CODE);
    assert_eq!(streams(&codes), [4], "{codes:?}");
    assert_eq!(codes[0]["attempt"], 1);
    let connected: Vec<_> = lines(&program, STATUS).into_iter().filter(|line| line["status"] == "connected").collect();
    assert!((1..=2).contains(&connected.len()), "once, and once more with the account's name: {connected:?}");
    assert!(streams(&connected).iter().all(|streams| *streams == 4), "{connected:?}");
}

/// A code that was kept and sent to no page is what an operator looks for when "the code never appeared".
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn event_that_no_stream_gets_leaves_a_line_too() {
    let stage = Stage::new().await;
    let mut program = stage.start();
    program.api(TENANT).connect().await;
    program.wait_for_line(CODE);
    assert_eq!(streams(&lines(&program, CODE)), [0]);
    assert_eq!(streams(&lines(&program, STATUS)), [0], "starting");
    program.api(TENANT).events().await.until_qr().await;
    let opened = &lines(&program, "stream opened for tenant")[0];
    assert_eq!((&opened["status"], &opened["code"]), (&true.into(), &true.into()));
    program.api(TENANT).disconnect().await;
    program.wait_for_line("\"status\":\"disconnected\"");
}

/// Each instance logs its own streams. If no stream is open anywhere, the writing instance logs that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn event_over_redis_is_logged_where_its_streams_are() {
    if !redis_is_installed() {
        return;
    }
    let stage = Stage::new().await;
    let server = RedisServer::start();
    let start = || {
        let settings = on(&stage, &server.url(), KEY);
        let folder = tempfile::tempdir().expect("a directory");
        (tautan_test_support::Settings { data_dir: folder.path().to_owned(), ..settings }.start(), folder)
    };
    // Alone, or the other instance might run the session.
    let (mut writes, _one) = start();
    writes.api(TENANT).connect().await;
    writes.wait_for_line(CODE);
    assert_eq!(streams(&lines(&writes, CODE)), [0]);
    assert!(streams(&lines(&writes, STATUS)).iter().all(|streams| *streams == 0), "starting");
    assert!(!lines(&writes, STATUS).is_empty());

    let (mut reads, _other) = start();
    let mut open = [reads.api(TENANT).events().await, reads.api(TENANT).events().await];
    for stream in &mut open {
        stream.until_qr().await;
    }
    writes.api(TENANT).disconnect().await;
    for stream in &mut open {
        stream.until_status("disconnected").await;
    }
    // The log has a thread of its own.
    reads.wait_for_line("\"status\":\"disconnected\"");
    let ended = |program| lines(program, STATUS).into_iter().filter(|line| line["status"] == "disconnected").collect();
    let (there, here): (Vec<Value>, Vec<Value>) = (ended(&reads), ended(&writes));
    assert_eq!((streams(&there), streams(&here)), (vec![2], vec![]));
}

/// An operator sees that tokens are tried, and the client that tries them cannot fill the disk.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failed_authentication_is_logged_sampled() {
    let stage = Stage::new().await;
    let mut program = stage.start();
    let ends = 4_000_000_000_u64;
    let tokens = [
        ("malformed-token", "hunter2.hunter2.hunter2".to_owned()),
        ("bad-tenant", token_with(json!({"id": "hunter2 hunter2", "exp": ends}))),
        ("expired-token", token_with(json!({"id": "toko", "exp": 1}))),
    ];
    for (_, token) in &tokens {
        let api = Api::with_token(program.base(), token);
        for _ in 0..200 {
            assert_eq!(api.ask(Method::GET, "status").send().await.expect("an answer").status(), 401);
        }
    }
    // The summary of the last ten seconds comes after the first lines.
    for (code, _) in &tokens {
        program.wait_for_line(&format!("\"code\":\"{code}\",\"refused\":1"));
    }
    tokio::time::sleep(std::time::Duration::from_secs(11)).await;
    let output = program.output();
    let mut seen = BTreeMap::new();
    for line in output.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
        if line["message"] == "authentication failed" {
            let (lines, refused) = seen.entry(line["code"].as_str().expect("a code").to_owned()).or_insert((0, 0));
            (*lines, *refused) = (*lines + 1, *refused + line["refused"].as_u64().expect("a number"));
        }
    }
    for (code, _) in &tokens {
        let (lines, refused) = seen[*code];
        assert!(refused == 200 && lines <= 4, "{code}: {refused} in {lines} lines");
    }
    assert!(output.len() < 100, "{} lines", output.len());
    assert!(!output.iter().any(|line| line.contains("hunter2")), "no token and no claim");
}
