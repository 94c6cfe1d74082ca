//! The wall clock, as a parameter that tests can set. Times that are shown or stored come from here. Deadlines and
//! durations use tokio's monotonic clock, so a wall clock that jumps does not move them. Start with [`Clock`].

use std::{sync::Arc, time::Duration};

pub use jiff::Timestamp;

/// Returns the time of day. Deadlines use tokio's monotonic clock instead, which the tests can pause.
pub trait Clock: Send + Sync + 'static {
    /// The time of day.
    fn now(&self) -> Timestamp;
}

/// A clock that several modules share.
pub type SharedClock = Arc<dyn Clock>;

/// The clock of the operating system.
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

/// The clock that production uses.
pub fn system() -> SharedClock {
    Arc::new(SystemClock)
}

/// Waits for a deadline; without one it waits for ever. Cancel safe.
pub async fn until(at: Option<tokio::time::Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// A later time, or the last one that can be represented: a time from outside must not cause a panic.
pub fn after(now: Timestamp, lasts: Duration) -> Timestamp {
    now.checked_add(lasts).unwrap_or(Timestamp::MAX)
}

/// RFC 3339 in UTC with milliseconds, as every time in the contract is written.
pub fn rfc3339(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc3339_always_has_three_digits_of_milliseconds() {
        for (nanoseconds, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (1_999_999, "1970-01-01T00:00:00.001Z"),
            (1_769_594_400_123_000_000, "2026-01-28T10:00:00.123Z"),
        ] {
            assert_eq!(rfc3339(Timestamp::from_nanosecond(nanoseconds).unwrap()), text);
        }
    }
}
