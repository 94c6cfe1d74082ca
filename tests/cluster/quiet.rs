//! Measurements run alone; tests that mostly wait run together.

use std::time::Duration;

use tokio::{
    sync::{RwLock, RwLockReadGuard, RwLockWriteGuard},
    time::Instant,
};

static MACHINE: RwLock<()> = RwLock::const_new(());

pub async fn alone() -> Option<RwLockWriteGuard<'static, ()>> {
    if !tautan_test_support::redis_is_installed() {
        return None;
    }
    Some(MACHINE.write().await)
}

pub async fn together() -> Option<RwLockReadGuard<'static, ()>> {
    if !tautan_test_support::redis_is_installed() {
        return None;
    }
    Some(MACHINE.read().await)
}

/// Asserts a bound and prints what was measured, which docs/measurements.md cites.
pub fn within_bound(what: &str, from: Instant, to: Instant, bound: Duration) {
    let took = to.saturating_duration_since(from);
    println!("FIGURE {what}: {:.3} s (at most {:.1} s)", took.as_secs_f64(), bound.as_secs_f64());
    assert!(took <= bound, "{what}: {took:?}, more than {bound:?}");
}
