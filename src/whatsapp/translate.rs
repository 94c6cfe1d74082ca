//! Translates the library's events into signals. Pure: [`super::driver`] saves and sends.

use std::time::Duration;

use whatsapp_rust::{
    pair_code::PairCodeRejection,
    types::events::{ConnectFailureReason, Event, EventInterest, EventKind, PairingQrCode},
};

use super::{runtime::NEXT_CODE, termination::Stage};
use crate::{
    clock::{Timestamp, after},
    events::{Account, PairRefusal, PasskeyStep, PhoneNumber},
    qr,
    session::{End, Signal},
};

/// Codes in one of WhatsApp's windows.
pub(super) const ATTEMPTS_MAX: u32 = 6;

/// The library has no name for this code at a login, and does not reconnect.
const TOO_MANY_REQUESTS: i32 = 429;

/// The options of a passkey name each of its credentials, some 100 bytes. They are saved and sent to every reader.
const OPTIONS_BYTES_MAX: usize = 16 << 10;
/// A code that a user compares.
const CODE_BYTES_MAX: usize = 32;

/// Facts that the event does not have.
pub(super) struct Facts {
    pub stage: Stage,
    pub now: Timestamp,
    pub account: Option<Account>,
    /// The number that the requested pairing code is for.
    pub phone: Option<PhoneNumber>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    Nothing,
    Send(Signal),
    /// The phone knows this device from before and shows no code to compare.
    ConfirmPasskey,
}

/// The events that the library sends. All others cost nothing.
pub(super) fn interest() -> EventInterest {
    EventInterest::of(&[
        EventKind::Connected,
        EventKind::Disconnected,
        EventKind::PairSuccess,
        EventKind::PairError,
        EventKind::LoggedOut,
        EventKind::PairingQrCode,
        EventKind::PairingCode,
        EventKind::PairingCodeRefresh,
        EventKind::PairingCodeError,
        EventKind::PairingQrCodesExhausted,
        EventKind::ClientOutdated,
        EventKind::SelfPushNameUpdated,
        EventKind::StreamReplaced,
        EventKind::TemporaryBan,
        EventKind::ConnectFailure,
        EventKind::PairPasskeyRequest,
        EventKind::PairPasskeyConfirmation,
        EventKind::PairPasskeyError,
    ])
}

pub(super) struct Translator {
    qr_pace: f32,
    attempt: u32,
    /// WhatsApp's part of the newest code. The library may renew the rest without a new attempt.
    reference: String,
    /// When the last code of the window ends, and with it the connection.
    window_ends: Option<Timestamp>,
    passkey_asked: bool,
}

impl Translator {
    pub fn new(qr_pace: f32) -> Self {
        Self { qr_pace, attempt: 0, reference: String::new(), window_ends: None, passkey_asked: false }
    }

    pub fn meaning(&mut self, event: &Event, facts: &Facts) -> Meaning {
        use Meaning::{ConfirmPasskey, Nothing, Send};
        match event {
            // Longer than a QR code can be: no phone could read it.
            Event::PairingQrCode(qr) if !qr::fits(&qr.code) => Nothing,
            Event::PairingQrCode(qr) if facts.stage == Stage::Offering && !self.passkey_asked => {
                Send(self.code(qr, facts.now))
            }
            // A code after the scan is dead: its phone has moved on.
            Event::PairingQrCode(_) => Nothing,
            Event::PairingQrCodesExhausted(_) if self.passkey_asked => ended(End::PasskeyTimeout),
            // A pairing code still lives, and with it the connection.
            Event::PairingQrCodesExhausted(used_up) if !used_up.disconnected => Nothing,
            Event::PairingQrCodesExhausted(_) => ended(End::CodesUsedUp),

            Event::PairingCode(code) => match &facts.phone {
                Some(phone) => {
                    let lifetime = self.paced(code.timeout);
                    Send(Signal::PairCode { code: dashed(&code.code), phone: phone.clone(), lifetime })
                }
                None => Nothing,
            },
            Event::PairingCodeRefresh(refresh) if refresh.force_manual => refused(facts, PairRefusal::TriesUsedUp),
            Event::PairingCodeRefresh(_) => Send(Signal::PairCodeVoid),
            Event::PairingCodeError(error) => refused(facts, refusal(error.rejection)),

            Event::PairPasskeyRequest(request) => {
                self.passkey_asked = true;
                let options = &request.request_options_json;
                let answerable = options.len() <= OPTIONS_BYTES_MAX
                    && serde_json::from_str::<serde_json::Map<_, _>>(options).is_ok();
                if answerable {
                    self.passkey(PasskeyStep::Assert { options: options.clone() }, facts)
                } else {
                    ended(End::PairingFailed)
                }
            }
            Event::PairPasskeyConfirmation(confirmation) if confirmation.skip_handoff_ux => ConfirmPasskey,
            Event::PairPasskeyConfirmation(confirmation) if confirmation.code.len() > CODE_BYTES_MAX => {
                ended(End::PairingFailed)
            }
            Event::PairPasskeyConfirmation(confirmation) => {
                self.passkey(PasskeyStep::Compare { code: confirmation.code.clone() }, facts)
            }
            Event::PairPasskeyError(_) => ended(End::PairingFailed),

            Event::PairSuccess(_) => Send(Signal::Scanned),
            Event::PairError(_) => ended(End::PairingFailed),
            Event::Connected(_) => match &facts.account {
                Some(account) => Send(Signal::Connected { account: account.clone() }),
                // Logged in without an account that could be shown.
                None => ended(End::Internal),
            },
            Event::SelfPushNameUpdated(_) => match (&facts.account, facts.stage) {
                (Some(account), Stage::Linked) => Send(Signal::Renamed { account: account.clone() }),
                // Before the login is through `Connected` brings the name.
                (Some(_) | None, _) => Nothing,
            },

            // WhatsApp restarts the stream within a pairing: that is no outage.
            Event::Disconnected(_) if facts.stage == Stage::Scanned => Nothing,
            Event::Disconnected(_) => Send(self.dropped()),
            Event::LoggedOut(out) => ended(logged_out(out.reason, facts.stage)),
            Event::StreamReplaced(_) => ended(End::Replaced),
            Event::TemporaryBan(ban) => {
                let until = ban.expire.to_std().ok().and_then(|lasts| facts.now.checked_add(lasts).ok());
                ended(End::Banned { until })
            }
            Event::ClientOutdated(_) => ended(End::ClientOutdated { renewed: false }),
            Event::ConnectFailure(failure) => self.refused(failure.reason),

            // Nothing of the account's traffic concerns the link. New kinds are not delivered: see `interest`.
            _ => Nothing,
        }
    }

