//! The bodies of stream events, as `docs/api.md` lists them.

use serde::Serialize;

pub use crate::events::StatusBody;
use crate::{
    clock::{Timestamp, rfc3339},
    events::{PairCode, PairRefusal, PairingId, Passkey, PasskeyStep, PhoneNumber, QrCode},
};

/// `qr-code`. `None` where less than a second is left: it is too late to scan it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct QrBody<'a> {
    qr_code: std::sync::Arc<str>,
    qr_text: &'a str,
    expires_in: i64,
    expires_at: String,
    attempt: u32,
    max_attempts: u32,
    pairing: String,
}

impl<'a> QrBody<'a> {
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
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PairBody<'a> {
    code: &'a str,
    phone_number: &'a str,
    expires_in: i64,
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
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PairRefusedBody<'a> {
    phone_number: &'a str,
    reason: &'static str,
    retryable: bool,
}

impl<'a> PairRefusedBody<'a> {
    pub fn of(refused: PairRefusal, phone: &'a PhoneNumber) -> Self {
        Self { phone_number: phone.as_str(), reason: refused.as_str(), retryable: refused.retryable() }
    }
}

/// `passkey-required`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PasskeyBody<'a> {
    step: &'static str,
    /// For `navigator.credentials.get` on a page of WhatsApp's own origin.
    #[serde(skip_serializing_if = "Option::is_none")]
    options: Option<serde_json::Value>,
    /// To be compared with the phone's.
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'a str>,
    expires_in: i64,
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

pub fn seconds_left(until: Timestamp, now: Timestamp) -> Option<i64> {
    let seconds = until.duration_since(now).as_secs();
    (seconds > 0).then_some(seconds)
}
