//! The files of `deploy`, as an operator uses them: two instances on one Redis behind a real reverse proxy, with TLS and
//! HTTP/2.

use std::{
    process::Command,
    thread::sleep,
    time::{Duration, Instant},
};

use serde_json::Value;
use tautan_test_support::{Certificates, DEADLINE, Event, Frame, Gateway, RedisServer, redis_is_installed};

use crate::{
    curl::curl,
    printed::Printed,
    redis::on,
    stage::{Stage, TENANT},
    starts::KEY,
};

/// How long after a kill each request must be answered: the proxies check an instance every second.
const AFTER_THE_KILL: Duration = Duration::from_secs(3);

/// curl as a browser would connect: over HTTP/2, through the proxy. The proxies' certificates are the tests' own.
struct Browser(String);

impl Browser {
    fn curl(&self, path: &str) -> Command {
        let mut command = curl(&self.0, path);
        command.args(["--insecure", "--http2", "--max-time", "60"]);
        command
    }

    fn asks(&self, method: &str, path: &str) -> Value {
        let answer = self.curl(path).args(["--request", method, "--fail"]).output().expect("curl runs");
        assert!(answer.status.success(), "{method} {path}: {answer:?}");
        serde_json::from_slice(&answer.stdout).expect("a status")
    }

    fn stream(&self) -> Printed {
        Printed::by(self.curl("events").arg("--include")).expect("curl runs")
    }

    fn until_status(&self, wanted: &str) -> Value {
        let until = Instant::now() + DEADLINE;
        loop {
            let status = self.asks("GET", "status");
            if status["status"] == wanted && status["stale"] == false {
                return status;
            }
            assert!(Instant::now() < until, "{wanted} does not come, but {status}");
            sleep(Duration::from_millis(50));
        }
    }
}

/// The event whose last line is the last of these.
fn event(lines: &[String]) -> Event {
    let begin = lines.iter().rposition(String::is_empty).map_or(0, |empty| empty + 1);
    match Frame::read(&lines[begin..].join("\n")) {
        Frame::Event(event) => event,
        heartbeat @ Frame::Heartbeat { .. } => panic!("an event was expected, not {heartbeat:?}"),
    }
}

/// An account is linked through the proxy, its instance is killed, and every request still gets an
/// answer.
async fn two_instances_serve(gateway: Gateway) {
    if !redis_is_installed() {
        return;
    }
    let (stage, server) = (Stage::new().await, RedisServer::start());
    let mut instances = [on(&stage, &server.url(), KEY).start(), on(&stage, &server.url(), KEY).start()];
    let bases = instances.each_ref().map(|instance| instance.base().to_owned());
    let Some(running) = gateway.start_deployed(&bases.each_ref().map(String::as_str), &Certificates::new()) else {
        return;
    };
    let browser = Browser(running.base());

    let stream = browser.stream();
    let head = stream.until("never-linked", |line| line.contains("never-linked"));
    assert!(head[0].starts_with("HTTP/2 200"), "{head:?}");
    browser.asks("POST", "connect");
    let code = event(&stream.until("a code", |line| line.starts_with("data: ") && line.contains("qrText")));
    stage.phone.scan(code.text("qrText")).await.expect("a living code");
    stream.until("connected", |line| line.contains("\"status\":\"connected\""));

    let owner = instances.iter().position(|instance| runs_the_session(&instance.output())).expect("one runs it");
    instances[owner].kill();
    let killed = Instant::now();
    while killed.elapsed() < AFTER_THE_KILL {
        let status = browser.asks("GET", "status");
        assert_ne!(status["status"], "disconnected", "{status}");
        sleep(Duration::from_millis(50));
    }
    // The stream of the dead instance ends with it. EventSource opens another one.
    let stream = browser.stream();
    stream.until("a status", |line| line.starts_with("data: "));
    browser.until_status("connected");
    stage.proves_device().await;
}

fn runs_the_session(log: &[String]) -> bool {
    log.iter().any(|line| line.contains("session started") && line.contains(TENANT))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_instances_behind_the_deployed_caddy_outlive_a_kill() {
    two_instances_serve(Gateway::Caddy).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_instances_behind_the_deployed_nginx_outlive_a_kill() {
    two_instances_serve(Gateway::Nginx).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_instances_behind_the_deployed_haproxy_outlive_a_kill() {
    two_instances_serve(Gateway::HaProxy).await;
}
