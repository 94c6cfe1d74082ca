use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::error::{Code, Problem};
use crate::{
    bucket::{Bucket, Rate},
    limit::{Limit, Times},
    telemetry::{
        Sampled, metrics,
        words::{COMMANDS, READS, STREAM_OPENINGS},
    },
    tenant::TenantId,
};

/// How often tenants that have their whole budget again are removed.
const FORGET_EVERY: Duration = Duration::from_secs(60);

/// Lines of the log about the streams of one tenant: so many at once, and then one more each time.
const LINES: Rate = Rate { burst: 10, every: Duration::from_secs(10) };

/// How often each tenant may send commands, read, and open streams on this instance.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Commands at once; after that [`Self::commands_per_second`].
    pub command_burst: u32,
    /// Commands per second once the burst is used up.
    pub commands_per_second: u32,
    /// Reads of the status and the code at once; after that [`Self::reads_per_second`].
    pub read_burst: u32,
    /// Reads per second once the burst is used up.
    pub reads_per_second: u32,
    /// How often streams may be opened.
    pub stream_openings: Limit,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            command_burst: 20,
            commands_per_second: 5,
            read_burst: 100,
            reads_per_second: 20,
            stream_openings: Limit::new(60, Duration::from_secs(60)).expect("neither is zero"),
        }
    }
}

impl Limits {
    fn commands(self) -> Rate {
        Rate { burst: self.command_burst, every: Duration::from_secs(1) / self.commands_per_second }
    }

    fn reads(self) -> Rate {
        Rate { burst: self.read_burst, every: Duration::from_secs(1) / self.reads_per_second }
    }
}

/// What each tenant has used of its limits on this instance. Without them one tenant could keep the store and the log busy
/// for all.
pub(super) struct Budgets {
    limits: Limits,
    used: Mutex<Used>,
    command_lines: Sampled,
    read_lines: Sampled,
    opening_lines: Sampled,
}

struct Used {
    tenants: HashMap<TenantId, Budget>,
    forgot_at: Instant,
}

struct Budget {
    commands: Bucket,
    reads: Bucket,
    lines: Bucket,
    /// Lines that were left out since the last one.
    unlogged: u64,
    openings: Times<Instant>,
}

impl Budgets {
    pub fn new(limits: Limits) -> Self {
        let used = Mutex::new(Used { tenants: HashMap::new(), forgot_at: Instant::now() });
        let [command_lines, read_lines, opening_lines] = Default::default();
        Self { limits, used, command_lines, read_lines, opening_lines }
    }

    /// Uses one command. Routes do not call it for "disconnect": a tenant must be able to stop what it started.
    pub fn take_command(&self, tenant: &TenantId) -> Result<(), Problem> {
        let Limits { command_burst, commands_per_second, .. } = self.limits;
        let (rate, now) = (self.limits.commands(), Instant::now());
        let taken = self.with(tenant, now, |budget| budget.commands.take(rate, now));
        taken.map_err(|next| {
            metrics().limits.add(COMMANDS);
            if self.command_lines.is_due() {
                tracing::warn!(%tenant, "commands of tenant are refused, too many came");
            }
            let detail = format!("at most {command_burst} commands at once, then {commands_per_second} per second");
            Problem::new(Code::TooManyCommands, detail).retry_after(whole_seconds(next - now))
        })
    }

    /// Uses one read. Each one is a script in Redis, and some draw a picture: without this one tenant could keep all cores busy.
    pub fn take_read(&self, tenant: &TenantId) -> Result<(), Problem> {
        let Limits { read_burst, reads_per_second, .. } = self.limits;
        let (rate, now) = (self.limits.reads(), Instant::now());
        let taken = self.with(tenant, now, |budget| budget.reads.take(rate, now));
        taken.map_err(|next| {
            metrics().limits.add(READS);
            if self.read_lines.is_due() {
                tracing::warn!(%tenant, "reads of tenant are refused, too many came");
            }
            let detail = format!(
                "at most {read_burst} reads at once, then {reads_per_second} per second; read the stream instead"
            );
            Problem::new(Code::TooManyReads, detail).retry_after(whole_seconds(next - now))
        })
    }

    /// Uses one opening of a stream. False: none is left.
    pub fn take_opening(&self, tenant: &TenantId) -> bool {
        let (limit, now) = (self.limits.stream_openings, Instant::now());
        let taken = self.with(tenant, now, |budget| budget.openings.take(limit, now));
        if !taken {
            metrics().limits.add(STREAM_OPENINGS);
            if self.opening_lines.is_due() {
                tracing::warn!(%tenant, "streams of tenant are ended at once, too many were opened");
            }
        }
        taken
    }

