//! The listener for back ends: who may use it, and what it does, on every instance.

use std::time::Duration;

use reqwest::{Method, StatusCode, header};
use serde_json::{Value, json};
use tautan_simulator::DeviceId;
use tautan_test_support::{
    Admin, Api, Program, RedisServer, Settings, in_seconds, redis_is_installed, token, token_with, within,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    time::Instant,
};

use crate::{
    redis::on,
    stage::{NUMBER, Stage, TENANT, link},
    starts::{BAD_CONFIGURATION, KEY, fails},
};

const REQUESTS_MAX: usize = 64;
const HEADERS_ARRIVAL_MAX: Duration = Duration::from_secs(10);
const LINKED: usize = 250;
const PAGE: usize = 100;

pub fn with_admin(settings: Settings) -> Settings {
    settings.with("TAUTAN_ADMIN_LISTEN", "127.0.0.1:0")
}

/// Two instances on one Redis.
pub fn pair(stage: &Stage, server: &RedisServer) -> [Program; 2] {
    [(); 2].map(|()| with_admin(on(stage, &server.url(), KEY)).start())
}

pub async fn refused(answer: reqwest::Response) -> (u16, String) {
    let (status, kind) =
        (answer.status().as_u16(), answer.headers()[header::CONTENT_TYPE].to_str().unwrap().to_owned());
    let body: Value = within("a body", answer.json()).await.expect("JSON");
    assert_eq!(kind, "application/problem+json", "{body}");
    (status, body["code"].as_str().expect("a code").to_owned())
}

