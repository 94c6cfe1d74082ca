use std::{
    mem,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::{sync::watch, time::Instant};

use super::{refusal::Refusal, trouble::Trouble};

/// Nothing published arrived for so long, six probes, although commands are answered.
const DEAF_AFTER: Duration = Duration::from_secs(30);

/// How Redis looks from here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Condition {
    /// It answers nothing.
    pub away: bool,
    /// Nothing that is published arrives although it answers: other instances serve better.
    pub not_delivering: bool,
    /// It answers, and refused the newest heartbeat, or took it only as what needs no memory.
    pub refuses: Option<Refusal>,
}

/// What the tasks of this store found out about Redis.
pub struct Health {
    condition: watch::Sender<Condition>,
    /// When something published last arrived.
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

    /// Something published arrived.
    pub fn heard(&self) {
        *self.delivered.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Whether what is published arrives.
    pub fn listened(&self) {
        let delivered = *self.delivered.lock().unwrap_or_else(PoisonError::into_inner);
        let not_delivering = delivered.elapsed() >= DEAF_AFTER;
        self.condition.send_if_modified(|now| mem::replace(&mut now.not_delivering, not_delivering) != not_delivering);
    }

    /// What a heartbeat was answered in place of being taken.
    pub fn note(&self, trouble: &Trouble) {
        if let Trouble::Refused(refusal) = trouble
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

    /// True: before, it took none.
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
