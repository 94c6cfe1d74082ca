//! The requests of users, and of hostile clients of the same program.

use std::time::Duration;

use rand::{RngExt as _, rngs::StdRng, seq::IndexedRandom as _};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tautan_test_support::{Event, EventStream};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpSocket,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::{Scene, Tenant, pause};

const ANSWER_MAX: Duration = Duration::from_secs(5);
/// How long a user waits for the next event before the page is closed.
const PATIENCE: Duration = Duration::from_secs(8);

/// One tenant's user, until the rest.
pub async fn acts(scene: Scene, tenant: Tenant, mut random: StdRng, rest: CancellationToken) {
    while !rest.is_cancelled() {
        let act = random.random_range(0..100);
        let acted = async {
            match act {
                0..35 => links(&scene, &tenant, &mut random).await,
                35..45 => _ = posts(&scene, &tenant, "disconnect", None).await,
                45..50 => {
                    // No device is linked, or the listed one was removed by itself.
                    let devices = tenant.phone.devices();
                    _ = devices.choose(&mut random).is_some_and(|device| tenant.phone.unlink(*device));
                }
                50..65 => watches(&scene, &tenant, &mut random).await,
                65..70 => never_reads(&scene, &tenant, &rest).await,
                70..73 => by_code(&scene, &tenant).await,
                73..78 => _ = posts(&scene, &tenant, "connect", None).await,
                _ => _ = asks(&scene, &tenant, "status").await,
            }
        };
        rest.run_until_cancelled(acted).await;
        pause(&rest, Duration::from_millis(random.random_range(50..1_500))).await;
    }
}

/// An answer that came, looked at. What does not come is a fault's doing, and is asked for again.
async fn answer(scene: &Scene, tenant: &Tenant, ask: reqwest::RequestBuilder) -> Option<(StatusCode, Value)> {
    let answer = timeout(ANSWER_MAX, ask.send()).await.ok()?.ok()?;
    let code = answer.status();
    if code == StatusCode::INTERNAL_SERVER_ERROR || code == StatusCode::UNAUTHORIZED {
        scene.is_wrong(format!("{} was answered {code}", tenant.name));
    }
    let body: Value = timeout(ANSWER_MAX, answer.json()).await.ok()?.ok()?;
    is_own(scene, tenant, &body);
    Some((code, body))
}

/// Whatever fails, no tenant is ever shown the account of another one.
fn is_own(scene: &Scene, tenant: &Tenant, body: &Value) {
    if body["phoneNumber"].as_str().is_some_and(|number| number != tenant.phone.number()) {
        scene.is_wrong(format!("{} is shown {body}", tenant.name));
    }
}

async fn posts(scene: &Scene, tenant: &Tenant, path: &str, body: Option<Value>) -> Option<(StatusCode, Value)> {
    let ask = scene.api(tenant).ask(Method::POST, path);
    answer(scene, tenant, body.iter().fold(ask, reqwest::RequestBuilder::json)).await
}

pub async fn asks(scene: &Scene, tenant: &Tenant, path: &str) -> Option<(StatusCode, Value)> {
    answer(scene, tenant, scene.api(tenant).ask(Method::GET, path)).await
}

pub async fn opens(scene: &Scene, tenant: &Tenant) -> Option<EventStream> {
    let answer = timeout(ANSWER_MAX, scene.api(tenant).ask(Method::GET, "events").send()).await.ok()?.ok()?;
    match answer.status() {
        StatusCode::OK => Some(EventStream::new(answer)),
        StatusCode::TOO_MANY_REQUESTS => None,
        code => {
            scene.is_wrong(format!("the stream of {} was answered {code}", tenant.name));
            None
        }
    }
}

/// `None`: the stream has ended, or nothing comes.
pub async fn next(scene: &Scene, tenant: &Tenant, stream: &mut EventStream) -> Option<Event> {
    let event = timeout(PATIENCE, stream.next_without_deadline()).await.ok()??;
    if event.name == "connection-status" {
        is_own(scene, tenant, &event.data);
    }
    Some(event)
}

/// Presses the button and scans what is shown. True: connected.
pub async fn links_once(scene: &Scene, tenant: &Tenant) -> bool {
    if posts(scene, tenant, "connect", None).await.is_none() {
        return false;
    }
    let Some(mut stream) = opens(scene, tenant).await else { return false };
    while let Some(event) = next(scene, tenant, &mut stream).await {
        if event.name == "qr-code" {
            // The code may have died meanwhile.
            _ = timeout(PATIENCE, tenant.phone.scan(event.text("qrText"))).await;
        }
        if event.is_status("connected") && event.data["stale"] == false {
            return true;
        }
        if event.is_status("disconnected") {
            return false;
        }
    }
    false
}