    /// The owner has as long as WhatsApp keeps the connection: until the last code of the window would have ended.
    fn passkey(&self, step: PasskeyStep, facts: &Facts) -> Meaning {
        let left = self.window_ends.map(|ends| ends.duration_since(facts.now));
        let lifetime = left.and_then(|left| Duration::try_from(left).ok()).unwrap_or_default();
        Meaning::Send(Signal::PasskeyRequired { step, lifetime })
    }

    fn code(&mut self, qr: &PairingQrCode, now: Timestamp) -> Signal {
        let reference = qr.code.split(',').next().unwrap_or_default();
        // The first code of a window is an attempt, even one with an empty reference.
        if self.attempt == 0 || reference != self.reference {
            self.reference = reference.to_owned();
            self.attempt += 1;
        }
        let lifetime = self.paced(qr.timeout);
        let attempts_max = ATTEMPTS_MAX.max(self.attempt);
        let left = self.paced(NEXT_CODE).saturating_mul(attempts_max - self.attempt);
        self.window_ends = Some(after(now, lifetime.saturating_add(left)));
        Signal::Qr { text: qr.code.clone(), lifetime, attempt: self.attempt, attempts_max }
    }

    fn paced(&self, lifetime: Duration) -> Duration {
        if self.qr_pace == 1.0 {
            return lifetime;
        }
        Duration::try_from_secs_f32(lifetime.as_secs_f32() * self.qr_pace).unwrap_or(Duration::MAX)
    }

    /// The next connection starts a new window of codes.
    fn dropped(&mut self) -> Signal {
        self.attempt = 0;
        self.passkey_asked = false;
        Signal::Dropped
    }

    /// `<failure>` at the login, where the library has no event of its own for it.
    fn refused(&mut self, reason: ConnectFailureReason) -> Meaning {
        match reason {
            // A ban without a usable end.
            ConnectFailureReason::TempBanned => ended(End::Banned { until: None }),
            ConnectFailureReason::ClientOutdated
            | ConnectFailureReason::BadUserAgent
            | ConnectFailureReason::ClientUnknown => ended(End::ClientOutdated { renewed: false }),
            // The library redials after these two alone.
            ConnectFailureReason::ServiceUnavailable | ConnectFailureReason::InternalServerError => {
                Meaning::Send(self.dropped())
            }
            ConnectFailureReason::Unknown(TOO_MANY_REQUESTS) => ended(End::RateLimited),
            ConnectFailureReason::LoggedOut
            | ConnectFailureReason::UnknownLogout
            | ConnectFailureReason::AccountLocked
            | ConnectFailureReason::Generic
            | ConnectFailureReason::CatExpired
            | ConnectFailureReason::CatInvalid
            | ConnectFailureReason::NotFound
            | ConnectFailureReason::Experimental
            | ConnectFailureReason::Unknown(_) => ended(End::Internal),
        }
    }
}

fn refused(facts: &Facts, reason: PairRefusal) -> Meaning {
    match &facts.phone {
        Some(phone) => Meaning::Send(Signal::PairCodeRefused { phone: phone.clone(), reason }),
        None => Meaning::Nothing,
    }
}

/// WhatsApp answers 400 both for a number that it refuses and for one that is requested too often.
fn refusal(rejection: Option<PairCodeRejection>) -> PairRefusal {
    match rejection {
        Some(PairCodeRejection::RateOverlimit) => PairRefusal::RateLimited,
        Some(PairCodeRejection::FeatureNotAvailable) => PairRefusal::NotAvailable,
        Some(PairCodeRejection::BadRequest | PairCodeRejection::Forbidden | PairCodeRejection::Unknown(_)) => {
            PairRefusal::NumberRefused
        }
        Some(PairCodeRejection::InternalServerError) | None => PairRefusal::Unanswered,
    }
}

fn ended(end: End) -> Meaning {
    Meaning::Send(Signal::Ended(end))
}

fn logged_out(reason: ConnectFailureReason, stage: Stage) -> End {
    match (reason, stage) {
        (ConnectFailureReason::AccountLocked, _) => End::AccountLocked,
        // WhatsApp does not know a device that never logged in: the pairing's last frame did not arrive.
        (_, Stage::Offering | Stage::Scanned) => End::PairingFailed,
        (_, Stage::Linked) => End::UnlinkedByPhone,
    }
}

/// The code as WhatsApp shows it.
fn dashed(code: &str) -> String {
    match code.split_at_checked(4) {
        Some((head, tail)) if code.len() == 8 => format!("{head}-{tail}"),
        Some(_) | None => code.to_owned(),
    }
}

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests;
