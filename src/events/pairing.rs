use std::{
    fmt,
    sync::{Arc, OnceLock},
    time::Duration,
};

use serde::{Deserialize, Deserializer, Serialize, de::Error as _};

use super::{PairRefusal, PhoneNumber};
use crate::{clock::Timestamp, qr};

/// Identifies one window of codes and the pairing that follows from it. Times cannot: those of two windows can be
/// equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PairingId(u64);

impl PairingId {
    /// An id of these bits, which the caller draws at random.
    pub fn new(bits: u64) -> Self {
        Self(bits)
    }

    /// For a code that was stored before windows had an id: no reader can have seen it.
    pub(super) fn random() -> Self {
        Self(rand::random())
    }
}

impl fmt::Display for PairingId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// When a code or question ends. Without the lifetime, a clock that is set back by an hour would extend a code of a
/// minute by an hour. `None`: it was stored before lifetimes were.
pub(super) fn ends(expires_at: Timestamp, lifetime: Option<Duration>, now: Timestamp) -> Timestamp {
    lifetime.and_then(|lifetime| now.checked_add(lifetime).ok()).map_or(expires_at, |latest| expires_at.min(latest))
}

/// A QR code that can be scanned. Scanning it links an account to the tenant, so it hides itself in `Debug` and is
/// never stored unencrypted.
#[derive(Clone, Serialize, Deserialize)]
pub struct QrCode {
    #[serde(deserialize_with = "drawable")]
    text: String,
    /// When it ends, if the clock is not set back.
    pub expires_at: Timestamp,
    #[serde(default)]
    lifetime: Option<Duration>,
    /// Counts from 1 within one window of WhatsApp's codes.
    pub attempt: u32,
    /// How many codes the window has.
    pub attempts_max: u32,
    /// The window that it belongs to.
    #[serde(default = "PairingId::random")]
    pub pairing: PairingId,
    /// Drawn when the first reader needs it, once for all readers of this process. Pictures are not stored or
    /// published.
    #[serde(skip)]
    data_url: Arc<OnceLock<Arc<str>>>,
}

/// Without this, a kept text that no QR code can hold would panic in every stream that draws it.
fn drawable<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    if qr::fits(&text) { Ok(text) } else { Err(D::Error::custom("the text does not fit a QR code")) }
}

impl QrCode {
    /// `None` where the text does not fit a QR code (over 2,953 bytes): WhatsApp's are about 240.
    pub fn new(
        text: String,
        expires_at: Timestamp,
        attempt: u32,
        attempts_max: u32,
        pairing: PairingId,
    ) -> Option<Self> {
        let (lifetime, data_url) = (None, Arc::default());
        qr::fits(&text).then(|| Self { text, expires_at, lifetime, attempt, attempts_max, pairing, data_url })
    }

    /// Sets the lifetime that WhatsApp gave.
    pub fn given_for(self, lifetime: Duration) -> Self {
        Self { lifetime: Some(lifetime), ..self }
    }

    /// When it ends, by the clock as it is now.
    pub fn ends(&self, now: Timestamp) -> Timestamp {
        ends(self.expires_at, self.lifetime, now)
    }

    /// The text that the picture shows.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The picture as a data URL, drawn once.
    pub fn data_url(&self) -> Arc<str> {
        self.data_url.get_or_init(|| qr::png_data_url(&self.text).into()).clone()
    }
}

impl PartialEq for QrCode {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text && self.expires_at == other.expires_at && self.pairing == other.pairing
    }
}

impl Eq for QrCode {}

impl fmt::Debug for QrCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "QrCode({} of {})", self.attempt, self.attempts_max)
    }
}

/// Eight characters to type on the phone instead of scanning, or why WhatsApp gave none. As secret as the QR code.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PairCode {
    /// The code, or why there is none.
    pub code: PairResult,
    /// The number that it was requested for.
    pub phone: PhoneNumber,
    /// When it ends, if the clock is not set back.
    pub expires_at: Timestamp,
    /// For how long it was given.
    #[serde(default)]
    pub lifetime: Option<Duration>,
}

/// The result of a request for a pairing code.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum PairResult {
    /// As WhatsApp shows it: `ABCD-1234`.
    Code(String),
    /// WhatsApp gave no code.
    Refused {
        /// Why not.
        refused: PairRefusal,
    },
}

impl From<&str> for PairResult {
    fn from(code: &str) -> Self {
        Self::Code(code.to_owned())
    }
}

impl PairCode {
    /// When it ends, by the clock as it is now.
    pub fn ends(&self, now: Timestamp) -> Timestamp {
        ends(self.expires_at, self.lifetime, now)
    }

    /// Whether it can be typed.
    pub fn is_alive(&self, now: Timestamp) -> bool {
        matches!(self.code, PairResult::Code(_)) && self.expires_at > now
    }
}

impl fmt::Debug for PairCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PairCode(…)")
    }
}
