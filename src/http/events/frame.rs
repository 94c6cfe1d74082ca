use std::{fmt::Write as _, time::Duration};

use serde::Serialize;

use crate::{events::EventId, http::payload::HeartbeatBody};

/// The contract's events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name {
    ConnectionStatus,
    QrCode,
    PairCode,
    PairCodeRefused,
    PasskeyRequired,
    Heartbeat,
    TokenExpired,
}

impl Name {
    /// Every name.
    pub const ALL: &[Self] = &[
        Self::ConnectionStatus,
        Self::QrCode,
        Self::PairCode,
        Self::PairCodeRefused,
        Self::PasskeyRequired,
        Self::Heartbeat,
        Self::TokenExpired,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::ConnectionStatus => "connection-status",
            Self::QrCode => "qr-code",
            Self::PairCode => "pair-code",
            Self::PasskeyRequired => "passkey-required",
            Self::PairCodeRefused => "pair-code-refused",
            Self::Heartbeat => "heartbeat",
            Self::TokenExpired => "token-expired",
        }
    }
}

/// One event of a stream. Its `id` is added later, once it is known whether it is the last frame of its update.
///
/// Invariant: the data has no line end in it. JSON escapes them. `warp::sse` would let a lone CR through, with which
/// the owner of a WhatsApp name could forge events.
pub struct Frame {
    name: Name,
    data: String,
}

impl Frame {
    pub fn new(name: Name, body: &impl Serialize) -> Self {
        let data = serde_json::to_string(body).expect("bodies are structs of texts and numbers");
        debug_assert!(!data.contains(['\r', '\n']));
        Self { name, data }
    }

    pub fn write(&self, id: Option<EventId>, out: &mut String) {
        let written = match id {
            Some(id) => write!(out, "event: {}\nid: {id}\ndata: {}\n\n", self.name.as_str(), self.data),
            None => write!(out, "event: {}\ndata: {}\n\n", self.name.as_str(), self.data),
        };
        written.expect("writing into a string cannot fail");
    }
}

/// Keeps proxies from closing an idle stream, and shows a page that its connection works. It is an event because
/// EventSource hides comments: with those a page would go on showing "connected" over a dead connection.
pub fn heartbeat(every: Duration) -> String {
    let mut text = String::new();
    Frame::new(Name::Heartbeat, &HeartbeatBody::of(every)).write(None, &mut text);
    text
}

/// The first lines of every stream. Each stream gets a `retry:` of its own, so that browsers do not all come back at
/// once after an outage. It is part of the first heartbeat, from which a page counts missed ones: httpx-sse and
/// fetch-event-source dispatch a block of `retry:` alone as an event without name and data, at which a handler that
/// parses JSON fails, and sseclient-py drops it.
pub fn opening(retry_ms: u32, heartbeat_every: Duration) -> String {
    format!("retry: {retry_ms}\n{}", heartbeat(heartbeat_every))
}
