//! The stream as `curl` sees it: no client of ours hides what is on the wire.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, channel},
};

use tautan_test_support::{DEADLINE, Program, rank, token};

use crate::stage::{Stage, TENANT, link};

/// Lines of a stream that curl prints; curl is killed with it.
struct Curl {
    child: Child,
    lines: Receiver<String>,
}

impl Drop for Curl {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Curl {
    /// `None`: there is no curl on this machine.
    fn open(program: &Program, last_event_id: Option<&str>) -> Option<Self> {
        let mut command = Command::new("curl");
        command.args(["--no-buffer", "--silent", "--include", "--noproxy", "*"]);
        command.args(["--header", &format!("authorization: Bearer {}", token(TENANT))]);
        if let Some(id) = last_event_id {
            command.args(["--header", &format!("last-event-id: {id}")]);
        }
        command.arg(format!("{}/api/whatsapp/events", program.base())).stdout(Stdio::piped());
        let mut child = match command.spawn() {
            Ok(child) => child,
            Err(error) => {
                println!("NOT RUN: curl does not start: {error}");
                assert!(std::env::var_os("CI").is_none(), "a test was not run, and this is CI");
                return None;
            }
        };
        let (sender, lines) = channel();
        let stdout = child.stdout.take().expect("piped");
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line.trim_end_matches('\r').to_owned()).is_err() {
                    return;
                }
            }
        });
        Some(Self { child, lines })
    }

    fn next(&self) -> String {
        self.lines.recv_timeout(DEADLINE).expect("another line")
    }

    /// Lines up to the first with this part, which is the last of them.
    fn until(&self, part: &str) -> Vec<String> {
        let mut lines = vec![self.next()];
        while !lines.last().expect("not empty").contains(part) {
            lines.push(self.next());
        }
        lines
    }
}

fn last_id(lines: &[String]) -> Option<&str> {
    lines.iter().rev().find_map(|line| line.strip_prefix("id: "))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn curl_sees_the_stream_and_comes_back_to_what_it_missed_even_after_a_kill() {
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

    // It missed a reconnection.
    let mut watching = api.events_after(Some(&seen)).await;
    assert!(stage.simulator.cut(stage.device()));
    watching.until("reconnecting", |event| event.data["reason"] == "reconnecting").await;
    let again = watching.until_status("connected").await.id;
    let curl = Curl::open(&program, Some(&seen)).expect("it ran before");
    let missed = curl.until("\"status\":\"connected\"");
    assert_eq!(missed.iter().filter(|line| line.contains("\"reason\":\"reconnecting\"")).count(), 1, "{missed:?}");
    assert_eq!(last_id(&missed), again.as_deref());

    program.kill();
    stage.hears_nobody().await;
    let program = stage.start();
    let curl = Curl::open(&program, again.as_deref()).expect("it ran before");
    let present = curl.until("\"status\":\"connected\"");
    let id = last_id(&present).expect("connected has an id");
    assert!(rank(id) > rank(&again.expect("connected has an id")), "{id}");
    assert!(!present.iter().any(|line| line.contains("qr-code") || line.contains("disconnected")), "{present:?}");
}
