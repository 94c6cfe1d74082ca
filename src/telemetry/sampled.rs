use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

const EVERY: Duration = Duration::from_secs(10);

/// Lets one log line through in ten seconds. Without it, a client that can cause the line could fill the disk.
#[derive(Debug, Default)]
pub struct Sampled(Mutex<Lines>);

#[derive(Debug, Default)]
struct Lines {
    last: Option<Instant>,
    left_out: u64,
}

impl Sampled {
    /// No line was written yet.
    pub const fn new() -> Self {
        Self(Mutex::new(Lines { last: None, left_out: 0 }))
    }

    /// Whether to write the line now.
    pub fn is_due(&self) -> bool {
        self.take().is_some()
    }

    /// How many lines were left out before this one; `None`: this one is left out too.
    pub fn take(&self) -> Option<u64> {
        let (mut lines, now) = (self.0.lock().unwrap_or_else(PoisonError::into_inner), Instant::now());
        if lines.last.is_some_and(|last| now.duration_since(last) < EVERY) {
            lines.left_out += 1;
            return None;
        }
        lines.last = Some(now);
        Some(std::mem::take(&mut lines.left_out))
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
