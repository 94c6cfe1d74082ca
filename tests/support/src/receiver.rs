use std::{
    collections::HashMap,
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Condvar, Mutex, MutexGuard},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::Value;
use sha2::Sha256;

use crate::{Settings, rank};

/// Longer than the longest wait between two deliveries in the tests, and than the lease of a dead instance.
const DEADLINE: Duration = Duration::from_secs(150);
const KEY: &str = "a-signing-key-of-the-back-end-32";

/// A SaaS product's back end: receives webhooks, checks each signature, and can fail.
pub struct Receiver {
    address: SocketAddr,
    shared: Arc<Shared>,
    listener: Option<JoinHandle<()>>,
}

struct Shared {
    seen: Mutex<Seen>,
    changed: Condvar,
}

#[derive(Default)]
struct Seen {
    mood: Mood,
    /// Deliveries that were answered with 200.
    deliveries: Vec<Delivery>,
    /// Connections and requests that were not answered with 200.
    refused: usize,
    over: bool,
}

#[derive(Clone, Default, PartialEq)]
pub enum Mood {
    #[default]
    Takes,
    /// Closes each connection before it reads.
    Down,
    Answers(u16),
    /// With a `Retry-After` of so many seconds.
    IsBusy(u16, u64),
    /// Reads requests for this tenant and does not answer while it hangs.
    HangsFor(&'static str),
    /// Answers 410 to requests for this tenant, and 200 to all others.
    GoneFor(&'static str),
}

#[derive(Clone, Debug)]
pub struct Delivery {
    pub name: String,
    pub text: String,
    pub body: Value,
}

impl Delivery {
    /// Status and reason.
    pub fn says(&self) -> (String, String) {
        let word = |field: &str| self.body["data"][field].as_str().unwrap_or_default().to_owned();
        (word("status"), word("reason"))
    }

    pub fn is(&self, tenant: &str, status: &str) -> bool {
        self.body["tenant"] == tenant && self.body["data"]["status"] == status
    }
}

impl Receiver {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let shared = Arc::new(Shared { seen: Mutex::default(), changed: Condvar::new() });
        let of_thread = shared.clone();
        let thread = std::thread::spawn(move || {
            let mut connections = Vec::new();
            for connection in listener.incoming().map_while(Result::ok) {
                if of_thread.lock().over {
                    break;
                }
                let shared = of_thread.clone();
                connections.push(std::thread::spawn(move || {
                    if shared.serve(connection).is_err() {
                        shared.refuse();
                    }
                }));
            }
            for connection in connections {
                connection.join().expect("every request is as it should be");
            }
        });
        Self { address, shared, listener: Some(thread) }
    }

    pub fn deliveries_of(&self, settings: Settings) -> Settings {
        self.variables().iter().fold(settings, |settings, (name, value)| settings.with(name, value))
    }

    /// What an instance that delivers here is started with.
    pub fn variables(&self) -> [(&'static str, String); 2] {
        let url = format!("http://{}/hooks/hunter2?of=tautan", self.address);
        [("TAUTAN_WEBHOOK_URL", url), ("TAUTAN_WEBHOOK_SECRET", secret())]
    }

    pub fn is(&self, mood: Mood) {
        self.shared.lock().mood = mood;
        self.shared.changed.notify_all();
    }

    /// The deliveries, once there are enough.
    pub fn until(&self, what: &str, enough: impl Fn(&[Delivery]) -> bool) -> Vec<Delivery> {
        self.shared.wait(what, |seen| enough(&seen.deliveries)).deliveries.clone()
    }

    /// Once so many more deliveries failed.
    pub fn refuses(&self, more: usize) {
        let before = self.shared.lock().refused;
        drop(self.shared.wait("failed deliveries", |seen| seen.refused >= before + more));
    }

    /// Once a delivery failed, or hangs.
    pub fn has_refused(&self) {
        drop(self.shared.wait("failed delivery", |seen| seen.refused > 0));
    }

    pub fn deliveries(&self) -> Vec<Delivery> {
        self.shared.lock().deliveries.clone()
    }
}

/// The text that both sides are configured with.
pub fn secret() -> String {
    format!("whsec_{}", BASE64_STANDARD.encode(KEY))
}

/// The deliveries of each tenant are in order: a repeated one is equal, and none comes late.
pub fn in_order(deliveries: &[Delivery]) {
    let mut newest: HashMap<String, (u64, u64)> = HashMap::new();
    for delivery in deliveries {
        let cursor = rank(delivery.body["id"].as_str().expect("an id"));
        let tenant = delivery.body["tenant"].as_str().expect("a tenant").to_owned();
        let before = newest.insert(tenant, cursor);
        assert!(before <= Some(cursor), "{delivery:?} comes late in {deliveries:#?}");
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().expect("no connection panics under it")
    }

    fn wait(&self, what: &str, mut enough: impl FnMut(&Seen) -> bool) -> MutexGuard<'_, Seen> {
        let until = Instant::now() + DEADLINE;
        let mut seen = self.lock();
        while !enough(&seen) {
            let left = until.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "no {what}, but {:#?}", seen.deliveries);
            seen = self.changed.wait_timeout(seen, left).expect("no poison").0;
        }
        seen
    }

