use std::time::{Duration, Instant};

use crate::handshake::Pattern;

/// How often a device sent "available" and "unavailable".
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct PresenceCounts {
    pub available: u64,
    pub unavailable: u64,
}

/// What one device has done so far.
#[derive(Clone, Default)]
pub(crate) struct Tally {
    pub(crate) logins: u64,
    /// When a login replaced a socket of the same device.
    pub(crate) replacements: Vec<Instant>,
    pub(crate) live_max: usize,
    pub(crate) presence: PresenceCounts,
    pub(crate) pings: u64,
    /// Offers of history that it has answered, to read them or not.
    pub(crate) histories: u64,
    /// How often it asked where files are to be had.
    pub(crate) media_asked: u64,
    pub(crate) handshakes: Vec<Pattern>,
    doubled: Duration,
    doubled_since: Option<Instant>,
    available: Duration,
    available_since: Option<Instant>,
}

impl Tally {
    /// A `<presence>` of this type came; none means available.
    pub(crate) fn presence(&mut self, kind: &str, now: Instant) {
        match kind {
            "" | "available" => {
                self.presence.available += 1;
                self.available_since.get_or_insert(now);
            }
            "unavailable" => {
                self.presence.unavailable += 1;
                self.gone(now);
            }
            // Subscriptions to others' presence.
            _ => {}
        }
    }

    fn gone(&mut self, now: Instant) {
        self.available += self.available_since.take().map_or(Duration::ZERO, |since| now - since);
    }

    pub(crate) fn available(&self, now: Instant) -> Duration {
        self.available + self.available_since.map_or(Duration::ZERO, |since| now - since)
    }

    pub(crate) fn is_available(&self) -> bool {
        self.available_since.is_some()
    }

    /// The number of live sockets changed.
    pub(crate) fn live(&mut self, sockets: usize, now: Instant) {
        self.live_max = self.live_max.max(sockets);
        if sockets == 0 {
            self.gone(now);
        }
        match (sockets > 1, self.doubled_since) {
            (true, None) => self.doubled_since = Some(now),
            (false, Some(since)) => {
                self.doubled += now - since;
                self.doubled_since = None;
            }
            (true, Some(_)) | (false, None) => {}
        }
    }

    pub(crate) fn doubled(&self, now: Instant) -> Duration {
        self.doubled + self.doubled_since.map_or(Duration::ZERO, |since| now - since)
    }
}
