//! Each alert of `deploy/alerts.yml` fires when its fault is made, and is quiet before and once it is mended: a real
//! Prometheus scrapes the program. In the rules that it evaluates each minute is a second.

mod prometheus;

use std::{
    collections::BTreeSet,
    fs,
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
};

use reqwest::{Method, StatusCode};
use tautan_simulator::{Fault, Refusal};
use tautan_test_support::{Api, Mood, Port, Program, Receiver, RedisServer, within};

use self::prometheus::{Alert, Prometheus, is_installed, shortened};
use crate::{
    metrics::{measured, scrape},
    redis::on,
    stage::{Stage, TENANT, link, scan},
    starts::KEY,
};

const OTHER: &str = "warung-budi";

fn path(file: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(file)
}

fn rules() -> String {
    fs::read_to_string(path("deploy/alerts.yml")).expect("the rules")
}

async fn watched_by_prometheus(programs: &[&Program]) -> Prometheus {
    let targets: Vec<_> = programs.iter().map(|program| program.metrics_address()).collect();
    let prometheus = Prometheus::start(&rules(), &targets).await;
    prometheus.is_quiet().await;
    prometheus
}

#[test]
fn only_the_durations_of_the_rules_are_shortened() {
    assert_eq!(shortened("for: 1m\nx[15m] > 60 and y5m > 3m_ # 2m"), "for: 1s\nx[15s] > 60 and y5m > 3m_ # 2s");
    let (rules, shortened) = (rules(), shortened(&rules()));
    assert_eq!(rules.len(), shortened.len());
    let changed = rules.bytes().zip(shortened.bytes()).filter(|(before, after)| before != after);
    let changed: Vec<_> = changed.collect();
    assert!(changed.len() > 15 && changed.iter().all(|change| *change == (b'm', b's')), "{changed:?}");
}

#[test]
fn shipped_rules_pass_promtool() {
    if !is_installed() {
        return;
    }
    for words in [["check", "rules", "deploy/alerts.yml"], ["test", "rules", "tests/process/alerts/rules.yaml"]] {
        let output = Command::new("promtool").args(words).current_dir(path("")).output().expect("it runs");
        assert!(output.status.success(), "{words:?}: {output:?}");
    }
    let (rules, tests) = (rules(), fs::read_to_string(path("tests/process/alerts/rules.yaml")).expect("the tests"));
    let names: Vec<_> = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(names.len() > 15, "{names:?}");
    for name in names {
        assert!(tests.contains(&format!("- name: {name}\n")), "{name} has no made-up series");
    }
}

