use bytes::Bytes;
use futures::{StreamExt as _, stream::BoxStream};
use reqwest::{RequestBuilder, Response, StatusCode, header::HeaderMap};
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

/// The text between two empty lines of a stream.
#[derive(Clone, Debug)]
pub enum Frame {
    Heartbeat { every: f64, retry_ms: Option<u32> },
    Event(Event),
}

/// An open stream, read as it comes. Tests that read a stream of ours with curl use [`Frame::read`].
pub struct EventStream {
    pub headers: HeaderMap,
    /// The pause before coming back that the stream asks for; 0 until its first frame is read.
    pub retry_ms: u32,
    /// Everything that came, for tests that look at bytes.
    pub bytes: Vec<u8>,
    pub last_id: Option<String>,
    body: BoxStream<'static, reqwest::Result<Bytes>>,
    unread: String,
}

impl EventStream {
    /// Reads the stream from its first frame on, which has to hold `retry:`.
    pub async fn open(request: RequestBuilder) -> Self {
        let answer = within("the stream's headers", request.send()).await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::OK);
        let mut stream = Self::new(answer);
        match stream.frame().await {
            Some(Frame::Heartbeat { retry_ms: Some(_), .. }) => stream,
            other => panic!("a stream begins with retry in a heartbeat, not {other:?}"),
        }
    }

    pub fn new(answer: Response) -> Self {
        let headers = answer.headers().clone();
        let body = answer.bytes_stream().boxed();
        Self { headers, retry_ms: 0, bytes: Vec::new(), last_id: None, body, unread: String::new() }
    }

    /// The next frame. `None`: the stream has ended. Without the deadline a test whose event never comes waits for ever:
    /// heartbeats keep its stream open.
    pub async fn frame(&mut self) -> Option<Frame> {
        within("the next frame", self.frame_without_deadline()).await
    }

    async fn frame_without_deadline(&mut self) -> Option<Frame> {
        loop {
            if let Some((frame, rest)) = self.unread.split_once("\n\n") {
                let (frame, rest) = (Frame::read(frame), rest.to_owned());
                self.unread = rest;
                match &frame {
                    Frame::Heartbeat { retry_ms: Some(ms), .. } => {
                        assert_eq!(self.retry_ms, 0, "retry is sent once");
                        self.retry_ms = *ms;
                    }
                    Frame::Heartbeat { retry_ms: None, .. } => {}
                    Frame::Event(event) => self.last_id = event.id.clone().or(self.last_id.take()),
                }
                return Some(frame);
            }
            let part = self.body.next().await?.ok()?;
            self.bytes.extend_from_slice(&part);
            self.unread.push_str(std::str::from_utf8(&part).expect("the stream is UTF-8"));
        }
    }

    /// All frames until the stream ends.
    pub async fn rest(&mut self) -> Vec<Frame> {
        let mut all = Vec::new();
        while let Some(frame) = self.frame().await {
            all.push(frame);
        }
        all
    }

    /// The next event but for heartbeats, as a page that ignores them sees it. `None`: the stream has ended.
    pub async fn next(&mut self) -> Option<Event> {
        within("the next event", self.next_without_deadline()).await
    }

    /// For a reader that watches in the background, as long as its test lasts.
    pub async fn next_without_deadline(&mut self) -> Option<Event> {
        loop {
            if let Frame::Event(event) = self.frame_without_deadline().await? {
                return Some(event);
            }
        }
    }

    /// The next event, which has to have this name: its id and its data.
    pub async fn expect(&mut self, name: &str) -> (Option<String>, Value) {
        let event = self.next().await.expect("the stream goes on");
        assert_eq!(event.name, name, "{}", event.data);
        (event.id, event.data)
    }

    /// The next expected event; earlier ones are skipped.
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

impl Frame {
    /// Reads the lines of a frame, without the empty line behind it. Stricter than clients are: a frame contains only the
    /// fields that the documents name.
    pub fn read(frame: &str) -> Self {
        const FIELDS: [&str; 4] = ["retry: ", "event: ", "id: ", "data: "];
        let lines: Vec<&str> = frame.split('\n').collect();
        let field = |name: &str| lines.iter().find_map(|line| line.strip_prefix(name));
        let data = field("data: ").unwrap_or_else(|| panic!("an event without data is not dispatched: {frame:?}"));
        let known = lines.iter().all(|line| FIELDS.iter().any(|field| line.starts_with(field)));
        assert!(known && !frame.contains('\r'), "{frame:?}");
        let data: Value = serde_json::from_str(data).expect("data is JSON on one line");
        let (name, id) = (field("event: ").expect("each event has a name"), field("id: ").map(str::to_owned));
        let retry_ms = field("retry: ").map(|ms| ms.parse::<u32>().expect("a number"));
        if name == "heartbeat" {
            assert_eq!(id, None, "a heartbeat does not move the reader's place");
            return Self::Heartbeat { every: data["every"].as_f64().expect("a number"), retry_ms };
        }
        assert_eq!(retry_ms, None, "{frame:?}");
        Self::Event(Event { name: name.to_owned(), id, data })
    }
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
