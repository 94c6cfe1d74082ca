use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

/// What went wrong with a session lately: decides whether another try is worth it.
#[derive(Default)]
pub(super) struct Trouble {
    crashes: VecDeque<Instant>,
    replaced: Option<Instant>,
}

/// A second "replaced" this soon after the first means that somebody else really holds the account.
const REPLACED_WINDOW: Duration = Duration::from_secs(600);
const BACKOFF_MIN: Duration = Duration::from_secs(1);

impl Trouble {
    /// The pause before the next try, `None` once more than `crashes_max` crashes fell into the window.
    pub fn crashed(&mut self, now: Instant, crashes_max: usize, window: Duration) -> Option<Duration> {
        self.crashes.retain(|at| now.duration_since(*at) < window);
        self.crashes.push_back(now);
        let count = self.crashes.len();
        (count < crashes_max).then(|| BACKOFF_MIN * (1 << (count - 1).min(5)))
    }

    /// Whether one redial may show that it was a mistake.
    pub fn replaced(&mut self, now: Instant) -> bool {
        let first = self.replaced.is_none_or(|at| now.duration_since(at) >= REPLACED_WINDOW);
        self.replaced = Some(now);
        first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_crashes_in_the_window_are_enough() {
        let (mut trouble, now) = (Trouble::default(), Instant::now());
        let window = Duration::from_secs(600);
        assert_eq!(trouble.crashed(now, 3, window), Some(Duration::from_secs(1)));
        assert_eq!(trouble.crashed(now, 3, window), Some(Duration::from_secs(2)));
        assert_eq!(trouble.crashed(now, 3, window), None);
        assert_eq!(trouble.crashed(now + window, 3, window), Some(Duration::from_secs(1)));
    }

    #[test]
    fn only_the_first_replacement_is_doubted() {
        let (mut trouble, now) = (Trouble::default(), Instant::now());
        assert!(trouble.replaced(now));
        assert!(!trouble.replaced(now));
        assert!(trouble.replaced(now + REPLACED_WINDOW));
    }
}
