//! How often something may be done.

use std::time::Duration;

/// At most `count` times in any time as long as `per`. Invariant: neither is zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    count: u32,
    per: Duration,
}

impl Limit {
    /// `None`: nothing could ever be done.
    pub const fn new(count: u32, per: Duration) -> Option<Self> {
        if count == 0 || per.is_zero() { None } else { Some(Self { count, per }) }
    }

    pub fn count(self) -> u32 {
        self.count
    }

    pub fn per(self) -> Duration {
        self.per
    }

    pub fn per_ms(self) -> u64 {
        u64::try_from(self.per.as_millis()).unwrap_or(u64::MAX)
    }

    /// How long to wait until it may be done once more; `None`: it may be done now. `ages`: how long ago it was done each
    /// time, the last time first.
    pub fn wait(self, mut ages: impl Iterator<Item = Duration>) -> Option<Duration> {
        let first = ages.nth(self.count as usize - 1)?;
        self.per.checked_sub(first).filter(|wait| !wait.is_zero())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limit_waits_for_the_oldest_of_those_that_fill_it() {
        let limit = Limit::new(2, Duration::from_secs(10)).unwrap();
        let wait = |ages: &[u64]| limit.wait(ages.iter().map(|age| Duration::from_secs(*age)));
        assert_eq!(wait(&[]), None);
        assert_eq!(wait(&[0]), None);
        assert_eq!(wait(&[0, 3]), Some(Duration::from_secs(7)));
        assert_eq!(wait(&[0, 3, 4]), Some(Duration::from_secs(7)));
        assert_eq!(wait(&[0, 10]), None);
        assert_eq!((Limit::new(0, Duration::MAX), Limit::new(1, Duration::ZERO)), (None, None));
    }
}
