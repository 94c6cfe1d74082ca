use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::Instant,
};

use jiff::SignedDuration;
use tautan::clock::{Clock, SystemClock, Timestamp};

/// The real time, which a test can move forward and back.
pub struct TestClock {
    began_at: Timestamp,
    began: Instant,
    ahead_seconds: AtomicI64,
}

impl Default for TestClock {
    fn default() -> Self {
        Self { began_at: SystemClock.now(), began: Instant::now(), ahead_seconds: AtomicI64::new(0) }
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        self.began_at + self.began.elapsed() + SignedDuration::from_secs(self.ahead_seconds.load(Ordering::SeqCst))
    }
}

impl TestClock {
    pub fn advance(&self, seconds: i64) {
        self.ahead_seconds.fetch_add(seconds, Ordering::SeqCst);
    }

    pub fn after(&self, seconds: i64) -> Timestamp {
        Timestamp::from_millisecond(self.now().as_millisecond() + seconds * 1_000).unwrap()
    }
}
