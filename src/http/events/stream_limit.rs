use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Waker,
    time::Duration,
};

use tokio::{
    sync::{Notify, futures::OwnedNotified},
    time::{Instant, timeout_at},
};

use super::handle::{Handle, Order};
use crate::{clock::Timestamp, telemetry::metrics, tenant::TenantId};

/// How long a request waits for a slot when all of the tenant's are taken.
const WAIT_MAX: Duration = Duration::from_millis(300);
/// Between two checks of one tenant's streams, however many requests wait for a slot. One write is not enough: the
/// first succeeds after the client has gone, and only a later one fails. HAProxy (2.6, without `http-no-delay`) also
/// holds what it writes for 200 ms, and closes the stream at its next write: that must come well before the wait is
/// over.
const CHECK_EVERY: Duration = Duration::from_millis(40);
/// Streams get their heartbeats in so many groups, one after the other, so that ten thousand writes do not fall
/// together.
pub const GROUPS: u32 = 7;

/// The open streams of this instance, by tenant.
#[derive(Clone)]
pub struct StreamLimit(Arc<Shared>);

struct Shared {
    all: Mutex<All>,
    max: Max,
}

/// How many streams may be open.
#[derive(Clone, Copy, Debug)]
pub struct Max {
    pub all: usize,
    pub of_tenant: usize,
}

/// Why there is no slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crowded {
    Instance,
    Tenant,
}

#[derive(Default)]
struct All {
    count: usize,
    tenants: HashMap<TenantId, Open>,
    opened: u32,
    /// All streams end, also those that are opened from now on.
    ended: bool,
}

/// The open streams of one tenant. Small, since most tenants have one.
#[derive(Default)]
struct Open {
    handles: Vec<Arc<Handle>>,
    checked_at: Option<Instant>,
    /// Made for the first request that waits.
    freed: Option<Arc<Notify>>,
}

/// Held by a stream; freed when it is dropped, however the stream ends.
pub struct StreamSlot {
    limit: StreamLimit,
    tenant: TenantId,
    handle: Arc<Handle>,
}

impl StreamLimit {
    pub fn new(max: Max) -> Self {
        metrics().streams_max.set(max.all as f64);
        Self(Arc::new(Shared { all: Mutex::default(), max }))
    }

    /// `Err`: the limit is reached; the tenant's limit only after each of its streams was written to.
    ///
    /// HAProxy, nginx and Caddy can keep the stream of a client that has gone until a write to the client fails.
    /// Without the checks such a stream would hold its slot until its second heartbeat or longer. Cancel safe.
    pub async fn take(&self, tenant: &TenantId, issued_at: Option<Timestamp>) -> Result<StreamSlot, Crowded> {
        let deadline = Instant::now() + WAIT_MAX;
        loop {
            let freed = match self.take_or_check(tenant, issued_at) {
                Ok(slot) => return slot.ok_or(Crowded::Instance),
                Err(freed) => freed,
            };
            let now = Instant::now();
            if now >= deadline {
                return Err(Crowded::Tenant);
            }
            let _ = timeout_at(deadline.min(now + CHECK_EVERY), freed).await;
        }
    }

    /// `None`: the instance has as many as it may. `Err`: the tenant has, its streams are being checked; completes when
    /// one of them ends.
    fn take_or_check(
        &self,
        tenant: &TenantId,
        issued_at: Option<Timestamp>,
    ) -> Result<Option<StreamSlot>, OwnedNotified> {
        let mut all = self.all();
        if let Some(open) = all.tenants.get_mut(tenant).filter(|open| open.handles.len() >= self.0.max.of_tenant) {
            // Made under the lock: a slot that is freed after this is not missed.
            let freed = open.freed.get_or_insert_default().clone().notified_owned();
            let streams = open.check();
            drop(all);
            streams.into_iter().for_each(Waker::wake);
            return Err(freed);
        }
        if all.count >= self.0.max.all {
            return Ok(None);
        }
        all.count += 1;
        metrics().streams_open.set(all.count as f64);
        all.opened = all.opened.wrapping_add(1);
        let handle = Arc::new(Handle::new(all.opened % GROUPS, issued_at));
        if all.ended {
            handle.order(Order::End);
        }
        let open = all.tenants.entry(tenant.clone()).or_default();
        // Most tenants have one stream.
        open.handles.reserve_exact(1);
        open.handles.push(handle.clone());
        Ok(Some(StreamSlot { limit: self.clone(), tenant: tenant.clone(), handle }))
    }

