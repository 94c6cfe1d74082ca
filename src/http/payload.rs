//! The contract's JSON.

use serde::Serialize;

pub use crate::events::StatusBody;
use crate::{
    clock::{Timestamp, rfc3339},
    events::{PairCode, QrCode},
};

/// `qr-code`. `None` where less than a second is left: nobody can scan it any more.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct QrBody<'a> {
    qr_code: std::sync::Arc<str>,
    qr_text: &'a str,
    expires_in: i64,
    expires_at: String,
    attempt: u32,
    max_attempts: u32,
}

impl<'a> QrBody<'a> {
    pub fn of(qr: &'a QrCode, now: Timestamp) -> Option<Self> {
        Some(Self {
            expires_in: seconds_left(qr.expires_at, now)?,
            qr_code: qr.data_url(),
            qr_text: qr.text(),
            expires_at: rfc3339(qr.expires_at),
            attempt: qr.attempt,
            max_attempts: qr.attempts_max,
        })
    }
}

/// `pair-code`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PairBody<'a> {
    code: &'a str,
    phone_number: &'a str,
    expires_in: i64,
    expires_at: String,
}

impl<'a> PairBody<'a> {
    pub fn of(pair: &'a PairCode, now: Timestamp) -> Option<Self> {
        Some(Self {
            expires_in: seconds_left(pair.expires_at, now)?,
            code: &pair.code,
            phone_number: pair.phone.as_str(),
            expires_at: rfc3339(pair.expires_at),
        })
    }
}

pub fn seconds_left(until: Timestamp, now: Timestamp) -> Option<i64> {
    let seconds = until.duration_since(now).as_secs();
    (seconds > 0).then_some(seconds)
}
