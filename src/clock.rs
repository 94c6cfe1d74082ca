//! Wall-clock time, injected: what is shown and stored takes its moment from here, durations come from tokio.

use std::sync::Arc;

pub use jiff::Timestamp;

/// Tells the time of day. Deadlines use tokio's monotonic clock instead, which the tests can pause.
pub trait Clock: Send + Sync + 'static {
    fn now(&self) -> Timestamp;
}

pub type SharedClock = Arc<dyn Clock>;

pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

pub fn system() -> SharedClock {
    Arc::new(SystemClock)
}

/// A deadline that may not be there. Cancel safe.
pub async fn until(at: Option<tokio::time::Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// RFC 3339 in UTC with whole seconds, as every date in the contract is written.
pub fn rfc3339(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