    /// Orders a heartbeat of the streams of one group.
    pub fn order_heartbeat(&self, group: u32) {
        let all = self.all();
        let handles = all.tenants.values().flat_map(|open| &open.handles).filter(|handle| handle.group == group);
        let streams: Vec<Waker> = handles.filter_map(|handle| handle.order(Order::Heartbeat)).collect();
        drop(all);
        streams.into_iter().for_each(Waker::wake);
    }

    /// Ends the streams of these tenants whose tokens have these issue times.
    pub fn end_revoked(&self, is_revoked: impl Fn(&TenantId, Option<Timestamp>) -> bool) {
        let all = self.all();
        let of_tenants =
            all.tenants.iter().flat_map(|(tenant, open)| open.handles.iter().map(move |one| (tenant, one)));
        let revoked = of_tenants.filter(|(tenant, handle)| is_revoked(tenant, handle.issued_at));
        let streams: Vec<Waker> = revoked.filter_map(|(_, handle)| handle.order(Order::EndRevoked)).collect();
        drop(all);
        streams.into_iter().for_each(Waker::wake);
    }

    /// Ends all streams, also those that are opened from now on.
    pub fn end(&self) {
        let mut all = self.all();
        all.ended = true;
        let handles = all.tenants.values().flat_map(|open| &open.handles);
        let streams: Vec<Waker> = handles.filter_map(|handle| handle.order(Order::End)).collect();
        drop(all);
        streams.into_iter().for_each(Waker::wake);
    }

    fn all(&self) -> MutexGuard<'_, All> {
        self.0.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    /// Returns the wakers of the streams to check.
    fn check(&mut self) -> Vec<Waker> {
        if self.checked_at.is_some_and(|last| last.elapsed() < CHECK_EVERY) {
            return Vec::new();
        }
        self.checked_at = Some(Instant::now());
        self.handles.iter().filter_map(|handle| handle.order(Order::Heartbeat)).collect()
    }
}

impl StreamSlot {
    pub fn handle(&self) -> &Handle {
        &self.handle
    }
}

