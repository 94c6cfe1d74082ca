//! Key sets at a URL: faults of the publisher, and requests at the same time.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::{TcpListener, TcpStream},
    sync::{Arc, Condvar, Mutex},
    time::{Duration, Instant},
};

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::json;
use tautan::auth::{KeySource, Settings};

use crate::support::{Server, Setup, problem};

const STATUS: &str = "/api/whatsapp/status";
const ED25519_X: &str = "mTbalCscyWPOwD1dVN-S7DRIBkflDoyfecVzaY1qlEI";

/// Publishes one key under a name that can change.
struct Publisher {
    url: String,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    kid: &'static str,
    requests: usize,
    holds: bool,
    redirects_to: Option<String>,
    /// White space in front of the set.
    padding: usize,
}

impl Publisher {
    fn start(kid: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/jwks.json", listener.local_addr().unwrap());
        let shared = Arc::new(Shared { state: Mutex::new(State { kid, ..State::default() }), ..Shared::default() });
        let of_thread = shared.clone();
        std::thread::spawn(move || listener.incoming().for_each(|socket| of_thread.answer(socket.unwrap())));
        Self { url, shared }
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.shared.state.lock().unwrap());
        self.shared.changed.notify_all();
    }

    fn requests(&self) -> usize {
        self.shared.state.lock().unwrap().requests
    }
}

impl Shared {
    fn answer(&self, socket: TcpStream) {
        let mut reader = BufReader::new(socket);
        let mut line = String::new();
        while reader.read_line(&mut line).is_ok_and(|length| length > 2) {
            line.clear();
        }
        let mut state = self.state.lock().unwrap();
        state.requests += 1;
        let state = self.changed.wait_while(state, |state| state.holds).unwrap();
        let body = json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": state.kid, "x": ED25519_X}]});
        let body = format!("{}{body}", " ".repeat(state.padding));
        let (status, location) = match &state.redirects_to {
            Some(url) => ("302 Found", format!("location: {url}\r\n")),
            None => ("200 OK", String::new()),
        };
        let head =
            format!("HTTP/1.1 {status}\r\n{location}content-length: {}\r\nconnection: close\r\n\r\n", body.len());
        // A client that disconnected does not count as a failed fetch.
        let _ = reader.get_mut().write_all(format!("{head}{body}").as_bytes());
    }
}

async fn server(url: &str) -> Server {
    let keys = vec![KeySource::Jwks(url.into())];
    Setup { auth: Settings { keys, ..Settings::default() }, ..Setup::default() }.start().await
}

fn signed(server: &Server, kid: &str) -> String {
    let key = EncodingKey::from_ed_pem(include_bytes!("keys/ed25519.pem")).unwrap();
    let header = Header { kid: Some(kid.into()), ..Header::new(Algorithm::EdDSA) };
    jsonwebtoken::encode(&header, &json!({"id": "toko", "exp": server.second() + 60}), &key).unwrap()
}

/// A token with an invalid signature, as an attacker makes it.
fn unsigned(server: &Server, kid: &str) -> String {
    let signed = signed(server, kid);
    format!("{}.AAAA", signed.rsplit_once('.').unwrap().0)
}

async fn ask(server: &Server, token: String) -> reqwest::Response {
    server.get(STATUS).bearer_auth(token).send().await.unwrap()
}

#[tokio::test]
async fn hardening_a_made_up_kid_does_not_delay_a_new_key() {
    let publisher = Publisher::start("one");
    let server = server(&publisher.url).await;
    assert_eq!(ask(&server, signed(&server, "one")).await.status(), 200);
    problem(ask(&server, unsigned(&server, "made-up")).await, 401, "unknown-key").await;
    publisher.change(|state| state.kid = "two");
    let start = Instant::now();
    assert_eq!(ask(&server, signed(&server, "two")).await.status(), 200);
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
}

#[tokio::test]
async fn hardening_a_flood_of_made_up_kids_leaves_one_fetch_in_10_s() {
    let publisher = Publisher::start("one");
    let server = server(&publisher.url).await;
    assert_eq!(ask(&server, signed(&server, "one")).await.status(), 200);
    let flood = |round: u32| {
        futures::future::join_all((0..100).map(move |n| format!("made-up-{round}-{n}")).map(|kid| {
            let server = &server;
            async move { ask(server, unsigned(server, &kid)).await.status().as_u16() }
        }))
    };
    let start = Instant::now();
    let known = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let start = Instant::now();
        assert_eq!(ask(&server, signed(&server, "one")).await.status(), 200);
        assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    };
    let (first, second, ()) = tokio::join!(flood(1), flood(2), known);
    let answers = [first, second].concat();
    assert!(answers.iter().all(|status| [401, 503].contains(status)), "{answers:?}");
    let allowed = 1 + 3 + start.elapsed().as_secs() as usize / 10;
    assert!(publisher.requests() <= allowed, "{} of {allowed}", publisher.requests());
}

/// Requests of clients that disconnect must not count as failed fetches.
#[tokio::test]
async fn hardening_clients_that_hang_up_make_no_fetch_a_failure() {
    let publisher = Publisher::start("one");
    let server = server(&publisher.url).await;
    assert_eq!(ask(&server, signed(&server, "one")).await.status(), 200);
    publisher.change(|state| (state.holds, state.kid) = (true, "two"));
    for _ in 0..5 {
        let hangs_up = tokio::time::timeout(Duration::from_millis(200), ask(&server, signed(&server, "two"))).await;
        assert!(hangs_up.is_err());
    }
    publisher.change(|state| state.holds = false);
    crate::support::in_time(async {
        while ask(&server, signed(&server, "two")).await.status() != 200 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    assert_eq!(publisher.requests(), 2, "the fetch of the first of them went on");
    problem(ask(&server, unsigned(&server, "made-up")).await, 401, "unknown-key").await;
}

#[tokio::test]
async fn hardening_a_key_set_does_not_follow_redirects() {
    let (publisher, other) = (Publisher::start("one"), Publisher::start("one"));
    publisher.change(|state| state.redirects_to = Some(other.url.clone()));
    let server = server(&publisher.url).await;
    problem(ask(&server, signed(&server, "one")).await, 503, "keys-unavailable").await;
    assert_eq!((publisher.requests(), other.requests()), (1, 0));
}

#[tokio::test]
async fn key_set_that_is_too_large_is_not_used() {
    let publisher = Publisher::start("one");
    publisher.change(|state| state.padding = 256 * 1024);
    let server = server(&publisher.url).await;
    problem(ask(&server, signed(&server, "one")).await, 503, "keys-unavailable").await;
    publisher.change(|state| state.padding = 255 * 1024);
    let is_used = async { while ask(&server, signed(&server, "one")).await.status() != 200 {} };
    tokio::time::timeout(Duration::from_secs(15), is_used).await.expect("one that fits is used");
}
