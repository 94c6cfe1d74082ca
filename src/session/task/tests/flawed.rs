use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;

use crate::{
    events::{Event, EventId, PhoneNumber, Shown, Status},
    store::{Appended, Journal, Lease, Roster, StoreError, Stores, Subscription, Wish, WishNo},
    tenant::TenantId,
};

/// What fails.
#[derive(Default)]
pub struct Flaws {
    /// Readings of the wish, by their number from 1.
    pub wish: Option<fn(usize) -> Option<StoreError>>,
    /// The first append of such a status.
    pub append: Option<fn(&Status) -> bool>,
    /// The first taking of the tenant.
    pub acquire: bool,
}

/// A store with flaws.
pub struct Flawed {
    inner: Stores,
    flaws: Flaws,
    wishes_read: AtomicUsize,
    append_failed: AtomicBool,
    acquire_failed: AtomicBool,
}

impl Flawed {
    pub fn over(inner: Stores, flaws: Flaws) -> Stores {
        let flawed = Arc::new(Self {
            inner: inner.clone(),
            flaws,
            wishes_read: AtomicUsize::new(0),
            append_failed: AtomicBool::new(false),
            acquire_failed: AtomicBool::new(false),
        });
        Stores { journal: flawed.clone(), roster: flawed, ..inner }
    }
}

pub fn unavailable() -> StoreError {
    StoreError::Unavailable(Box::new(io::Error::other("failing on purpose")))
}

#[async_trait]
impl Journal for Flawed {
    async fn append(&self, lease: &Lease, status: Status) -> Result<Appended, StoreError> {
        let fails = self.flaws.append.is_some_and(|fails| fails(&status));
        if fails && !self.append_failed.swap(true, Ordering::SeqCst) {
            return Err(unavailable());
        }
        self.inner.journal.append(lease, status).await
    }

    async fn finish(&self, lease: Lease, status: Status, settles: WishNo) -> Result<Arc<Event>, StoreError> {
        self.inner.journal.finish(lease, status, settles).await
    }

    async fn latest(&self, tenant: &TenantId) -> Result<Option<Shown>, StoreError> {
        self.inner.journal.latest(tenant).await
    }

    async fn subscribe(&self, tenant: &TenantId, after: Option<EventId>) -> Subscription {
        self.inner.journal.subscribe(tenant, after).await
    }
}

#[async_trait]
impl Roster for Flawed {
    async fn want(&self, tenant: &TenantId, wish: Wish) -> Result<WishNo, StoreError> {
        self.inner.roster.want(tenant, wish).await
    }

    async fn wish(&self, tenant: &TenantId) -> Result<Option<(WishNo, Wish)>, StoreError> {
        let number = self.wishes_read.fetch_add(1, Ordering::SeqCst) + 1;
        match self.flaws.wish.and_then(|flaw| flaw(number)) {
            Some(error) => Err(error),
            None => self.inner.roster.wish(tenant).await,
        }
    }

    async fn acquire(&self, tenant: &TenantId) -> Result<Option<Lease>, StoreError> {
        if self.flaws.acquire && !self.acquire_failed.swap(true, Ordering::SeqCst) {
            return Err(unavailable());
        }
        self.inner.roster.acquire(tenant).await
    }

    async fn unattended(&self, max: usize) -> Result<Vec<TenantId>, StoreError> {
        self.inner.roster.unattended(max).await
    }

    async fn release(&self, lease: Lease) -> Result<(), StoreError> {
        self.inner.roster.release(lease).await
    }

    async fn crashed(&self, lease: &Lease, window: Duration) -> Result<usize, StoreError> {
        self.inner.roster.crashed(lease, window).await
    }

    async fn say(&self, tenant: &TenantId, words: Bytes) -> Result<(), StoreError> {
        self.inner.roster.say(tenant, words).await
    }

    async fn said(&self, lease: &Lease) -> Result<Vec<Bytes>, StoreError> {
        self.inner.roster.said(lease).await
    }

    async fn count_code(&self, number: &PhoneNumber) -> Result<bool, StoreError> {
        self.inner.roster.count_code(number).await
    }

    async fn nudged(&self) -> Vec<TenantId> {
        self.inner.roster.nudged().await
    }

    async fn shaken(&self) {
        self.inner.roster.shaken().await;
    }

    fn deference(&self, tenant: &TenantId) -> Duration {
        self.inner.roster.deference(tenant)
    }

    fn has_room(&self) -> bool {
        self.inner.roster.has_room()
    }
}
