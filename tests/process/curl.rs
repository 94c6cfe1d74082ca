//! The stream as `curl` shows it, without a client library in between.

use std::process::Command;

use tautan_test_support::{Program, rank, token};

use crate::{
    printed::Printed,
    stage::{Stage, TENANT, link},
};

/// curl with the tenant's token. It prints an answer as it comes.
pub fn curl(base: &str, path: &str) -> Command {
    let mut command = Command::new("curl");
    command.args(["--no-buffer", "--silent", "--noproxy", "*"]);
    command.args(["--header", &format!("authorization: Bearer {}", token(TENANT))]);
    command.arg(format!("{base}/api/whatsapp/{path}"));
    command
}

/// A stream as curl prints it.
struct Curl(Printed);

impl Curl {
    /// `None`: there is no curl on this machine.
    fn open(program: &Program, last_event_id: Option<&str>) -> Option<Self> {
        let mut command = curl(program.base(), "events");
        command.arg("--include");
        if let Some(id) = last_event_id {
            command.args(["--header", &format!("last-event-id: {id}")]);
        }
        match Printed::by(&mut command) {
            Ok(printed) => Some(Self(printed)),
            Err(error) => {
                println!("NOT RUN: curl does not start: {error}");
                assert!(std::env::var_os("CI").is_none(), "a test was not run, and this is CI");
                None
            }
        }
    }

    /// Lines up to the first with this part, which is the last of them.
    fn until(&self, part: &str) -> Vec<String> {
        self.0.until(part, |line| line.contains(part))
    }
}

fn last_id(lines: &[String]) -> Option<&str> {
    lines.iter().rev().find_map(|line| line.strip_prefix("id: "))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn curl_resumes_its_stream_after_a_kill() {
    let stage = Stage::new().await;
    let mut program = stage.start();
    let api = program.api(TENANT);
    let Some(curl) = Curl::open(&program, None) else { return };
    let head = curl.until("never-linked");
    assert_eq!(head[0], "HTTP/1.1 200 OK");
    for header in ["content-type: text/event-stream; charset=utf-8", "x-accel-buffering: no"] {
        assert!(head.iter().any(|line| line == header), "{header} in {head:?}");
    }
    assert!(head.iter().any(|line| line == "event: connection-status"), "{head:?}");

    drop(link(&api, &stage.phone).await);
    let pairing = curl.until("\"status\":\"connected\"");
    let ids: Vec<_> = pairing.iter().filter_map(|line| line.strip_prefix("id: ")).map(rank).collect();
    assert!(ids.len() >= 4 && ids.is_sorted_by(|one, next| one < next), "{ids:?}");
    let seen = last_id(&pairing).expect("connected has an id").to_owned();
    drop(curl);

    // A reconnection, which curl misses.
    let mut watching = api.events_after(Some(&seen)).await;
    assert!(stage.simulator.cut(stage.device()));
    watching.until("reconnecting", |event| event.data["reason"] == "reconnecting").await;
    let again = watching.until_status("connected").await.id;
    let curl = Curl::open(&program, Some(&seen)).expect("it ran before");
    let missed = curl.until("\"status\":\"connected\"");
    assert_eq!(missed.iter().filter(|line| line.contains("\"reason\":\"reconnecting\"")).count(), 1, "{missed:?}");
    assert_eq!(last_id(&missed), again.as_deref());

    program.kill();
    stage.until_disconnected().await;
    let program = stage.start();
    let curl = Curl::open(&program, again.as_deref()).expect("it ran before");
    let present = curl.until("\"status\":\"connected\"");
    let id = last_id(&present).expect("connected has an id");
    assert!(rank(id) > rank(&again.expect("connected has an id")), "{id}");
    assert!(!present.iter().any(|line| line.contains("qr-code") || line.contains("disconnected")), "{present:?}");
}
