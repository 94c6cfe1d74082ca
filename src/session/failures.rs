use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;
use tracing::warn;

use crate::{store::StoreError, telemetry::Sampled, tenant::TenantId};

/// The recent failures of a session: they decide whether and when it tries again.
#[derive(Default)]
pub(super) struct Failures {
    crashes: VecDeque<Instant>,
    store_failures: usize,
    /// Attempts in a row to read the credentials that failed.
    unreadable: u32,
    replaced: Option<Instant>,
    /// Logins in a row that WhatsApp refused because there were too many.
    throttled: u32,
    /// A newer client version was tried since the last login.
    renewed: bool,
}

/// A second "replaced" this soon after the first means that another client really uses the credentials.
const REPLACED_WINDOW: Duration = Duration::from_secs(600);
const BACKOFF_MIN: Duration = Duration::from_secs(1);
const UNREADABLE_MAX: Duration = Duration::from_secs(300);
const THROTTLED_MAX: Duration = Duration::from_secs(900);
/// After this many refusals a pairing ends: by then the user has waited for a code for over a minute.
const THROTTLED_PAIRINGS_MAX: u32 = 4;

impl Failures {
    /// The pause before the next try, `None` once `crashes_max` crashes fell into the window. `kept`: the count in the
    /// tenant's record, which includes earlier owners.
    pub fn crashed(&mut self, now: Instant, kept: usize, crashes_max: usize, window: Duration) -> Option<Duration> {
        self.crashes.retain(|at| now.duration_since(*at) < window);
        self.crashes.push_back(now);
        let count = self.crashes.len().max(kept);
        (count < crashes_max).then(|| backoff(count - 1))
    }

    /// The pause before the next try after the store failed. The number of tries is not limited.
    pub fn store_failed(&mut self) -> Duration {
        self.store_failures = self.store_failures.saturating_add(1);
        backoff(self.store_failures - 1)
    }

    /// The store works again.
    pub fn store_works(&mut self) {
        self.store_failures = 0;
    }

    /// The pause before the credentials are read again. They become readable when the right version or the right key
    /// is deployed, which may take days.
    pub fn unreadable(&mut self) -> Duration {
        self.unreadable += 1;
        BACKOFF_MIN.saturating_mul(1 << (self.unreadable - 1).min(16)).min(UNREADABLE_MAX)
    }

    /// The pause before the next try. `None`: the pairing ends.
    pub fn throttled(&mut self, paired: bool, first: Duration) -> Option<Duration> {
        self.throttled += 1;
        let pause = first.saturating_mul(1 << (self.throttled - 1).min(8)).min(THROTTLED_MAX);
        (paired || self.throttled <= THROTTLED_PAIRINGS_MAX).then_some(pause)
    }

    /// A login succeeded.
    pub fn logged_in(&mut self) {
        (self.throttled, self.renewed, self.unreadable) = (0, false, 0);
    }

    /// Whether to dial with a newer client version: once after each login.
    pub fn renewed(&mut self) -> bool {
        !std::mem::replace(&mut self.renewed, true)
    }

    /// Whether to redial once, in case the first "replaced" was a mistake.
    pub fn replaced(&mut self, now: Instant) -> bool {
        let first = self.replaced.is_none_or(|at| now.duration_since(at) >= REPLACED_WINDOW);
        self.replaced = Some(now);
        first
    }
}

fn backoff(failures_before: usize) -> Duration {
    BACKOFF_MIN * (1 << failures_before.min(5))
}

/// The store failed, and the session tries again. While a disk is full each tenant does so twice a second: without
/// the sampling their lines would fill another one.
pub(super) fn log_retry(tenant: &TenantId, error: &StoreError, doing: &'static str) {
    static LINES: Sampled = Sampled::new();
    if let Some(left_out) = LINES.take() {
        warn!(%tenant, %error, left_out, "{doing}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn third_crash_in_the_window_ends_retrying() {
        let (mut failures, now) = (Failures::default(), Instant::now());
        let window = Duration::from_secs(600);
        assert_eq!(failures.crashed(now, 0, 3, window), Some(Duration::from_secs(1)));
        assert_eq!(failures.crashed(now, 0, 3, window), Some(Duration::from_secs(2)));
        assert_eq!(failures.crashed(now, 0, 3, window), None);
        assert_eq!(failures.crashed(now + window, 0, 3, window), Some(Duration::from_secs(1)));
    }

    #[test]
    fn crashes_of_earlier_owners_count() {
        let (mut failures, now) = (Failures::default(), Instant::now());
        assert_eq!(failures.crashed(now, 2, 3, Duration::from_secs(600)), Some(Duration::from_secs(2)));
        assert_eq!(failures.crashed(now, 3, 3, Duration::from_secs(600)), None);
    }

    #[test]
    fn store_failures_back_off_to_32_seconds_without_end() {
        let mut failures = Failures::default();
        let pauses: Vec<u64> = (0..8).map(|_| failures.store_failed().as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 32, 32]);
        failures.store_works();
        assert_eq!(failures.store_failed(), Duration::from_secs(1));
    }

    #[test]
    fn unreadable_credentials_back_off_to_5_minutes_without_end() {
        let mut failures = Failures::default();
        let pauses: Vec<u64> = (0..12).map(|_| failures.unreadable().as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]);
        failures.logged_in();
        assert_eq!(failures.unreadable(), Duration::from_secs(1));
    }

    #[test]
    fn throttled_logins_back_off_and_end_only_for_pairings() {
        let (mut failures, first) = (Failures::default(), Duration::from_secs(5));
        let pauses: Vec<_> = (0..10).map(|_| failures.throttled(true, first).unwrap().as_secs()).collect();
        assert_eq!(pauses, [5, 10, 20, 40, 80, 160, 320, 640, 900, 900]);
        failures.logged_in();
        let pauses: Vec<_> = (0..5).map(|_| failures.throttled(false, first).map(|pause| pause.as_secs())).collect();
        assert_eq!(pauses, [Some(5), Some(10), Some(20), Some(40), None]);
    }

    #[test]
    fn only_the_first_replacement_is_retried() {
        let (mut failures, now) = (Failures::default(), Instant::now());
        assert!(failures.replaced(now));
        assert!(!failures.replaced(now));
        assert!(failures.replaced(now + REPLACED_WINDOW));
    }
}
