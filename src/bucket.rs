//! A token bucket, for limits with a burst.

use std::time::Duration;

use tokio::time::Instant;

/// How often something may be done: `burst` times at once, then once `every` so long.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    /// Times at once.
    pub burst: u32,
    /// After so long it may be done once more.
    pub every: Duration,
}

/// What is left of a [`Rate`]. Holds one time only, since every tenant with an open stream has three buckets.
#[derive(Debug)]
pub struct Bucket {
    /// From then on all of it is left.
    full_at: Instant,
}

impl Bucket {
    /// A full bucket.
    pub fn full(now: Instant) -> Self {
        Self { full_at: now }
    }

    /// Takes a token. `Err`: none is left; the time at which the next one comes back.
    pub fn take(&mut self, rate: Rate, now: Instant) -> Result<(), Instant> {
        let next_full_at = self.full_at.max(now) + rate.every;
        let allowed_from = next_full_at.checked_sub(rate.every * rate.burst).filter(|from| *from > now);
        allowed_from.map_or(Ok(()), Err)?;
        self.full_at = next_full_at;
        Ok(())
    }

    /// Whether it is as new, so that it can be dropped without changing a limit.
    pub fn is_full(&self, now: Instant) -> bool {
        self.full_at <= now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bucket_gives_its_size_at_once_and_then_one_by_one() {
        let ten = Duration::from_secs(10);
        let (rate, start) = (Rate { burst: 3, every: ten }, Instant::now());
        let mut bucket = Bucket::full(start);
        for _ in 0..3 {
            assert_eq!(bucket.take(rate, start), Ok(()));
        }
        assert_eq!(bucket.take(rate, start), Err(start + ten));
        assert_eq!(bucket.take(rate, start + ten / 2), Err(start + ten));
        assert_eq!(bucket.take(rate, start + ten), Ok(()));
        assert_eq!(bucket.take(rate, start + ten), Err(start + 2 * ten));
        assert!(!bucket.is_full(start + 3 * ten) && bucket.is_full(start + 4 * ten));
        let later = start + 100 * ten;
        for _ in 0..3 {
            assert_eq!(bucket.take(rate, later), Ok(()));
        }
        assert_eq!(bucket.take(rate, later), Err(later + ten), "no more than its burst is saved up");
    }
}
