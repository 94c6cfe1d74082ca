use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

static KEPT: Mutex<Option<Instant>> = Mutex::new(None);

/// Notes when the heartbeat was sent that keeps this instance's leases.
pub fn lease_kept(sent: Instant) {
    *KEPT.lock().unwrap_or_else(PoisonError::into_inner) = Some(sent);
}

/// `None`: this process has kept no lease by a heartbeat.
pub(super) fn lease_age() -> Option<Duration> {
    KEPT.lock().unwrap_or_else(PoisonError::into_inner).map(|sent| sent.elapsed())
}
