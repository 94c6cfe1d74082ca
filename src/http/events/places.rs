use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{Notify, futures::OwnedNotified, watch},
    time::{Instant, timeout_at},
};

use crate::tenant::TenantId;

/// How long a request waits for a place when the tenant has all that it may have.
const WAIT_MAX: Duration = Duration::from_millis(300);
/// Between two checks of one tenant's streams, however many requests wait for a place. One write is not enough: the first
/// succeeds after the client has gone, and only a later one fails. HAProxy (2.6, without `http-no-delay`) also holds what
/// it writes for 200 ms, and closes the stream at its next write: that must come well before the wait is over.
const CHECK_EVERY: Duration = Duration::from_millis(40);

/// Counts the open streams of each tenant.
#[derive(Clone, Default)]
pub struct Places(Arc<Mutex<HashMap<TenantId, Open>>>);

/// Changes when each of the tenant's streams is to be written to. Its value is the time of the last check.
pub type Checks = watch::Receiver<Option<Instant>>;

/// The open streams of one tenant.
#[derive(Default)]
struct Open {
    count: usize,
    checks: watch::Sender<Option<Instant>>,
    freed: Arc<Notify>,
}

/// Held by a stream; given back when it is dropped, however it ends.
pub struct Place {
    places: Places,
    tenant: TenantId,
    checks: Checks,
}

impl Places {
    /// `None`: the tenant has `max` open streams, also after each was written to.
    ///
    /// HAProxy, nginx and Caddy can keep the stream of a client that has gone until a write to the client fails. Without the
    /// checks such a stream would hold its place until its second heartbeat or longer. Cancel safe.
    pub async fn take(&self, tenant: &TenantId, max: usize) -> Option<Place> {
        let deadline = Instant::now() + WAIT_MAX;
        loop {
            let freed = match self.take_or_check(tenant, max) {
                Ok(place) => return Some(place),
                Err(freed) => freed,
            };
            let now = Instant::now();
            if now >= deadline {
                return None;
            }
            let _ = timeout_at(deadline.min(now + CHECK_EVERY), freed).await;
        }
    }

    /// `Err`: the tenant has `max`, its streams are being checked; completes when one of them ends.
    fn take_or_check(&self, tenant: &TenantId, max: usize) -> Result<Place, OwnedNotified> {
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = taken.get(tenant).filter(|open| open.count >= max) {
            // Made under the lock: a place that is given back after this is not missed.
            let freed = open.freed.clone().notified_owned();
            open.check();
            return Err(freed);
        }
        let open = taken.entry(tenant.clone()).or_default();
        open.count += 1;
        Ok(Place { places: self.clone(), tenant: tenant.clone(), checks: open.checks.subscribe() })
    }
}

impl Open {
    fn check(&self) {
        self.checks.send_if_modified(|last| {
            let due = last.is_none_or(|last| last.elapsed() >= CHECK_EVERY);
            if due {
                *last = Some(Instant::now());
            }
            due
        });
    }
}

impl Place {
    pub fn checks(&self) -> Checks {
        self.checks.clone()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = taken.get_mut(&self.tenant) {
            open.count -= 1;
            open.freed.notify_waiters();
            if open.count == 0 {
                taken.remove(&self.tenant);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(name: &str) -> TenantId {
        TenantId::parse(name).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_place_is_free_again_when_its_stream_is_gone() {
        let (a, b) = (tenant("a"), tenant("b"));
        let places = Places::default();
        let first = places.take(&a, 2).await.unwrap();
        let _second = places.take(&a, 2).await.unwrap();
        assert!(places.take(&a, 2).await.is_none());
        assert!(places.take(&b, 2).await.is_some(), "another tenant has places of its own");
        drop(first);
        assert!(places.take(&a, 2).await.is_some());
        assert_eq!(places.0.lock().unwrap().len(), 1, "tenants without streams are forgotten");
    }

    #[tokio::test(start_paused = true)]
    async fn place_is_taken_when_a_stream_ends_after_a_check() {
        let (places, a) = (Places::default(), tenant("a"));
        let stale = places.take(&a, 1).await.unwrap();
        let mut checks = stale.checks();
        let ends_when_checked = async move {
            checks.changed().await.unwrap();
            drop(stale);
        };
        let began = Instant::now();
        let (place, ()) = tokio::join!(places.take(&a, 1), ends_when_checked);
        assert!(place.is_some());
        assert_eq!(began.elapsed(), Duration::ZERO, "the check is the first thing done");
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_requests_share_the_checks() {
        let (places, a) = (Places::default(), tenant("a"));
        let held = places.take(&a, 1).await.unwrap();
        let mut checks = held.checks();
        let mut count = 0;
        let began = Instant::now();
        let refused = futures_util::future::join_all((0..50).map(|_| places.take(&a, 1)));
        tokio::select! {
            refused = refused => assert!(refused.iter().all(Option::is_none)),
            () = async { while checks.changed().await.is_ok() { count += 1; } } => unreachable!("the place is held"),
        }
        let waited = began.elapsed();
        assert!((WAIT_MAX..WAIT_MAX + CHECK_EVERY).contains(&waited), "{waited:?}");
        assert!((7..=8).contains(&count), "{count}");
    }
}
