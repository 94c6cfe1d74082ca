//! A proxy in the environment is not used for WhatsApp and not for loopback.

use std::{
    collections::BTreeSet,
    io::{BufRead as _, BufReader, Write as _},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread::JoinHandle,
};

use tautan_test_support::{Program, Receiver, Settings, secret, token};

use crate::stage::{Stage, TENANT, link};

const CLIENT_VERSION: u32 = 2_000_000_000;
/// A name that leads nowhere (RFC 6761).
const BACK_END: &str = "https://back-end.invalid/hooks";
const KEYS: &str = "https://keys.invalid/jwks.json";

/// Records each request, and refuses it.
struct Proxy {
    url: String,
    asked: Arc<Mutex<Vec<String>>>,
    listener: Option<JoinHandle<()>>,
}

impl Proxy {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let writes = asked.clone();
        let listener = std::thread::spawn(move || {
            for mut connection in listener.incoming().map_while(Result::ok) {
                let mut line = String::new();
                BufReader::new(&connection).read_line(&mut line).expect("it is asked for something");
                if line.is_empty() {
                    break;
                }
                writes.lock().expect("no panic under it").push(line.trim_end().to_owned());
                // The client may have disconnected.
                let _ = connection.write_all(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n");
            }
        });
        Self { url, asked, listener: Some(listener) }
    }

    /// Whichever variable a client looks at.
    fn named_by(&self, settings: Settings) -> Settings {
        ["ALL_PROXY", "HTTPS_PROXY", "HTTP_PROXY", "https_proxy", "http_proxy"]
            .iter()
            .fold(settings, |settings, name| settings.with(name, &self.url))
    }

    /// All requests, after the last one.
    fn asked(mut self) -> Vec<String> {
        TcpStream::connect(self.url.trim_start_matches("http://")).expect("it listens");
        self.listener.take().expect("asked once").join().expect("no panic");
        self.asked.lock().expect("no panic").clone()
    }
}

/// Sends a token that no local key can verify, so that the key set is fetched.
async fn needs_key_set(program: &Program) {
    let stranger = format!("{}AAAA", token(TENANT));
    let url = format!("{}/api/whatsapp/status", program.base());
    let answer = reqwest::Client::new().get(url).bearer_auth(stranger).send().await.expect("an answer");
    assert!(!answer.status().is_success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn proxy_receives_no_request_to_whatsapp_or_loopback() {
    let (stage, receiver, proxy) = (Stage::new().await, Receiver::start(), Proxy::start());
    stage.simulator.publish(Some(CLIENT_VERSION));
    // No server listens there.
    let settings = receiver.deliveries_of(stage.settings()).with("JWT_JWKS", "http://127.0.0.1:1/jwks.json");
    let mut program = proxy.named_by(settings).start();
    needs_key_set(&program).await;
    link(&program.api(TENANT), &stage.phone).await;
    receiver.until("word of the link", |deliveries| deliveries.iter().any(|delivery| delivery.is(TENANT, "connected")));
    program.terminate();
    assert!(program.wait().success());
    assert_eq!((stage.simulator.lookups(), stage.simulator.sent_versions().last()), (1, Some(&CLIENT_VERSION)));
    assert_eq!(proxy.asked(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn remote_hosts_are_requested_through_the_proxy() {
    let both = ["CONNECT back-end.invalid:443 HTTP/1.1", "CONNECT keys.invalid:443 HTTP/1.1"];
    for (excepted, expected) in [("", &both[..]), ("back-end.invalid", &both[1..]), (".invalid", &[])] {
        let (stage, proxy) = (Stage::new().await, Proxy::start());
        let settings = proxy.named_by(stage.settings()).with("NO_PROXY", excepted);
        let settings = settings.with("TAUTAN_WEBHOOK_URL", BACK_END).with("TAUTAN_WEBHOOK_SECRET", &secret());
        let mut program = settings.with("JWT_JWKS", KEYS).start();
        needs_key_set(&program).await;
        program.api(TENANT).connect().await;
        program.wait_for_line("webhook delivery fails, retrying");
        program.kill();
        let asked: BTreeSet<String> = proxy.asked().into_iter().collect();
        assert_eq!(Vec::from_iter(&asked), expected, "with NO_PROXY={excepted}");
    }
}
