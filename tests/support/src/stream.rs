use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use serde_json::Value;

use crate::within;

/// One event as EventSource would dispatch it.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    pub name: String,
    pub id: Option<String>,
    pub data: Value,
}

impl Event {
    pub fn is_status(&self, status: &str) -> bool {
        self.name == "connection-status" && self.data["status"] == status
    }

    /// As a client that others wrote has dispatched it: name, id and data as texts. Each has a name and JSON, as our
    /// documents say; a handler that relies on it fails otherwise.
    pub fn dispatched(event: &Value) -> Self {
        let text = |field: &str| event[field].as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        let data = text("data").and_then(|data| serde_json::from_str(&data).ok());
        let (Some(name), Some(data)) = (text("event"), data) else { panic!("no event of ours: {event}") };
        Self { name, id: text("id"), data }
    }

    pub fn text(&self, field: &str) -> &str {
        self.data[field].as_str().unwrap_or_else(|| panic!("{field} in {self:?}"))
    }
}

/// An open stream, read as it comes.
pub struct EventStream {
    body: std::pin::Pin<Box<dyn Stream<Item = Result<Bytes, reqwest::Error>> + Send>>,
    /// Everything that came, for tests that look at bytes.
    pub bytes: Vec<u8>,
    unread: String,
    pub last_id: Option<String>,
}

impl EventStream {
    pub fn new(answer: reqwest::Response) -> Self {
        Self { body: answer.bytes_stream().boxed(), bytes: Vec::new(), unread: String::new(), last_id: None }
    }

    /// The next event but for heartbeats, as a page that ignores them sees it. `None`: the stream has ended. Without the
    /// deadline a test whose event never comes waits for ever: heartbeats keep its stream open.
    pub async fn next(&mut self) -> Option<Event> {
        within("the next event", self.next_without_deadline()).await
    }

    /// For a reader that watches in the background, as long as its test lasts.
    pub async fn next_without_deadline(&mut self) -> Option<Event> {
        loop {
            while let Some((block, rest)) = self.unread.split_once("\n\n") {
                let event = parse(block);
                self.unread = rest.to_owned();
                if let Some(event) = event.filter(|event| event.name != "heartbeat") {
                    self.last_id = event.id.clone().or(self.last_id.take());
                    return Some(event);
                }
            }
            let chunk = self.body.next().await?.ok()?;
            self.bytes.extend_from_slice(&chunk);
            self.unread.push_str(std::str::from_utf8(&chunk).expect("the stream is UTF-8"));
        }
    }

    /// The next event that is wanted; those before it are passed over.
    pub async fn until(&mut self, what: &str, mut wanted: impl FnMut(&Event) -> bool) -> Event {
        within(what, async {
            loop {
                let event = self.next().await.unwrap_or_else(|| panic!("the stream ended before {what}"));
                if wanted(&event) {
                    return event;
                }
            }
        })
        .await
    }

    pub async fn until_status(&mut self, status: &str) -> Event {
        self.until(status, |event| event.is_status(status)).await
    }

    pub async fn until_qr(&mut self) -> Event {
        self.until("qr-code", |event| event.name == "qr-code").await
    }

    pub async fn until_pair_code(&mut self) -> Event {
        self.until("pair-code", |event| event.name == "pair-code").await
    }
}

fn parse(block: &str) -> Option<Event> {
    let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name));
    let data = field("data: ")?;
    Some(Event {
        name: field("event: ").unwrap_or("message").to_owned(),
        id: field("id: ").map(str::to_owned),
        data: serde_json::from_str(data).expect("data is JSON on one line"),
    })
}

/// The ids of what a client has dispatched, each once: of an event without an id, clients give the one before or none.
pub fn ids(events: &[Event]) -> Vec<&str> {
    let beside_heartbeats = events.iter().filter(|event| event.name != "heartbeat");
    let mut ids: Vec<&str> = beside_heartbeats.filter_map(|event| event.id.as_deref()).collect();
    ids.dedup();
    ids
}

/// An id's epoch and sequence, which rise within one tenant's journal.
pub fn rank(id: &str) -> (u64, u64) {
    let parts: Vec<&str> = id.split('-').collect();
    let [_, epoch, sequence] = parts[..] else { panic!("an id is JOURNAL-EPOCH-SEQUENCE, not {id}") };
    (u64::from_str_radix(epoch, 16).expect("a hexadecimal number"), sequence.parse().expect("a number"))
}
