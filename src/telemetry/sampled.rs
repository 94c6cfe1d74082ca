use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

const EVERY: Duration = Duration::from_secs(10);

/// Lets one line of a kind through in ten seconds. Without it, a client that can cause the line could fill the disk.
#[derive(Debug, Default)]
pub struct Sampled(Mutex<Option<Instant>>);

impl Sampled {
    pub const fn new() -> Self {
        Self(Mutex::new(None))
    }

    pub fn is_due(&self) -> bool {
        let (mut last, now) = (self.0.lock().unwrap_or_else(PoisonError::into_inner), Instant::now());
        let due = last.is_none_or(|last| now.duration_since(last) >= EVERY);
        if due {
            *last = Some(now);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_line_is_due_in_ten_seconds() {
        let sampled = Sampled::default();
        for _ in 0..3 {
            assert!(sampled.is_due() && !sampled.is_due());
            tokio::time::advance(EVERY - Duration::from_millis(1)).await;
            assert!(!sampled.is_due());
            tokio::time::advance(Duration::from_millis(1)).await;
        }
    }
}
