use std::{
    mem,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::{sync::watch, time::Instant};

use super::{failure::Failure, refusal::Refusal};

/// No message arrived for this time, six probes, although commands are answered.
const NOT_DELIVERING_AFTER: Duration = Duration::from_secs(30);

/// The condition of Redis, as this process sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Condition {
    /// Redis does not answer.
    pub away: bool,
    /// Redis answers, but no message arrives: other instances serve better.
    pub not_delivering: bool,
    /// Redis answers, and refused the newest heartbeat, or took only the command that needs no memory.
    pub refuses: Option<Refusal>,
}

/// What the tasks of this store know of Redis.
pub struct Health {
    condition: watch::Sender<Condition>,
    /// When the last message arrived.
    delivered: Mutex<Instant>,
}

impl Default for Health {
    fn default() -> Self {
        Self { condition: watch::Sender::default(), delivered: Mutex::new(Instant::now()) }
    }
}

impl Health {
    pub fn condition(&self) -> watch::Receiver<Condition> {
        self.condition.subscribe()
    }

    pub fn is_away(&self) -> bool {
        self.condition.borrow().away
    }

    pub fn gone(&self) {
        self.condition.send_if_modified(|now| !mem::replace(&mut now.away, true));
    }

    pub fn answered(&self) {
        if self.is_away() {
            tracing::info!("redis is back");
            self.heard();
            self.condition.send_modify(|now| now.away = false);
        }
    }

    /// A message arrived.
    pub fn heard(&self) {
        *self.delivered.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Updates whether messages arrive.
    pub fn listened(&self) {
        let delivered = *self.delivered.lock().unwrap_or_else(PoisonError::into_inner);
        let not_delivering = delivered.elapsed() >= NOT_DELIVERING_AFTER;
        self.condition.send_if_modified(|now| mem::replace(&mut now.not_delivering, not_delivering) != not_delivering);
    }

    /// A heartbeat failed.
    pub fn note(&self, failure: &Failure) {
        if let Failure::Refused(refusal) = failure
            && refusal.is_of_writes()
        {
            self.refused(refusal.clone());
        }
    }

    pub fn refused(&self, refusal: Refusal) {
        if self.set(Some(&refusal)) {
            tracing::warn!(word = %refusal, remedy = refusal.remedy(), "redis refuses writes");
        }
    }

    /// A heartbeat succeeded. True: the one before was refused.
    pub fn taken(&self) -> bool {
        let again = self.set(None);
        if again {
            tracing::info!("redis takes writes again");
        }
        again
    }

    fn set(&self, refusal: Option<&Refusal>) -> bool {
        self.condition.send_if_modified(|now| mem::replace(&mut now.refuses, refusal.cloned()).as_ref() != refusal)
    }
}