fn code(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn admin_listener_takes_only_tokens_with_its_scope() {
    let stage = Stage::new().await;
    let program = with_admin(stage.settings()).start();
    let admin = program.admin();
    let ask = || admin.request(Method::POST, "status").json(&json!({ "tenant": TENANT }));
    let answered = |token: String| refused_within(ask().bearer_auth(token));
    assert_eq!(refused_within(ask()).await, code(401, "missing-token"));
    let cookie = format!("fibidy_auth={}", admin.token());
    assert_eq!(refused_within(ask().header(header::COOKIE, cookie)).await, code(401, "missing-token"));
    assert_eq!(answered(token(TENANT)).await, code(403, "scope-missing"), "a tenant's own token");
    let claims = |scope: Value| json!({ "scope": scope, "exp": in_seconds(60) });
    assert_eq!(answered(token_with(claims(json!("whatsapp:administrator")))).await, code(403, "scope-missing"));
    let ended = json!({ "scope": "whatsapp:admin", "exp": in_seconds(0) - 3600 });
    assert_eq!(answered(token_with(ended)).await, code(401, "expired-token"));
    assert_eq!(answered(token_with(json!({ "scope": "whatsapp:admin" }))).await, code(401, "token-without-expiry"));
    assert_eq!(answered(format!("{}x", admin.token())).await, code(401, "wrong-signature"));

    let public = |path: &str, token: &str| {
        let url = format!("{}{path}", program.base());
        reqwest::Client::new().post(url).bearer_auth(token).json(&json!({ "tenant": TENANT }))
    };
    for path in ["/admin/status", "/admin/streams/end", "/admin/disconnect", "/admin/erase", "/admin/linked"] {
        assert_eq!(refused_within(public(path, admin.token())).await, code(404, "not-found"), "{path}");
    }
    assert_eq!(refused_within(public("/api/whatsapp/connect", admin.token())).await, code(401, "bad-tenant"));
    // With a tenant's claim beside the scope it is the tenant's token there, and no more.
    let both = token_with(json!({ "id": TENANT, "scope": "whatsapp:admin", "exp": in_seconds(60) }));
    assert_eq!(Api::with_token(program.base(), &both).status().await["reason"], "never-linked");
    let (_, status) = admin.does("status", json!({ "tenant": TENANT })).await;
    assert_eq!(status, Api::with_token(program.base(), &both).status().await);
}

async fn refused_within(request: reqwest::RequestBuilder) -> (u16, String) {
    refused(within("an answer", request.send()).await.expect("an answer")).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn admin_request_has_a_tenant_in_its_body_alone() {
    let stage = Stage::new().await;
    let program = with_admin(stage.settings()).start();
    let admin = program.admin();
    let ask = |method: Method, path: &str| admin.request(method, path).bearer_auth(admin.token());
    let post = |path: &str| ask(Method::POST, path);
    let body = json!({ "tenant": TENANT });
    for path in ["status/toko-sari", "", "status/"] {
        assert_eq!(refused_within(post(path).json(&body)).await, code(404, "not-found"), "{path}");
    }
    assert_eq!(refused_within(post("erase?tenant=toko-sari").json(&body)).await, code(400, "bad-request"));
    for bad in [json!({}), json!({ "tenant": "a b" }), json!({ "tenant": 7 }), json!({ "tenant": TENANT, "all": true })]
    {
        for path in ["status", "streams/end", "disconnect", "erase"] {
            assert_eq!(refused_within(post(path).json(&bad)).await, code(400, "bad-json"), "{path} {bad}");
        }
    }
    for bad in [json!({ "limit": 0 }), json!({ "limit": 501 }), json!({ "after": "" }), json!({ "tenant": TENANT })] {
        assert_eq!(refused_within(post("linked").json(&bad)).await, code(400, "bad-json"), "{bad}");
    }
    for method in [Method::GET, Method::PUT, Method::DELETE, Method::OPTIONS] {
        let answer = within("an answer", ask(method.clone(), "status").send()).await.expect("an answer");
        assert_eq!(answer.headers()[header::ALLOW], "POST");
        let cors = answer.headers().keys().find(|name| name.as_str().starts_with("access-control"));
        assert_eq!(cors, None, "no browser sends commands here");
        assert_eq!(refused(answer).await, code(405, "method-not-allowed"), "{method}");
    }
    let text = post("status").header(header::CONTENT_TYPE, "text/plain").body(body.to_string());
    assert_eq!(refused_within(text).await, code(415, "unsupported-media-type"));
    let large = json!({ "tenant": "x".repeat(20_000) });
    assert_eq!(refused_within(post("status").json(&large)).await, code(413, "body-too-large"));
    let named = post("status").header("x-request-id", "seven").json(&body);
    let answer = within("an answer", named.send()).await.expect("an answer");
    assert_eq!((answer.status(), &answer.headers()["x-request-id"]), (StatusCode::OK, &"seven".parse().unwrap()));
    assert_eq!(answer.headers()[header::CACHE_CONTROL], "no-store");

    let mut socket = TcpStream::connect(admin.address()).await.expect("it listens");
    socket.write_all(b"\x16\x03\x01 no HTTP\r\n\r\n").await.expect("it reads");
    let mut answer = String::new();
    within("the end", socket.read_to_string(&mut answer)).await.expect("it ends");
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("bad-request"), "{answer}");
}

#[test]
fn admin_listener_has_an_address_of_its_own() {
    let stage = tempfile::tempdir().expect("a directory");
    let settings = || Settings::new(stage.path(), "ws://127.0.0.1:1/").with("TAUTAN_LISTEN", "127.0.0.1:18091");
    let refuses = |settings: Settings, what: &str| fails(settings, BAD_CONFIGURATION, &["TAUTAN_ADMIN_LISTEN", what]);
    refuses(settings().with("TAUTAN_ADMIN_LISTEN", "127.0.0.1:18091"), "is the address of TAUTAN_LISTEN");
    let metrics = settings().with("TAUTAN_METRICS_LISTEN", "127.0.0.1:18092");
    refuses(metrics.with("TAUTAN_ADMIN_LISTEN", "127.0.0.1:18092"), "is the address of TAUTAN_METRICS_LISTEN");
    let local = settings().with("JWT_SECRET", "").with("TAUTAN_ADMIN_LISTEN", "127.0.0.1:18093");
    refuses(local, "no key to check tokens with");
}

async fn lists_every_linked_tenant_once(instances: &[Program]) {
    let names: Vec<_> = (0..LINKED).map(|at| format!("idle-{at:03}")).collect();
    for some in names.chunks(50) {
        let connected = some.iter().enumerate().map(|(at, name)| async move {
            let api = instances[at % instances.len()].api(name);
            let mut stream = api.events().await;
            api.connect().await;
            stream.until_status("connected").await;
        });
        futures::future::join_all(connected).await;
    }
    // Wanted, and not linked: no phone scans.
    instances[0].api("waiting").connect().await;
    for program in instances {
        let (admin, mut listed, mut sizes, mut after) = (program.admin(), Vec::new(), Vec::new(), Value::Null);
        loop {
            let (_, page) = admin.does("linked", json!({ "after": after, "limit": PAGE })).await;
            let tenants = page["tenants"].as_array().expect("a list");
            sizes.push(tenants.len());
            assert!(tenants.iter().all(|one| one["status"] == "connected" && one["phoneNumber"].is_string()), "{page}");
            listed.extend(tenants.iter().map(|one| one["tenant"].as_str().expect("a name").to_owned()));
            after = page["next"].clone();
            if after.is_null() {
                break;
            }
        }
        assert_eq!(listed, names, "in order, each once");
        assert_eq!(sizes, [PAGE, PAGE, LINKED - 2 * PAGE]);
        let (_, page) = admin.does("linked", json!({})).await;
        assert_eq!(page["tenants"].as_array().map(Vec::len), Some(PAGE), "by default");
    }
}

fn stubs(settings: Settings, stage: &Stage) -> Settings {
    with_admin(settings).with("SIM_STUBS", stage.directory.path().to_str().expect("a name in UTF-8"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn admin_lists_every_linked_tenant_once_in_pages() {
    let stage = Stage::new().await;
    lists_every_linked_tenant_once(&[stubs(stage.settings(), &stage).start()]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn admin_lists_tenants_of_all_instances() {
    if !redis_is_installed() {
        return;
    }
    let (stage, server) = (Stage::new().await, RedisServer::start());
    let instances = [(); 2].map(|()| stubs(on(&stage, &server.url(), KEY), &stage).start());
    lists_every_linked_tenant_once(&instances).await;
}

/// `at`: the instance where the tenant links; `admin`: of another one, or the same.
async fn unlinks_and_erases(stage: &Stage, at: &Program, admin: &Admin) {
    let (api, body) = (at.api(TENANT), json!({ "tenant": TENANT }));
    assert_eq!(admin.does("erase", body.clone()).await.1["outcome"], "unknown");
    let mut stream = link(&api, &stage.phone).await;
    let (_, status) = admin.does("status", body.clone()).await;
    assert_eq!((&status["status"], &status["phoneNumber"]), (&json!("connected"), &json!(NUMBER)));
    let (answer, _) = admin.does("disconnect", body.clone()).await;
    assert!(answer == StatusCode::OK || answer == StatusCode::ACCEPTED, "{answer}");
    assert_eq!(stream.until_status("disconnected").await.text("reason"), "unlinked-by-user");
    assert_eq!(stage.phone.devices(), [] as [DeviceId; 0], "WhatsApp received the unlink");

    api.connect().await;
    crate::stage::scan(&mut stream, &stage.phone).await;
    stream.until_status("connected").await;
    assert_eq!(admin.does("erase", body.clone()).await.1["outcome"], "erased");
    assert_eq!(stage.phone.devices(), [] as [DeviceId; 0], "WhatsApp received the unlink");
    stream.until("the erasure", |event| event.data["reason"] == "never-linked").await;
    assert_eq!(admin.does("status", body.clone()).await.1["reason"], "never-linked");
    assert_eq!(admin.does("linked", json!({})).await.1, json!({ "tenants": [], "next": null }));
    assert_eq!(admin.does("erase", body).await.1["outcome"], "unknown");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn admin_unlinks_and_erases_a_tenant() {
    let stage = Stage::new().await;
    let program = with_admin(stage.settings()).start();
    unlinks_and_erases(&stage, &program, &program.admin()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn admin_unlinks_and_erases_where_the_session_runs() {
    if !redis_is_installed() {
        return;
    }
    let (stage, server) = (Stage::new().await, RedisServer::start());
    let [one, other] = pair(&stage, &server);
    unlinks_and_erases(&stage, &one, &other.admin()).await;
    unlinks_and_erases(&stage, &other, &one.admin()).await;
}

/// A back end that hangs keeps no other one out for long, and takes nothing from the service.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn back_ends_that_hang_are_cut_and_more_are_closed() {
    let stage = Stage::new().await;
    let program = with_admin(stage.settings()).start();
    let admin = program.admin();
    let (begun, mut silent) = (Instant::now(), Vec::new());
    for number in 0..REQUESTS_MAX {
        let mut socket = TcpStream::connect(admin.address()).await.expect("it listens");
        // Some send nothing, some half of a request.
        if number % 2 == 0 {
            socket.write_all(b"POST /admin/status HTTP/1.1\r\n").await.expect("it reads");
        }
        silent.push(socket);
    }
    let mut more = TcpStream::connect(admin.address()).await.expect("it listens");
    let ended = within("the end", more.read(&mut [0; 1])).await;
    assert!(ended.is_err() || ended.is_ok_and(|count| count == 0), "it is closed at once");
    assert!(begun.elapsed() < HEADERS_ARRIVAL_MAX / 2);
    program.api(TENANT).status().await;
    for mut socket in silent {
        let mut rest = Vec::new();
        // A reset is an end as well.
        let _ = within("the end", socket.read_to_end(&mut rest)).await;
        assert!(!rest.starts_with(b"HTTP/1.1 200"));
    }
    let cut_after = begun.elapsed();
    assert!(cut_after >= HEADERS_ARRIVAL_MAX - Duration::from_secs(1), "{cut_after:?}");
    admin.does("status", json!({ "tenant": TENANT })).await;
}

/// Without a share for each address, revocations would wait for as long as such a host comes back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_host_keeps_no_other_back_end_out() {
    let stage = Stage::new().await;
    let program = with_admin(stage.settings()).start();
    let admin = program.admin();
    let mut silent = Vec::new();
    for _ in 0..REQUESTS_MAX {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind("127.0.0.2:0".parse().expect("an address")).expect("it is free");
        silent.push(socket.connect(admin.address()).await.expect("it listens"));
    }
    admin.does("status", json!({ "tenant": TENANT })).await;
    let is_open = |socket: &TcpStream| {
        socket.try_read(&mut [0; 1]).is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
    };
    assert_eq!(silent.iter().filter(|socket| is_open(socket)).count(), REQUESTS_MAX / 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn drain_ends_an_idle_connection_of_a_back_end() {
    let stage = Stage::new().await;
    let mut program = with_admin(stage.settings()).start();
    let _idle = TcpStream::connect(program.admin().address()).await.expect("it listens");
    tokio::time::sleep(Duration::from_millis(100)).await;
    let begun = Instant::now();
    program.terminate();
    assert_eq!(program.ended().0, Some(0));
    assert!(begun.elapsed() < HEADERS_ARRIVAL_MAX / 2, "{:?}", begun.elapsed());
}