    fn refuse(&self) {
        self.lock().refused += 1;
        self.changed.notify_all();
    }

    fn serve(&self, connection: TcpStream) -> io::Result<()> {
        if self.lock().mood == Mood::Down {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        let mut reader = BufReader::new(connection);
        let mut headers = HashMap::new();
        let mut line = String::new();
        reader.read_line(&mut line)?;
        assert!(line.is_empty() || line.starts_with("POST /hooks/hunter2?of=tautan HTTP/1.1"), "{line}");
        loop {
            line.clear();
            reader.read_line(&mut line)?;
            let Some((name, value)) = line.trim_end().split_once(": ") else { break };
            headers.insert(name.to_lowercase(), value.to_owned());
        }
        let header = |name: &str| headers.get(name).cloned().ok_or(io::ErrorKind::UnexpectedEof);
        let mut body = vec![0; header("content-length")?.parse().map_err(|_| io::ErrorKind::InvalidData)?];
        reader.read_exact(&mut body)?;
        let (name, timestamp) = (header("webhook-id")?, header("webhook-timestamp")?);
        let mut mac = Hmac::<Sha256>::new_from_slice(KEY.as_bytes()).expect("any length");
        mac.update(&[format!("{name}.{timestamp}.").as_bytes(), &body].concat());
        let expected = format!("v1,{}", BASE64_STANDARD.encode(mac.finalize().into_bytes()));
        assert_eq!(header("webhook-signature")?, expected);
        let text = String::from_utf8(body).expect("JSON is UTF-8");
        let delivery = Delivery { name, body: serde_json::from_str(&text).expect("JSON"), text };
        let (answer, retry_after) = self.takes(delivery);
        let retry_after = retry_after.map_or(String::new(), |seconds| format!("retry-after: {seconds}\r\n"));
        let rest = "content-length: 0\r\nlocation: http://127.0.0.1:1/\r\n\r\n";
        let answer = format!("HTTP/1.1 {answer} So\r\n{retry_after}{rest}");
        reader.get_mut().write_all(answer.as_bytes())
    }

    /// The status, and the time in `Retry-After`.
    fn takes(&self, delivery: Delivery) -> (u16, Option<u64>) {
        let hangs = |seen: &Seen| matches!(seen.mood, Mood::HangsFor(tenant) if delivery.body["tenant"] == tenant);
        let mut seen = self.lock();
        if hangs(&seen) {
            seen.refused += 1;
            self.changed.notify_all();
            while hangs(&seen) && !seen.over {
                seen = self.changed.wait(seen).expect("no poison");
            }
            return (503, None);
        }
        let answer = match seen.mood {
            Mood::Answers(status) => (status, None),
            Mood::GoneFor(tenant) if delivery.body["tenant"] == tenant => (410, None),
            Mood::IsBusy(status, seconds) => (status, Some(seconds)),
            Mood::Takes | Mood::Down | Mood::HangsFor(_) | Mood::GoneFor(_) => (200, None),
        };
        if answer.0 == 200 {
            seen.deliveries.push(delivery)
        } else {
            seen.refused += 1
        }
        drop(seen);
        self.changed.notify_all();
        answer
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        if let Ok(mut seen) = self.shared.seen.lock() {
            seen.over = true;
        }
        self.shared.changed.notify_all();
        // So that the listener sees it.
        let _ = TcpStream::connect(self.address);
        let ended = self.listener.take().map(JoinHandle::join);
        assert!(
            std::thread::panicking() || ended.is_some_and(|ended| ended.is_ok()),
            "a request was not as it should be"
        );
    }
}