impl Drop for StreamSlot {
    fn drop(&mut self) {
        let mut all = self.limit.all();
        all.count -= 1;
        metrics().streams_open.set(all.count as f64);
        let Some(open) = all.tenants.get_mut(&self.tenant) else { return };
        open.handles.retain(|handle| !Arc::ptr_eq(handle, &self.handle));
        if let Some(freed) = &open.freed {
            freed.notify_waiters();
        }
        if open.handles.is_empty() {
            all.tenants.remove(&self.tenant);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use futures::FutureExt as _;

    use super::*;

    fn order(slot: &StreamSlot) -> Option<Order> {
        poll_fn(|cx| slot.handle().poll_order(cx)).now_or_never()
    }

    fn tenant(name: &str) -> TenantId {
        TenantId::parse(name).unwrap()
    }

    fn limit(of_tenant: usize) -> StreamLimit {
        StreamLimit::new(Max { all: 15, of_tenant })
    }

    #[tokio::test(start_paused = true)]
    async fn instance_has_no_slot_beyond_its_own_limit() {
        let limit = StreamLimit::new(Max { all: 3, of_tenant: 2 });
        let mut open = Vec::new();
        for name in ["a", "b", "c"] {
            open.push(limit.take(&tenant(name), None).await.ok().unwrap());
        }
        assert_eq!(limit.take(&tenant("d"), None).await.err(), Some(Crowded::Instance));
        open.pop();
        assert!(limit.take(&tenant("d"), None).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn slot_is_free_again_when_its_stream_ends() {
        let (a, b) = (tenant("a"), tenant("b"));
        let limit = limit(2);
        let first = limit.take(&a, None).await.ok().unwrap();
        let _second = limit.take(&a, None).await.ok().unwrap();
        assert_eq!(limit.take(&a, None).await.err(), Some(Crowded::Tenant));
        assert!(limit.take(&b, None).await.is_ok(), "another tenant has slots of its own");
        drop(first);
        assert!(limit.take(&a, None).await.is_ok());
        assert_eq!(limit.all().tenants.len(), 1, "tenants without streams are forgotten");
    }

    #[tokio::test(start_paused = true)]
    async fn slot_is_given_when_a_stream_ends_after_a_check() {
        let (limit, a) = (limit(1), tenant("a"));
        let stale = limit.take(&a, None).await.ok().unwrap();
        let ends_when_checked = async move {
            assert_eq!(poll_fn(|cx| stale.handle().poll_order(cx)).await, Order::Heartbeat);
            drop(stale);
        };
        let began = Instant::now();
        let (slot, ()) = tokio::join!(limit.take(&a, None), ends_when_checked);
        assert!(slot.is_ok());
        assert_eq!(began.elapsed(), Duration::ZERO, "the check is the first thing done");
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_requests_share_the_checks() {
        let (limit, a) = (limit(1), tenant("a"));
        let held = limit.take(&a, None).await.ok().unwrap();
        let mut count = 0;
        let began = Instant::now();
        let refused = futures::future::join_all((0..50).map(|_| limit.take(&a, None)));
        tokio::select! {
            refused = refused => assert!(refused.iter().all(Result::is_err)),
            () = async { loop { poll_fn(|cx| held.handle().poll_order(cx)).await; count += 1; } } => unreachable!("the slot is held"),
        }
        let waited = began.elapsed();
        assert!((WAIT_MAX..WAIT_MAX + CHECK_EVERY).contains(&waited), "{waited:?}");
        assert!((7..=8).contains(&count), "{count}");
    }

    #[tokio::test(start_paused = true)]
    async fn each_stream_has_one_heartbeat_in_a_round() {
        let (limit, a) = (limit(20), tenant("a"));
        let mut streams = Vec::new();
        for _ in 0..15 {
            streams.push(limit.take(&a, None).await.ok().unwrap());
        }
        let mut count = 0;
        for group in 0..GROUPS {
            limit.order_heartbeat(group);
            let due = streams.iter().filter(|slot| order(slot).is_some()).count();
            assert!((2..=3).contains(&due), "groups are of about one size: {due}");
            count += due;
        }
        assert_eq!(count, 15);
    }

    #[tokio::test(start_paused = true)]
    async fn stream_that_is_opened_after_the_end_ends() {
        let (limit, a) = (limit(2), tenant("a"));
        let early = limit.take(&a, None).await.ok().unwrap();
        assert_eq!(order(&early), None);
        limit.end();
        let late = limit.take(&a, None).await.ok().unwrap();
        for slot in [&early, &late, &early] {
            assert_eq!(order(slot), Some(Order::End));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn only_streams_of_revoked_tokens_end() {
        let (limit, a, b) = (limit(5), tenant("a"), tenant("b"));
        let at = |second| Some(Timestamp::from_second(second).unwrap());
        let mut slots = Vec::new();
        for (tenant, issued_at) in [(&a, None), (&a, at(100)), (&a, at(101)), (&b, None), (&b, at(1))] {
            slots.push(limit.take(tenant, issued_at).await.ok().unwrap());
        }
        limit.order_heartbeat(1);
        limit.end_revoked(|tenant, issued_at| *tenant == a && issued_at.is_none_or(|at| at.as_second() <= 100));
        let revoked: Vec<_> = slots.iter().map(|slot| order(slot) == Some(Order::EndRevoked)).collect();
        assert_eq!(revoked, [true, true, false, false, false]);
        limit.end();
        assert_eq!(order(&slots[0]), Some(Order::EndRevoked), "the reason stays");
        assert_eq!(order(&slots[2]), Some(Order::End));
    }
}