    /// Whether a line of the log about one of the tenant's streams is due: how many were left out since the last one. With a
    /// line for each stream, a client that opens and closes them could fill the disk.
    pub fn take_line(&self, tenant: &TenantId) -> Option<u64> {
        let now = Instant::now();
        self.with(tenant, now, |budget| match budget.lines.take(LINES, now) {
            Ok(()) => Some(std::mem::take(&mut budget.unlogged)),
            Err(_) => {
                budget.unlogged += 1;
                None
            }
        })
    }

    /// Forgets tenants whose budget is whole, if it is time. Called again and again: after thousands of streams were opened
    /// at once, no tenant may ask for anything for long.
    pub fn forget(&self) {
        self.forget_in(&mut self.used.lock().unwrap_or_else(PoisonError::into_inner), Instant::now());
    }

    fn forget_in(&self, used: &mut Used, now: Instant) {
        if now.duration_since(used.forgot_at) < FORGET_EVERY {
            return;
        }
        used.forgot_at = now;
        let openings = self.limits.stream_openings;
        used.tenants.retain(|_, budget| !budget.is_whole(now, openings));
        used.tenants.shrink_to(2 * used.tenants.len());
    }

    fn with<T>(&self, tenant: &TenantId, now: Instant, take: impl FnOnce(&mut Budget) -> T) -> T {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        self.forget_in(&mut used, now);
        let new = || Budget {
            commands: Bucket::full(now),
            reads: Bucket::full(now),
            lines: Bucket::full(now),
            unlogged: 0,
            openings: Times::default(),
        };
        take(used.tenants.entry(tenant.clone()).or_insert_with(new))
    }
}

impl Budget {
    fn is_whole(&self, now: Instant, openings: Limit) -> bool {
        let buckets = [&self.commands, &self.reads, &self.lines];
        buckets.into_iter().all(|bucket| bucket.is_full(now)) && self.openings.are_over(openings, now)
    }
}

/// For `Retry-After`: never too early, and never 0.
pub(super) fn whole_seconds(wait: Duration) -> u32 {
    u32::try_from(wait.as_millis().div_ceil(1_000)).unwrap_or(u32::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(name: &str) -> TenantId {
        TenantId::parse(name).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn openings_are_counted_over_the_last_minute() {
        let (budgets, a, b) = (Budgets::new(Limits::default()), tenant("a"), tenant("b"));
        for _ in 0..60 {
            assert!(budgets.take_opening(&a));
            tokio::time::advance(Duration::from_millis(500)).await;
        }
        assert!(!budgets.take_opening(&a), "30 s after the first");
        assert!(budgets.take_opening(&b), "another tenant has a budget of its own");
        tokio::time::advance(Duration::from_secs(30)).await;
        assert!(budgets.take_opening(&a), "the first is a minute old");
        assert!(!budgets.take_opening(&a), "the second is not");
    }

    #[tokio::test(start_paused = true)]
    async fn lines_that_are_left_out_are_counted_in_the_next() {
        let (budgets, a, b) = (Budgets::new(Limits::default()), tenant("a"), tenant("b"));
        for _ in 0..LINES.burst {
            assert_eq!(budgets.take_line(&a), Some(0));
        }
        for _ in 0..500 {
            assert_eq!(budgets.take_line(&a), None);
        }
        assert_eq!(budgets.take_line(&b), Some(0), "another tenant has lines of its own");
        tokio::time::advance(LINES.every).await;
        assert_eq!((budgets.take_line(&a), budgets.take_line(&a)), (Some(500), None));
    }

    /// Without it a program that runs for months keeps an entry for every tenant that ever came.
    #[tokio::test(start_paused = true)]
    async fn tenants_with_a_whole_budget_are_forgotten() {
        let budgets = Budgets::new(Limits::default());
        let known = || budgets.used.lock().unwrap().tenants.len();
        for number in 0..100 {
            assert!(budgets.take_command(&tenant(&number.to_string())).is_ok());
            assert!(budgets.take_opening(&tenant(&number.to_string())));
        }
        tokio::time::advance(FORGET_EVERY - Duration::from_secs(1)).await;
        assert!(budgets.take_opening(&tenant("late")));
        assert_eq!(known(), 101);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(budgets.take_command(&tenant("new")).is_ok());
        assert_eq!(known(), 2, "one opened a stream a second ago, one is new");
        tokio::time::advance(FORGET_EVERY + FORGET_EVERY).await;
        budgets.forget();
        assert_eq!(known(), 0);
        assert_eq!(budgets.used.lock().unwrap().tenants.capacity(), 0, "what they took is given back");
    }

    #[test]
    fn retry_after_is_rounded_up_to_whole_seconds() {
        let seconds = [0, 1, 1_000, 1_001].map(|ms| whole_seconds(Duration::from_millis(ms)));
        assert_eq!(seconds, [1, 1, 1, 2]);
    }
}
