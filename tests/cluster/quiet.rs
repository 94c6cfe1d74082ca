//! Measurements run alone; tests that mostly wait run together.

use std::time::Duration;

use tokio::{
    sync::{RwLock, RwLockReadGuard, RwLockWriteGuard, Semaphore, SemaphorePermit},
    time::Instant,
};

static MACHINE: RwLock<()> = RwLock::const_new(());
/// How many tests run together, however many threads there are: each starts several instances, and their bounds are
/// meant for a machine that is not full.
static TOGETHER: Semaphore = Semaphore::const_new(3);

pub async fn alone() -> Option<RwLockWriteGuard<'static, ()>> {
    if !tautan_test_support::redis_is_installed() {
        return None;
    }
    Some(MACHINE.write().await)
}

pub async fn together() -> Option<(RwLockReadGuard<'static, ()>, SemaphorePermit<'static>)> {
    if !tautan_test_support::redis_is_installed() {
        return None;
    }
    // First the permit: a test that waits for it must not keep one that runs alone waiting.
    let permit = TOGETHER.acquire().await.expect("it is never closed");
    Some((MACHINE.read().await, permit))
}

/// Asserts a bound and prints what was measured, which docs/measurements.md cites.
pub fn within_bound(what: &str, from: Instant, to: Instant, bound: Duration) {
    let took = to.saturating_duration_since(from);
    println!("FIGURE {what}: {:.3} s (at most {:.1} s)", took.as_secs_f64(), bound.as_secs_f64());
    assert!(took <= bound, "{what}: {took:?}, more than {bound:?}");
}
