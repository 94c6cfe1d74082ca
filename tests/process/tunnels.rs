//! Proxies to WhatsApp: every connection goes through them or is not made. The simulator sees where each one comes from:
//! Debian's proxies connect from addresses of their own, and the program itself would come from 127.0.0.1.

use std::{collections::BTreeMap, fs, net::IpAddr};

use serde_json::json;
use tautan_test_support::{
    Api, EventStream, ForwardProxy, PROXY_PASSWORD, Program, RedisServer, RunningProxy, Settings, redis_is_installed,
    token_with,
};

use crate::{
    redis::on,
    stage::{NAME, Stage, TENANT, link, scan},
    starts::{BAD_CONFIGURATION, KEY, fails},
};

const DIRECT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
/// What the simulator publishes as the newest client version, so that it is looked up.
const CLIENT_VERSION: u32 = 2_000_000_000;

fn through(stage: &Stage, url: &str) -> Settings {
    let file = stage.directory.path().join("proxy-url");
    fs::write(&file, url).expect("it can be written");
    stage.settings().with("TAUTAN_WHATSAPP_PROXY_FILE", file.to_str().expect("a plain name"))
}

/// Waits until the page shows that the proxy fails.
async fn is_shown(stream: &mut EventStream) {
    let failed = |event: &tautan_test_support::Event| event.data["reason"] == "proxy-failed";
    let shown = stream.until("a failed proxy", failed).await;
    assert_eq!((&shown.data["status"], &shown.data["retryable"]), (&json!("disconnected"), &json!(true)), "{shown:?}");
}

/// Every connection came from the proxy, and there were some.
fn assert_only_from(stage: &Stage, kinds: &[ForwardProxy]) {
    let accepted = stage.simulator.accepted();
    let expected: Vec<IpAddr> = kinds.iter().map(|kind| kind.outgoing()).collect();
    assert_eq!(accepted.keys().copied().collect::<Vec<_>>(), expected, "{accepted:?}");
}

