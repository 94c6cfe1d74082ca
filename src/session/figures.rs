//! What the metrics say of sessions and pairings.

use std::time::Duration;

use metrics::Gauge;

use super::Signal;
use crate::{
    clock::Timestamp,
    events::{ConnectingReason, EndReason, Shown, Status, StatusWord},
    telemetry::metrics,
};

/// Counts a session by its status for as long as it lives.
pub(super) struct CountedStatus(Gauge);

impl CountedStatus {
    pub fn of(status: &Status) -> Self {
        let gauge = metrics().sessions.with([status.word().as_str(), reason(status)]);
        gauge.increment(1.0);
        Self(gauge)
    }
}

impl Drop for CountedStatus {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

fn reason(status: &Status) -> &'static str {
    match status {
        Status::Connecting { reason, .. } => reason.as_str(),
        Status::Disconnected { reason, .. } => reason.as_str(),
        Status::QrPending { .. } | Status::Connected { .. } => "",
    }
}

/// Exports what has not happened yet.
pub(super) fn prepare() {
    let plain = [StatusWord::QrPending, StatusWord::Connected].map(|word| [word.as_str(), ""]);
    let connecting = ConnectingReason::ALL.iter().map(|reason| [StatusWord::Connecting.as_str(), reason.as_str()]);
    metrics().sessions.prepare(plain.into_iter().chain(connecting));
    let ends = EndReason::ALL.iter().map(|reason| [reason.as_str()]);
    metrics().pairings.prepare(ends.clone().chain([[StatusWord::Connected.as_str()]]));
    metrics().links_ended.prepare(ends);
}

/// One session's way to a linked account.
#[derive(Default)]
pub(super) struct Figures {
    /// When the user asked, until the first code is there.
    asked_at: Option<Timestamp>,
    /// The QR codes of the pairing under way. `None`: none is under way.
    codes: Option<u32>,
}

impl Figures {
    /// `shown`: the status at the beginning of the session, which a request wrote.
    pub fn begin(shown: Option<&Shown>) -> Self {
        let asked = shown.filter(|shown| shown.event.status == Status::connecting(ConnectingReason::Starting, None));
        Self { asked_at: asked.map(|shown| shown.event.at), codes: None }
    }

    /// A link was opened; `pairs`: without credentials.
    pub fn opened(&mut self, pairs: bool) {
        // A pairing that goes on with another link after the scan has credentials.
        if pairs {
            self.codes.get_or_insert_default();
        }
    }

    pub fn count_signal(&mut self, signal: &Signal, now: Timestamp) {
        match (signal, &mut self.codes) {
            (Signal::Qr { .. }, Some(codes)) => {
                *codes += 1;
                if let Some(asked_at) = self.asked_at.take() {
                    // A clock that was set back counts as no time.
                    let took = Duration::try_from(now.duration_since(asked_at)).unwrap_or_default();
                    metrics().first_code.record(took.as_secs_f64());
                }
            }
            (Signal::Connected { .. }, Some(_)) => self.pairing_ended(StatusWord::Connected.as_str()),
            _ => {}
        }
    }

    /// The session ends with this status.
    pub fn ended(&mut self, status: &Status) {
        match self.codes {
            Some(_) => self.pairing_ended(reason(status)),
            None => metrics().links_ended.add(reason(status)),
        }
    }

    fn pairing_ended(&mut self, outcome: &'static str) {
        let codes = self.codes.take().unwrap_or_default();
        metrics().pairing_codes.record(codes);
        metrics().pairings.add(outcome);
    }
}
