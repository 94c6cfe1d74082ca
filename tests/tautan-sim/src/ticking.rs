//! A link whose every event says when it was made, for the figures: it is connected at once, and renames its account at a
//! fixed pace to the time.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use rand::RngExt as _;
use tautan::{
    events::{Account, PhoneNumber},
    session::{ConnectError, Link, Request, Signal},
};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

pub struct Ticking {
    phone: PhoneNumber,
    is_up: bool,
    ticks: Interval,
}

impl Ticking {
    /// Links that are opened together do not tick together.
    pub fn new(phone: PhoneNumber, pace: Duration) -> Self {
        let first = Instant::now() + pace.mul_f64(rand::rng().random_range(0.0..1.0));
        let mut ticks = interval_at(first, pace);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { phone, is_up: false, ticks }
    }

    fn account(&self) -> Account {
        Account { phone: self.phone.clone(), name: Some(format!("stamp-{:016}", micros())), platform: None }
    }
}

#[expect(clippy::disallowed_methods, reason = "what measures the delay reads the real clock too")]
fn micros() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("now is after 1970").as_micros()
}

#[async_trait]
impl Link for Ticking {
    fn resumes(&self) -> Option<PhoneNumber> {
        Some(self.phone.clone())
    }

    /// Cancel safe: the tick that was waited for is due at the next call.
    async fn next(&mut self) -> Option<Signal> {
        if !self.is_up {
            self.is_up = true;
            return Some(Signal::Connected { account: self.account() });
        }
        self.ticks.tick().await;
        Some(Signal::Renamed { account: self.account() })
    }

    async fn send(&mut self, _: Request) -> Result<(), ConnectError> {
        Ok(())
    }

    async fn close(self: Box<Self>) {}

    async fn unlink(self: Box<Self>) -> Result<(), ConnectError> {
        Ok(())
    }
}