fn ends(mut program: Program) -> String {
    program.terminate();
    let (code, output) = program.ended();
    assert_eq!(code, Some(0), "{output}");
    output
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whole_life_of_a_link_goes_through_the_proxy() {
    for kind in ForwardProxy::ALL {
        let Some(proxy) = kind.start() else { return };
        let stage = Stage::new().await;
        stage.simulator.publish(Some(CLIENT_VERSION));
        let settings = || through(&stage, &proxy.url()).with("RUST_LOG", "trace");
        let program = settings().start();
        drop(link(&program.api(TENANT), &stage.phone).await);
        let arguments = fs::read(format!("/proc/{}/cmdline", program.pid())).expect("it runs");
        assert!(!String::from_utf8_lossy(&arguments).contains("rahasia"));
        let mut output = ends(program);

        let program = settings().start();
        let api = program.api(TENANT);
        let mut stream = api.events().await;
        stream.until_status("connected").await;
        stage.proves_device().await;
        api.disconnect().await;
        let ended = stream.until_status("disconnected").await;
        assert_eq!((&ended.data["reason"], ended.data.get("remote")), (&json!("unlinked-by-user"), None));
        output.push_str(&ends(program));

        assert_eq!((stage.simulator.lookups(), stage.phone.devices()), (1, vec![]));
        assert_only_from(&stage, &[kind]);
        for secret in [PROXY_PASSWORD, "rahasia"] {
            assert!(!output.contains(secret), "{kind:?} stands in the log");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_password_of_a_proxy_connects_nothing() {
    for kind in ForwardProxy::ALL {
        let Some(proxy) = kind.start() else { return };
        let stage = Stage::new().await;
        stage.simulator.publish(Some(CLIENT_VERSION));
        let program = through(&stage, &proxy.url_with("hunter2")).with("RUST_LOG", "trace").start();
        let api = program.api(TENANT);
        let mut stream = api.events().await;
        api.connect().await;
        is_shown(&mut stream).await;
        assert_eq!(stage.simulator.accepted(), BTreeMap::new(), "{kind:?}: something went past the proxy");
        let output = ends(program);
        assert!(!output.contains("hunter2") && output.contains("the proxy makes no connection"), "{output}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pairing_goes_on_by_itself_when_its_proxy_is_back() {
    let Some(mut proxy) = ForwardProxy::Microsocks.start() else { return };
    let stage = Stage::new().await;
    proxy.stop();
    let program = through(&stage, &proxy.url()).start();
    let api = program.api(TENANT);
    let mut stream = api.events().await;
    api.connect().await;
    is_shown(&mut stream).await;
    proxy.start_again();
    scan(&mut stream, &stage.phone).await;
    stream.until_status("connected").await;
    assert_only_from(&stage, &[ForwardProxy::Microsocks]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pairing_whose_proxy_stays_away_ends() {
    let Some(mut proxy) = ForwardProxy::Tinyproxy.start() else { return };
    let stage = Stage::new().await;
    proxy.stop();
    let mut program = through(&stage, &proxy.url()).with("SIM_PATIENCE", "0.02").start();
    let api = program.api(TENANT);
    let mut stream = api.events().await;
    api.connect().await;
    is_shown(&mut stream).await;
    program.wait_for_line("session ended");
    assert_eq!(stage.credentials_after(&mut program), 0);
    assert_eq!(stage.simulator.accepted(), BTreeMap::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn proxy_that_dies_in_a_session_is_redialled_alone() {
    for kind in ForwardProxy::ALL {
        let Some(mut proxy) = kind.start() else { return };
        let stage = Stage::new().await;
        let program = through(&stage, &proxy.url()).start();
        let api = program.api(TENANT);
        let mut stream = link(&api, &stage.phone).await;
        let before = stage.simulator.accepted();
        proxy.stop();
        is_shown(&mut stream).await;
        // The user tries again, which shows the link until the next dial has failed.
        api.connect().await;
        stream.until("the next try", |event| event.data["reason"] == "resuming").await;
        is_shown(&mut stream).await;
        assert_eq!(stage.simulator.accepted(), before, "{kind:?}: something went past the proxy");
        proxy.start_again();
        stream.until_status("connected").await;
        stage.proves_device().await;
        assert_only_from(&stage, &[kind]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn start_without_its_proxy_shows_the_reason_and_resumes_later() {
    let Some(mut proxy) = ForwardProxy::Tinyproxy.start() else { return };
    let stage = Stage::new().await;
    let program = through(&stage, &proxy.url()).start();
    drop(link(&program.api(TENANT), &stage.phone).await);
    ends(program);
    proxy.stop();
    let program = through(&stage, &proxy.url()).start();
    let mut stream = program.api(TENANT).events().await;
    is_shown(&mut stream).await;
    // Another restart goes on where this one was.
    ends(program);
    let program = through(&stage, &proxy.url()).start();
    proxy.start_again();
    program.api(TENANT).events().await.until_status("connected").await;
    stage.proves_device().await;
    assert_only_from(&stage, &[ForwardProxy::Tinyproxy]);
}

/// Proxies by name, and the tenants whose tokens name them.
struct Named {
    stage: Stage,
    http: RunningProxy,
    socks: RunningProxy,
}

impl Named {
    async fn new() -> Option<Self> {
        let (http, socks) = (ForwardProxy::Tinyproxy.start()?, ForwardProxy::Microsocks.start()?);
        Some(Self { stage: Stage::new().await, http, socks })
    }

    fn lists(&self, lines: &str) -> Settings {
        let file = self.stage.directory.path().join("proxies");
        fs::write(&file, lines).expect("it can be written");
        let settings = self.stage.settings().with("TAUTAN_WHATSAPP_PROXY_CLAIM", "/way/name");
        settings.with("TAUTAN_WHATSAPP_PROXIES_FILE", file.to_str().expect("a plain name"))
    }

    fn both(&self) -> String {
        format!("# ours\njakarta = {}\nsurabaya = {}\n", self.http.url(), self.socks.url())
    }
}

fn api(program: &Program, tenant: &str, proxy: Option<&str>) -> Api {
    let claims = json!({ "id": tenant, "exp": 4_000_000_000_u64, "way": { "name": proxy } });
    Api::with_token(program.base(), &token_with(claims))
}

fn from(stage: &Stage, address: IpAddr) -> u64 {
    stage.simulator.accepted().get(&address).copied().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn named_proxy_stays_over_restarts_and_plain_tokens() {
    let Some(named) = Named::new().await else { return };
    let stage = &named.stage;
    let (http, socks) = (ForwardProxy::Tinyproxy.outgoing(), ForwardProxy::Microsocks.outgoing());
    let program = named.lists(&named.both()).start();
    drop(link(&api(&program, TENANT, Some("jakarta")), &stage.phone).await);
    assert_eq!((from(stage, socks), from(stage, DIRECT)), (0, 0));
    let before = from(stage, http);
    let other = stage.simulator.phone("6281234567891", NAME);
    drop(link(&api(&program, "toko-budi", Some("surabaya")), &other).await);
    assert_eq!((from(stage, http), from(stage, DIRECT)), (before, 0));
    ends(program);

    // Both resume, each on its own way, and nothing names the proxies but what is kept.
    let before = (from(stage, http), from(stage, socks));
    let program = named.lists(&named.both()).start();
    for tenant in [TENANT, "toko-budi"] {
        let plain = api(&program, tenant, None);
        plain.connect().await;
        plain.events().await.until_status("connected").await;
    }
    assert!(from(stage, http) > before.0 && from(stage, socks) > before.1);
    ends(program);
    // A session that begins with an unlink finds the name beside the credentials: the request to link is replaced by then.
    let before = from(stage, http);
    let (code, output) = named.lists(&named.both()).to_erase(TENANT).spawn().ended();
    assert!(code == Some(0) && output.contains("erased: nothing"), "{output}");
    assert_eq!(stage.phone.devices(), []);
    assert!(from(stage, http) > before && from(stage, DIRECT) == 0, "{:?}", stage.simulator.accepted());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn proxy_that_is_missing_from_the_file_connects_nothing() {
    let Some(named) = Named::new().await else { return };
    let stage = &named.stage;
    let program = named.lists(&named.both()).start();
    drop(link(&api(&program, TENANT, Some("jakarta")), &stage.phone).await);
    let unknown = api(&program, "toko-budi", Some("bandung"));
    let mut stream = unknown.events().await;
    unknown.connect().await;
    is_shown(&mut stream).await;
    ends(program);

    let before = stage.simulator.accepted();
    let without = format!("surabaya = {}", named.socks.url());
    let program = named.lists(&without).with("TAUTAN_WHATSAPP_PROXY", &named.socks.url()).start();
    let plain = api(&program, TENANT, None);
    is_shown(&mut plain.events().await).await;
    plain.connect().await;
    is_shown(&mut plain.events().await).await;
    assert_eq!(stage.simulator.accepted(), before, "neither directly nor by another proxy");
    ends(program);

    let program = named.lists(&named.both()).start();
    api(&program, TENANT, None).events().await.until_status("connected").await;
    stage.proves_device().await;
    assert_only_from(stage, &[ForwardProxy::Tinyproxy]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn named_proxy_is_used_by_the_instance_that_takes_over() {
    if !redis_is_installed() {
        return;
    }
    let (Some(named), server) = (Named::new().await, RedisServer::start()) else { return };
    let settings = || {
        let shared = on(&named.stage, &server.url(), KEY);
        let list = named.lists(&named.both());
        list.environment.into_iter().fold(shared, |shared, (name, value)| shared.with(&name, &value))
    };
    let mut first = settings().start();
    drop(link(&api(&first, TENANT, Some("surabaya")), &named.stage.phone).await);
    let second = settings().start();
    first.kill();
    let before = from(&named.stage, ForwardProxy::Microsocks.outgoing());
    let taken = |simulator: &tautan_simulator::Simulator| simulator.logins(named.stage.device()) >= 2;
    named.stage.simulator.wait_until(tautan_test_support::DEADLINE, taken).await.expect("it takes over");
    api(&second, TENANT, None).events().await.until_status("connected").await;
    assert!(from(&named.stage, ForwardProxy::Microsocks.outgoing()) > before);
    assert_only_from(&named.stage, &[ForwardProxy::Microsocks]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn token_that_names_an_address_for_a_proxy_is_refused() {
    let Some(named) = Named::new().await else { return };
    let program = named.lists(&named.both()).start();
    let ask = api(&program, TENANT, Some("http://192.0.2.1:3128")).ask(reqwest::Method::POST, "connect");
    let refused = ask.send().await.expect("an answer");
    assert_eq!(refused.status().as_u16(), 401);
    let body: serde_json::Value = refused.json().await.expect("a problem");
    assert_eq!(body["code"], "bad-proxy");
    // Nor does a body name one.
    let plain = api(&program, TENANT, Some("jakarta"));
    let mut stream = plain.events().await;
    let body = json!({ "proxy": "surabaya", "way": { "name": "surabaya" } });
    assert!(
        plain.ask(reqwest::Method::POST, "connect").json(&body).send().await.expect("an answer").status().is_success()
    );
    stream.until_qr().await;
    assert_only_from(&named.stage, &[ForwardProxy::Tinyproxy]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_reaches_whatsapp_through_each_proxy() {
    let Some(mut named) = Named::new().await else { return };
    let output = |named: &Named| {
        let settings = named.lists(&named.both()).with("TAUTAN_WHATSAPP_PROXY", &named.http.url());
        settings.run(&["check"]).spawn().ended()
    };
    let (code, text) = output(&named);
    assert_eq!(code, Some(0), "{text}");
    for way in ["through TAUTAN_WHATSAPP_PROXY: reachable", "through jakarta: reachable", "through surabaya: reachable"]
    {
        assert!(text.contains(way), "{text}");
    }
    named.socks.stop();
    let (code, text) = output(&named);
    assert!(code != Some(0) && text.contains("through surabaya: the proxy has not connected"), "{text}");
    assert!(!text.contains("rahasia") && from(&named.stage, DIRECT) == 0, "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unusable_proxy_refuses_the_start_without_its_password() {
    let stage = Stage::new().await;
    for (url, why) in [("ftp://u:hunter2@proxy:1", "socks5h://"), ("http://u:hunter2@proxy", "port")] {
        let output = fails(
            stage.settings().with("TAUTAN_WHATSAPP_PROXY", url),
            BAD_CONFIGURATION,
            &["TAUTAN_WHATSAPP_PROXY", why],
        );
        assert!(!output.contains("hunter2"), "{output}");
    }
}
