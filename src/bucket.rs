//! A token bucket, for limits with a burst.

use std::time::Duration;

use tokio::time::Instant;

/// How often something may be done: `size` times at once, then once each `every`.
#[derive(Debug)]
pub struct Bucket {
    size: u32,
    every: Duration,
    left: u32,
    /// When it was full, or when the last token came back.
    since: Instant,
}

impl Bucket {
    /// A full bucket.
    pub fn new(size: u32, every: Duration) -> Self {
        Self { size, every, left: size, since: Instant::now() }
    }

    /// Takes a token. `Err`: none is left; the time at which the next one comes back.
    pub fn take(&mut self, now: Instant) -> Result<(), Instant> {
        self.refill(now);
        if self.left == 0 {
            return Err(self.since + self.every);
        }
        self.left -= 1;
        Ok(())
    }

    /// Whether it is as new, so that it can be dropped without changing a limit.
    pub fn is_full(&mut self, now: Instant) -> bool {
        self.refill(now);
        self.left == self.size
    }

    fn refill(&mut self, now: Instant) {
        while self.left < self.size && now >= self.since + self.every {
            self.left += 1;
            self.since += self.every;
        }
        if self.left == self.size {
            self.since = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bucket_gives_its_size_at_once_and_then_one_by_one() {
        let ten = Duration::from_secs(10);
        let (mut bucket, start) = (Bucket::new(3, ten), Instant::now());
        for _ in 0..3 {
            assert_eq!(bucket.take(start), Ok(()));
        }
        assert_eq!(bucket.take(start), Err(start + ten));
        assert_eq!(bucket.take(start + ten / 2), Err(start + ten));
        assert_eq!(bucket.take(start + ten), Ok(()));
        assert_eq!(bucket.take(start + ten), Err(start + 2 * ten));
        let later = start + 100 * ten;
        for _ in 0..3 {
            assert_eq!(bucket.take(later), Ok(()));
        }
        assert_eq!(bucket.take(later), Err(later + ten), "no more than its size is saved up");
    }
}
