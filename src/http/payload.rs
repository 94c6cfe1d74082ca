//! The bodies of stream events, as `docs/api.md` lists them.

use std::time::Duration;

use schemars::{JsonSchema, Schema};
use serde::Serialize;

pub use crate::events::StatusBody;
use crate::{
    clock::{Timestamp, rfc3339},
    events::{PairCode, PairRefusal, PairingId, Passkey, PasskeyStep, PhoneNumber, QrCode, one_of},
};

/// `qr-code`.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "QrCode")]
pub struct QrBody<'a> {
    /// The picture, as a `data:` URL.
    #[schemars(with = "String")]
    qr_code: std::sync::Arc<str>,
    qr_text: &'a str,
    expires_in: i64,
    #[schemars(extend("format" = "date-time"))]
    expires_at: String,
    attempt: u32,
    max_attempts: u32,
    pairing: String,
}

impl<'a> QrBody<'a> {
    /// `None` where less than a second is left: it is too late to scan it.
    pub fn of(qr: &'a QrCode, now: Timestamp) -> Option<Self> {
        let ends = qr.ends(now);
        Some(Self {
            expires_in: seconds_left(ends, now)?,
            qr_code: qr.data_url(),
            qr_text: qr.text(),
            expires_at: rfc3339(ends),
            attempt: qr.attempt,
            max_attempts: qr.attempts_max,
            pairing: qr.pairing.to_string(),
        })
    }
}

/// `pair-code`.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "PairCode")]
pub struct PairBody<'a> {
    code: &'a str,
    phone_number: &'a str,
    expires_in: i64,
    #[schemars(extend("format" = "date-time"))]
    expires_at: String,
    pairing: String,
}

impl<'a> PairBody<'a> {
    pub fn of(code: &'a str, pair: &'a PairCode, pairing: PairingId, now: Timestamp) -> Option<Self> {
        let ends = pair.ends(now);
        Some(Self {
            expires_in: seconds_left(ends, now)?,
            code,
            phone_number: pair.phone.as_str(),
            expires_at: rfc3339(ends),
            pairing: pairing.to_string(),
        })
    }
}

/// `pair-code-refused`.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "PairCodeRefused")]
pub struct PairRefusedBody<'a> {
    phone_number: &'a str,
    #[schemars(schema_with = "refusals")]
    reason: &'static str,
    retryable: bool,
}

impl<'a> PairRefusedBody<'a> {
    pub fn of(refused: PairRefusal, phone: &'a PhoneNumber) -> Self {
        Self { phone_number: phone.as_str(), reason: refused.as_str(), retryable: refused.retryable() }
    }
}

/// `passkey-required`.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "PasskeyRequired")]
pub struct PasskeyBody<'a> {
    #[schemars(extend("enum" = ["assert", "compare"]))]
    step: &'static str,
    /// For `navigator.credentials.get` on a page of WhatsApp's own origin.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "serde_json::Map<String, serde_json::Value>")]
    options: Option<serde_json::Value>,
    /// To be compared with the phone's.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    code: Option<&'a str>,
    expires_in: i64,
    #[schemars(extend("format" = "date-time"))]
    expires_at: String,
    pairing: String,
}

impl<'a> PasskeyBody<'a> {
    pub fn of(passkey: &'a Passkey, now: Timestamp) -> Option<Self> {
        let (step, options, code) = match &passkey.step {
            PasskeyStep::Assert { options } => ("assert", Some(serde_json::from_str(options).ok()?), None),
            PasskeyStep::Compare { code } => ("compare", None, Some(code.as_str())),
        };
        let ends = passkey.ends(now);
        let expires_in = seconds_left(ends, now)?;
        let (expires_at, pairing) = (rfc3339(ends), passkey.pairing.to_string());
        Some(Self { step, options, code, expires_in, expires_at, pairing })
    }
}

/// `heartbeat`.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Heartbeat")]
pub struct HeartbeatBody {
    /// The longest time to the next one, in seconds.
    #[schemars(with = "f64")]
    every: serde_json::Number,
}

impl HeartbeatBody {
    /// Whole seconds are written without a fraction.
    pub fn of(every: Duration) -> Self {
        let seconds = every.as_secs_f64();
        let whole = serde_json::Number::from(every.as_secs());
        let every =
            if every.subsec_nanos() == 0 { whole } else { serde_json::Number::from_f64(seconds).unwrap_or(whole) };
        Self { every }
    }
}

fn refusals(_: &mut schemars::SchemaGenerator) -> Schema {
    one_of(PairRefusal::ALL.iter().map(|refusal| refusal.as_str()))
}

pub fn seconds_left(until: Timestamp, now: Timestamp) -> Option<i64> {
    let seconds = until.duration_since(now).as_secs();
    (seconds > 0).then_some(seconds)
}