async fn links(scene: &Scene, tenant: &Tenant, random: &mut StdRng) {
    if links_once(scene, tenant).await && random.random_bool(0.3) {
        for device in tenant.phone.devices() {
            // The client may disconnect before it has read the answer.
            _ = timeout(Duration::from_secs(2), tenant.phone.send_text(device, "Apakah masih ada?")).await;
        }
    }
}

async fn by_code(scene: &Scene, tenant: &Tenant) {
    if posts(scene, tenant, "connect", Some(json!({ "phoneNumber": tenant.phone.number() }))).await.is_none() {
        return;
    }
    let Some(mut stream) = opens(scene, tenant).await else { return };
    while let Some(event) = next(scene, tenant, &mut stream).await {
        if event.name == "pair-code" {
            _ = timeout(PATIENCE, tenant.phone.enter_code(event.text("code"))).await;
        }
        if event.is_status("connected") || event.is_status("disconnected") {
            return;
        }
    }
}

/// A page that is opened and closed, and comes back with the id it has.
async fn watches(scene: &Scene, tenant: &Tenant, random: &mut StdRng) {
    let Some(mut stream) = opens(scene, tenant).await else { return };
    for _ in 0..random.random_range(0..4) {
        if next(scene, tenant, &mut stream).await.is_none() {
            return;
        }
    }
    let id = stream.last_id.clone();
    drop(stream);
    let ask = scene.api(tenant).ask(Method::GET, "events").header("last-event-id", id.unwrap_or("0-0-0".to_owned()));
    if let Ok(Ok(answer)) = timeout(ANSWER_MAX, ask.send()).await
        && answer.status() == StatusCode::OK
    {
        _ = next(scene, tenant, &mut EventStream::new(answer)).await;
    }
}

/// A reader that requests a stream and does not read it.
async fn never_reads(scene: &Scene, tenant: &Tenant, rest: &CancellationToken) {
    let (Ok(socket), base) = (TcpSocket::new_v4(), scene.base()) else { return };
    let Ok(address) = base.trim_start_matches("http://").parse() else { return };
    _ = socket.set_recv_buffer_size(2_048);
    let Ok(Ok(mut connection)) = timeout(ANSWER_MAX, socket.connect(address)).await else { return };
    let token = tautan_test_support::token(&tenant.name);
    let ask = format!("GET /api/whatsapp/events HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\r\n");
    _ = connection.write_all(ask.as_bytes()).await;
    pause(rest, Duration::from_secs(5)).await;
}

/// Requests without a token.
pub async fn attacks(scene: Scene, mut random: StdRng, rest: CancellationToken) {
    let http = reqwest::Client::new();
    while !rest.is_cancelled() {
        let attack = async {
            let base = scene.base();
            match random.random_range(0..5) {
                0 => {
                    let garbage: Vec<u8> = (0..random.random_range(1..400)).map(|_| random.random()).collect();
                    sends(&base, &garbage).await;
                }
                1 => sends(&base, b"GET /api/whatsapp/status HTTP/1.1\r\nhost: x\r\ncookie: fibidy_auth=").await,
                2 => {
                    let long = "x".repeat(random.random_range(1..200_000));
                    _ = http.get(format!("{base}/healthz")).header("x-long", long).send().await;
                }
                3 => {
                    let ask = http.post(format!("{base}/api/whatsapp/connect")).bearer_auth("a.b.c").body("{");
                    if let Ok(answer) = ask.send().await
                        && answer.status() != StatusCode::UNAUTHORIZED
                    {
                        scene.is_wrong(format!("a forged token was answered {}", answer.status()));
                    }
                }
                _ => {
                    let path: String = (0..20).map(|_| char::from(random.random_range(33..127_u8))).collect();
                    _ = http.get(format!("{base}/{path}")).send().await;
                }
            }
        };
        rest.run_until_cancelled(timeout(ANSWER_MAX, attack)).await;
        pause(&rest, Duration::from_millis(random.random_range(10..300))).await;
    }
}

async fn sends(base: &str, bytes: &[u8]) {
    let Ok(mut connection) = tokio::net::TcpStream::connect(base.trim_start_matches("http://")).await else { return };
    _ = connection.write_all(bytes).await;
    _ = timeout(Duration::from_millis(500), connection.read(&mut [0; 1_024])).await;
}
