//! What the program exports to Prometheus, on a listener of its own.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use tautan::telemetry::all_metrics;
use tautan_test_support::{DEADLINE, Mood, Program, Receiver, RedisServer, Settings, redis_is_installed};

use crate::{
    redis::on,
    stage::{NAME, NUMBER, Stage, TENANT, link, scan},
    starts::KEY,
};

/// Connections that the listener answers at once, and the time that each has.
const SCRAPES_MAX: usize = 16;
const SCRAPE_TIME_MAX: Duration = Duration::from_secs(10);
/// How often an instance counts the webhooks that wait.
const COUNTED_EVERY: Duration = Duration::from_secs(5);

pub fn measured(settings: Settings) -> Settings {
    settings.with("TAUTAN_METRICS_LISTEN", "127.0.0.1:0")
}

/// Everything that the listener answers to this request.
fn ask(address: SocketAddr, request: &str) -> String {
    let mut socket = TcpStream::connect(address).expect("it listens");
    socket.set_read_timeout(Some(DEADLINE)).expect("a time");
    socket.write_all(request.as_bytes()).expect("it reads");
    let mut answer = String::new();
    socket.read_to_string(&mut answer).expect("it answers and closes");
    answer
}

pub fn scrape(program: &Program) -> String {
    let answer = ask(program.metrics_address(), "GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(answer.contains("content-type: text/plain; version=0.0.4"), "{answer}");
    answer.split_once("\r\n\r\n").expect("a body").1.to_owned()
}

/// The value of a series, written as it is exported.
fn value(text: &str, series: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {series} in\n{text}")).parse().expect("a number")
}

fn until(program: &Program, series: &str, wanted: impl Fn(f64) -> bool) -> String {
    let begun = Instant::now();
    loop {
        let text = scrape(program);
        if wanted(value(&text, series)) {
            return text;
        }
        assert!(begun.elapsed() < DEADLINE, "{series} is {}", value(&text, series));
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pairing_and_unlink_are_counted_without_naming_the_tenant() {
    let stage = Stage::new().await;
    let program = measured(stage.settings()).start();
    let (api, other) = (program.api(TENANT), program.api("warung-budi"));
    let mut stream = link(&api, &stage.phone).await;
    let text = scrape(&program);
    for metric in all_metrics() {
        let (name, kind) = (metric.name, metric.kind.as_str());
        assert!(text.contains(&format!("# TYPE {name} {kind}\n")), "{name} is not exported");
        assert!(text.contains(&format!("# HELP {name} {}\n", metric.help())), "{name} has no meaning");
    }
    assert_eq!(value(&text, "tautan_streams_open"), 1.0);
    assert_eq!(value(&text, "tautan_sessions{status=\"connected\",reason=\"\"}"), 1.0);
    assert_eq!(value(&text, "tautan_pairings_total{outcome=\"connected\"}"), 1.0);
    assert_eq!(value(&text, "tautan_first_code_seconds_count"), 1.0);
    assert_eq!((value(&text, "tautan_pairing_codes_count"), value(&text, "tautan_pairing_codes_sum")), (1.0, 1.0));
    assert_eq!(value(&text, "tautan_store_state{state=\"ok\"}"), 1.0);
    // Starting, code, scanned, connected; perhaps the account's name.
    let (published, delivered) =
        (value(&text, "tautan_events_published_total"), value(&text, "tautan_events_delivered_total"));
    assert!((4.0..=5.0).contains(&published) && (4.0..=5.0).contains(&delivered), "{published} {delivered}");
    assert!(value(&text, "process_open_fds") > 5.0 && value(&text, "process_resident_memory_bytes") > 1e6);
    assert!(value(&text, &format!("tautan_build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION"))) == 1.0);

    other.connect().await;
    other.disconnect().await;
    api.disconnect().await;
    stream.until_status("disconnected").await;
    assert_eq!(api.ask(reqwest::Method::GET, "qr").send().await.expect("an answer").status(), 404);
    let text = until(&program, "tautan_links_ended_total{reason=\"unlinked-by-user\"}", |ended| ended == 1.0);
    let text = if value(&text, "tautan_pairings_total{outcome=\"cancelled\"}") == 1.0 {
        text
    } else {
        until(&program, "tautan_pairings_total{outcome=\"cancelled\"}", |ended| ended == 1.0)
    };
    assert_eq!(value(&text, "tautan_problems_total{code=\"no-qr\"}"), 1.0);
    until(&program, "tautan_sessions{status=\"connected\",reason=\"\"}", |sessions| sessions == 0.0);
    drop(stream);
    let text = until(&program, "tautan_streams_open", |open| open == 0.0);
    for hidden in [TENANT, "warung-budi", NUMBER, NAME] {
        assert!(!text.contains(hidden), "{hidden} in\n{text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reached_limit_is_counted_by_its_word() {
    let stage = Stage::new().await;
    let settings = measured(stage.settings()).with("TAUTAN_MAX_STREAMS_PER_TENANT", "1");
    let program = settings.with("TAUTAN_LIMIT_COMMAND_BURST", "1").with("TAUTAN_LIMIT_COMMANDS", "1").start();
    let api = program.api(TENANT);
    let _stream = api.events().await;
    assert_eq!(api.ask(reqwest::Method::GET, "events").send().await.expect("an answer").status(), 429);
    api.connect().await;
    assert_eq!(api.ask(reqwest::Method::POST, "connect").send().await.expect("an answer").status(), 429);
    let text = scrape(&program);
    for (limit, code) in [("streams-per-tenant", "too-many-streams"), ("commands", "too-many-commands")] {
        assert_eq!(value(&text, &format!("tautan_limit_reached_total{{limit=\"{limit}\"}}")), 1.0, "{limit}");
        assert_eq!(value(&text, &format!("tautan_problems_total{{code=\"{code}\"}}")), 1.0, "{code}");
    }
    assert_eq!(value(&text, "tautan_limit_reached_total{limit=\"dials\"}"), 0.0, "it is exported from the start");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn webhooks_that_wait_are_counted_with_the_age_of_the_oldest() {
    let (stage, receiver) = (Stage::new().await, Receiver::start());
    let program = receiver.deliveries_of(measured(stage.settings())).start();
    receiver.is(Mood::Answers(500));
    let api = program.api(TENANT);
    let mut stream = api.events().await;
    api.connect().await;
    scan(&mut stream, &stage.phone).await;
    stream.until_status("connected").await;
    until(&program, "tautan_webhook_oldest_seconds", |age| age > 1.0);
    let text = scrape(&program);
    assert_eq!(value(&text, "tautan_webhooks_waiting"), 1.0);
    assert!(value(&text, "tautan_webhooks_total{outcome=\"refused\"}") >= 1.0);
    receiver.is(Mood::Takes);
    until(&program, "tautan_webhooks_waiting", |waiting| waiting == 0.0);
    let text = scrape(&program);
    assert_eq!(value(&text, "tautan_webhook_oldest_seconds"), 0.0);
    assert!(value(&text, "tautan_webhooks_total{outcome=\"delivered\"}") >= 1.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn takeover_and_heartbeats_on_redis_are_counted() {
    if !redis_is_installed() {
        return;
    }
    let (stage, server, receiver) = (Stage::new().await, RedisServer::start(), Receiver::start());
    receiver.is(Mood::Down);
    let start = || receiver.deliveries_of(measured(on(&stage, &server.url(), KEY))).start();
    let mut owner = start();
    let _stream = link(&owner.api(TENANT), &stage.phone).await;
    let text = until(&owner, "tautan_lease_age_seconds", |age| age > 0.0);
    assert!(value(&text, "tautan_lease_age_seconds") < 3.0, "a heartbeat each second");
    assert_eq!(value(&text, "tautan_takeovers_total"), 0.0);
    let other = start();
    owner.kill();
    let text = until(&other, "tautan_takeovers_total", |takeovers| takeovers == 1.0);
    assert_eq!(value(&text, "tautan_redis_errors_total{kind=\"away\"}"), 0.0);
    until(&other, "tautan_webhooks_waiting", |waiting| waiting == 1.0);
    until(&other, "tautan_webhook_oldest_seconds", |age| age > 1.0);
    until(&other, "tautan_sessions{status=\"connected\",reason=\"\"}", |sessions| sessions == 1.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_stand_on_their_own_listener_alone() {
    let stage = Stage::new().await;
    let program = measured(stage.settings()).start();
    let metrics = program.metrics_address();
    for (request, status) in [
        ("HEAD /metrics HTTP/1.1\r\nhost: x\r\n\r\n", "200"),
        ("POST /metrics HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n", "405"),
        ("GET / HTTP/1.1\r\nhost: x\r\n\r\n", "404"),
        ("GET /metrics/ HTTP/1.1\r\nhost: x\r\n\r\n", "404"),
        ("GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n", "404"),
        ("GET /api/whatsapp/status HTTP/1.1\r\nhost: x\r\n\r\n", "404"),
        ("hello\r\n\r\n", "400"),
    ] {
        let answer = ask(metrics, request);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request}: {answer}");
    }
    let main = ask(program.address(), "GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    assert!(main.starts_with("HTTP/1.1 404 "), "{main}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_public_listener_is_open_by_default() {
    let stage = Stage::new().await;
    let mut program = stage.start();
    let line = program.wait_for_line("\"listening\"");
    assert!(!line.contains("metrics") && !line.contains("admin"), "{line}");
    drop(program);
    let address = "127.0.0.1:9464";
    let refused = stage.settings().with("TAUTAN_LISTEN", address).with("TAUTAN_METRICS_LISTEN", address);
    let (code, output) = refused.spawn().ended();
    assert!(code == Some(64) && output.contains("TAUTAN_METRICS_LISTEN: is the address of TAUTAN_LISTEN"), "{output}");
}

/// What waits in Redis is counted for the metrics alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiting_webhooks_are_not_counted_without_a_listener() {
    if !redis_is_installed() {
        return;
    }
    let (stage, receiver) = (Stage::new().await, Receiver::start());
    for (is_measured, settings) in
        [(false, Stage::settings as fn(&Stage) -> Settings), (true, |stage| measured(stage.settings()))]
    {
        let server = RedisServer::start();
        let shared = settings(&stage).with("REDIS_URL", &server.url()).with("TAUTAN_ENCRYPTION_KEY", KEY);
        let _program = receiver.deliveries_of(shared).start();
        tokio::time::sleep(COUNTED_EVERY + Duration::from_secs(1)).await;
        let commands = String::from_utf8_lossy(&server.ask(&["INFO", "commandstats"])).into_owned();
        assert_eq!(commands.contains("cmdstat_zcard:"), is_measured, "{commands}");
    }
}

/// A scraper that hangs keeps no other one out for long, and takes nothing from the service.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scrapers_that_hang_are_cut_and_more_are_closed() {
    let stage = Stage::new().await;
    let program = measured(stage.settings()).start();
    let begun = Instant::now();
    let silent: Vec<_> = (0..SCRAPES_MAX)
        .map(|number| {
            let mut socket = TcpStream::connect(program.metrics_address()).expect("it listens");
            socket.set_read_timeout(Some(SCRAPE_TIME_MAX * 2)).expect("a time");
            // Some send nothing, some half of a request.
            if number % 2 == 0 {
                socket.write_all(b"GET /metrics HTTP/1.1\r\n").expect("it reads");
            }
            socket
        })
        .collect();
    let one_more = ask(program.metrics_address(), "");
    assert_eq!(one_more, "", "it is closed at once");
    assert!(begun.elapsed() < SCRAPE_TIME_MAX / 2);
    program.api(TENANT).status().await;
    for mut socket in silent {
        let mut rest = Vec::new();
        // A reset is an end as well.
        let _ = socket.read_to_end(&mut rest);
        assert!(!rest.starts_with(b"HTTP/1.1 200"));
    }
    let cut_after = begun.elapsed();
    assert!(
        cut_after >= SCRAPE_TIME_MAX - Duration::from_secs(1) && cut_after < SCRAPE_TIME_MAX * 3 / 2,
        "{cut_after:?}"
    );
    scrape(&program);
}