/// An [`Alert`] that no test sees firing is a warning of the compiler: its variant is never constructed.
#[test]
fn every_shipped_alert_is_one_that_a_test_fires() {
    let rules = rules();
    let shipped: BTreeSet<_> = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert_eq!(shipped, Alert::NAMES.iter().copied().collect(), "on the left what ships, on the right what is fired");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exported_metrics_pass_promtool() {
    if !is_installed() {
        return;
    }
    let stage = Stage::new().await;
    let program = measured(stage.settings()).start();
    let mut check = Command::new("promtool");
    let check = check.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut running = check.spawn().expect("it runs");
    let mut input = running.stdin.take().expect("piped");
    input.write_all(scrape(&program).as_bytes()).expect("it reads");
    drop(input);
    let output = running.wait_with_output().expect("it ends");
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes half a minute: `make long`"]
async fn alerts_of_a_redis_outage_fire_and_clear() {
    if !is_installed() {
        return;
    }
    let (stage, mut server) = (Stage::new().await, RedisServer::start_durable());
    let program = measured(on(&stage, &server.url(), KEY)).start();
    let mut stream = link(&program.api(TENANT), &stage.phone).await;
    let prometheus = watched_by_prometheus(&[&program]).await;
    server.stop();
    stream.until("doubt", |event| event.data["stale"] == true).await;
    let refused = program.api(OTHER).ask(Method::POST, "connect").send().await.expect("an answer");
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    prometheus.until_fired(&[Alert::StoreAway, Alert::HeartbeatLate, Alert::RedisErrors, Alert::ServerErrors]).await;
    server.restart();
    stream.until_status("connected").await;
    prometheus.until_quiet().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes half a minute: `make long`"]
async fn alert_of_a_store_that_refuses_writes_fires_and_clears() {
    if !is_installed() {
        return;
    }
    let (stage, server) = (Stage::new().await, RedisServer::start());
    let program = measured(on(&stage, &server.url(), KEY)).start();
    let prometheus = watched_by_prometheus(&[&program]).await;
    server.set("min-replicas-to-write", "1");
    prometheus.until_fired(&[Alert::StoreReadOnly]).await;
    server.set("min-replicas-to-write", "0");
    prometheus.until_quiet().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes a minute: `make long`"]
async fn alert_of_a_redis_that_delivers_nothing_fires_and_clears() {
    if !is_installed() {
        return;
    }
    let (stage, server) = (Stage::new().await, RedisServer::start());
    let program = measured(on(&stage, &server.url(), KEY)).start();
    let prometheus = watched_by_prometheus(&[&program]).await;
    server.does(&["ACL", "SETUSER", "default", "resetchannels"]);
    prometheus.until_fired(&[Alert::StoreNotDelivering]).await;
    server.does(&["ACL", "SETUSER", "default", "allchannels"]);
    prometheus.until_quiet().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes a minute: `make long`"]
async fn alerts_of_a_whatsapp_outage_fire_and_clear() {
    if !is_installed() {
        return;
    }
    let stage = Stage::new().await;
    let program = measured(stage.settings()).start();
    let mut linked = link(&program.api(TENANT), &stage.phone).await;
    let prometheus = watched_by_prometheus(&[&program]).await;
    stage.simulator.unreachable(true);
    let (waiting, phone) = (program.api(OTHER), stage.simulator.phone("6289876543210", "Warung Budi"));
    let mut stream = waiting.events().await;
    waiting.connect().await;
    prometheus.until_fired(&[Alert::SessionsStuck]).await;
    stage.simulator.unreachable(false);
    linked.until_status("connected").await;
    scan(&mut stream, &phone).await;
    prometheus.until_fired(&[Alert::FirstCodeSlow]).await;
    prometheus.until_quiet().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes two minutes: `make long`"]
async fn alert_of_a_back_end_that_is_down_fires_and_clears() {
    if !is_installed() {
        return;
    }
    let (stage, receiver) = (Stage::new().await, Receiver::start());
    let program = receiver.deliveries_of(measured(stage.settings())).start();
    let prometheus = watched_by_prometheus(&[&program]).await;
    receiver.is(Mood::Down);
    let _stream = link(&program.api(TENANT), &stage.phone).await;
    prometheus.until_fired(&[Alert::WebhooksLate]).await;
    receiver.is(Mood::Takes);
    prometheus.until_quiet().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes half a minute: `make long`"]
async fn alerts_of_refused_streams_and_tokens_fire_and_clear() {
    if !is_installed() {
        return;
    }
    let stage = Stage::new().await;
    let program = measured(stage.settings()).with("TAUTAN_MAX_STREAMS", "1").start();
    let prometheus = watched_by_prometheus(&[&program]).await;
    let stream = program.api(TENANT).events().await;
    let refused = program.api(OTHER).ask(Method::GET, "events").send().await.expect("an answer");
    assert!(refused.text().await.expect("it ends").contains("retry: 30000"));
    let stranger = Api::with_token(program.base(), "hunter2.hunter2.hunter2");
    for _ in 0..40 {
        let refused = stranger.ask(Method::GET, "status").send().await.expect("an answer");
        assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
    }
    prometheus.until_fired(&[Alert::LimitReached, Alert::AuthenticationFails, Alert::StreamsNearLimit]).await;
    drop(stream);
    prometheus.until_quiet().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes half a minute: `make long`"]
async fn alerts_of_failed_pairings_and_lost_links_fire_and_clear() {
    if !is_installed() {
        return;
    }
    let stage = Stage::new().await;
    let program = measured(stage.settings()).start();
    let prometheus = watched_by_prometheus(&[&program]).await;
    let api = program.api(TENANT);
    let mut stream = api.events().await;
    stage.simulator.faults().set_times(Fault::CorruptHmac, 1);
    api.connect().await;
    let qr = stream.until_qr().await;
    assert!(within("the scan", stage.phone.scan(qr.text("qrText"))).await.is_err());
    prometheus.until_fired(&[Alert::PairingsFail]).await;
    let mut stream = link(&api, &stage.phone).await;
    prometheus.until_quiet().await;
    stage.phone.refuse(Refusal::Banned { expire_seconds: None });
    stream.until_status("disconnected").await;
    prometheus.until_fired(&[Alert::LinksLost]).await;
    prometheus.until_quiet().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes half a minute: `make long`"]
async fn alerts_of_an_instance_that_dies_fire_and_clear() {
    if !is_installed() {
        return;
    }
    let (stage, server, port) = (Stage::new().await, RedisServer::start(), Port::reserve());
    let address = format!("127.0.0.1:{}", port.number);
    let start = || on(&stage, &server.url(), KEY).with("TAUTAN_METRICS_LISTEN", &address).start();
    let mut dying = start();
    let _stream = link(&dying.api(TENANT), &stage.phone).await;
    let survivor = measured(on(&stage, &server.url(), KEY)).start();
    let prometheus = watched_by_prometheus(&[&dying, &survivor]).await;
    dying.kill();
    prometheus.until_fired(&[Alert::Down, Alert::Takeovers]).await;
    let mut again = start();
    prometheus.until_quiet().await;
    for _ in 0..3 {
        // It is scraped between two deaths.
        tokio::time::sleep(std::time::Duration::from_secs(2)).await;
        again.kill();
        again = start();
    }
    prometheus.until_fired(&[Alert::Restarts]).await;
    prometheus.until_quiet().await;
}
