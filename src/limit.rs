//! Sliding limits: at most so many uses within a duration. [`Times`] keeps the uses that a limit counts.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

use crate::clock::Timestamp;

/// At most `count` times in any time as long as `per`. Invariant: neither is zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    count: u32,
    per: Duration,
}

impl Limit {
    /// `None`: the limit would allow no use at all.
    pub const fn new(count: u32, per: Duration) -> Option<Self> {
        if count == 0 || per.is_zero() { None } else { Some(Self { count, per }) }
    }

    /// How many times.
    pub fn count(self) -> u32 {
        self.count
    }

    /// Within which time.
    pub fn per(self) -> Duration {
        self.per
    }

    /// The same in milliseconds.
    pub fn per_ms(self) -> u64 {
        u64::try_from(self.per.as_millis()).unwrap_or(u64::MAX)
    }

    /// How long to wait until the next use is allowed; `None`: it is allowed now. `ages`: how long ago each use was,
    /// newest first.
    pub fn wait(self, mut ages: impl Iterator<Item = Duration>) -> Option<Duration> {
        let first = ages.nth(self.count as usize - 1)?;
        self.per.checked_sub(first).filter(|wait| !wait.is_zero())
    }
}

/// The times of the last uses, newest first, as many as the limit needs.
#[derive(Clone, Debug)]
pub struct Times<M>(VecDeque<M>);

impl<M> Default for Times<M> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

/// A time on one of the two clocks. Limits in memory use tokio's monotonic clock; limits in a store use the
/// wall clock.
pub trait Moment: Copy {
    /// How long ago it was.
    fn age(self, now: Self) -> Duration;
}

impl Moment for Instant {
    fn age(self, now: Self) -> Duration {
        now.duration_since(self)
    }
}

impl Moment for Timestamp {
    /// A time in the future counts as long ago. Without this, a wall clock that was set back shuts a tenant out.
    fn age(self, now: Self) -> Duration {
        Duration::try_from(now.duration_since(self)).unwrap_or(Duration::MAX)
    }
}

impl<M: Moment> Times<M> {
    /// How long to wait until the next use is allowed; `None`: it is allowed now.
    pub fn wait(&self, limit: Limit, now: M) -> Option<Duration> {
        limit.wait(self.0.iter().map(|at| at.age(now)))
    }

    /// Counts a use now.
    pub fn add(&mut self, limit: Limit, now: M) {
        if self.0.is_empty() {
            // Most tenants do it once. The deque itself would begin with room for four.
            self.0.reserve_exact(1);
        }
        self.0.push_front(now);
        self.0.truncate(limit.count as usize);
    }

    /// Counts a use if it is allowed now. False: the limit is used up.
    pub fn take(&mut self, limit: Limit, now: M) -> bool {
        let is_left = self.wait(limit, now).is_none();
        if is_left {
            self.add(limit, now);
        }
        is_left
    }

    /// Whether no time is kept.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether no use counts any more: then the times can be dropped.
    pub fn are_over(&self, limit: Limit, now: M) -> bool {
        self.0.front().is_none_or(|last| last.age(now) >= limit.per)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limit_waits_for_the_oldest_use_that_fills_it() {
        let limit = Limit::new(2, Duration::from_secs(10)).unwrap();
        let wait = |ages: &[u64]| limit.wait(ages.iter().map(|age| Duration::from_secs(*age)));
        assert_eq!(wait(&[]), None);
        assert_eq!(wait(&[0]), None);
        assert_eq!(wait(&[0, 3]), Some(Duration::from_secs(7)));
        assert_eq!(wait(&[0, 3, 4]), Some(Duration::from_secs(7)));
        assert_eq!(wait(&[0, 10]), None);
        assert_eq!((Limit::new(0, Duration::MAX), Limit::new(1, Duration::ZERO)), (None, None));
    }

    #[test]
    fn future_time_counts_as_long_ago_after_clock_was_set_back() {
        let (limit, mut times) = (Limit::new(1, Duration::from_secs(10)).unwrap(), Times::default());
        let at = |second| Timestamp::from_second(second).unwrap();
        assert!(times.take(limit, at(100)) && !times.take(limit, at(109)));
        assert!(!times.are_over(limit, at(109)) && times.are_over(limit, at(110)));
        assert!(times.are_over(limit, at(50)) && times.take(limit, at(50)));
    }

    #[test]
    fn no_more_times_are_kept_than_the_limit_needs() {
        let (limit, start) = (Limit::new(2, Duration::from_secs(10)).unwrap(), Instant::now());
        let mut times = Times::default();
        for second in 0..100 {
            let now = start + Duration::from_secs(second * 5);
            assert!(times.take(limit, now));
            assert_eq!(times.wait(limit, now).is_some(), second > 0, "{second}");
        }
        assert_eq!(times.0.len(), 2);
    }
}
