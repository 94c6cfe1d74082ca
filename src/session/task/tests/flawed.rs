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
    store::{
        Appended, Beginning, Commands, DesiredState, Generation, Journal, Lease, Ownership, StoreError, Stores,
        Submitted, Subscription,
    },
    tenant::TenantId,
};

/// What fails.
#[derive(Default)]
pub struct Flaws {
    /// Reads of the desired state, by their number from 1.
    pub desired: Option<fn(usize) -> Option<StoreError>>,
    /// The first append of such a status.
    pub append: Option<fn(&Status) -> bool>,
    /// The first taking of the tenant.
    pub acquire: bool,
}

/// A store with flaws.
pub struct Flawed {
    inner: Stores,
    flaws: Flaws,
    requests_read: AtomicUsize,
    append_failed: AtomicBool,
    acquire_failed: AtomicBool,
}

impl Flawed {
    pub fn over(inner: Stores, flaws: Flaws) -> Stores {
        let flawed = Arc::new(Self {
            inner: inner.clone(),
            flaws,
            requests_read: AtomicUsize::new(0),
            append_failed: AtomicBool::new(false),
            acquire_failed: AtomicBool::new(false),
        });
        Stores { journal: flawed.clone(), ownership: flawed.clone(), commands: flawed, ..inner }
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

    async fn finish(&self, lease: Lease, status: Status, fulfils: Generation) -> Result<Arc<Event>, StoreError> {
        self.inner.journal.finish(lease, status, fulfils).await
    }

    async fn latest(&self, tenant: &TenantId) -> Result<Option<Shown>, StoreError> {
        self.inner.journal.latest(tenant).await
    }

    async fn subscribe(&self, tenant: &TenantId, after: Option<EventId>) -> Subscription {
        self.inner.journal.subscribe(tenant, after).await
    }
}

#[async_trait]
impl Ownership for Flawed {
    async fn acquire(&self, tenant: &TenantId) -> Result<Option<Lease>, StoreError> {
        if self.flaws.acquire && !self.acquire_failed.swap(true, Ordering::SeqCst) {
            return Err(unavailable());
        }
        self.inner.ownership.acquire(tenant).await
    }

    async fn orphaned(&self, max: usize) -> Result<Vec<TenantId>, StoreError> {
        self.inner.ownership.orphaned(max).await
    }

    async fn release(&self, lease: Lease) -> Result<(), StoreError> {
        self.inner.ownership.release(lease).await
    }

    async fn crashed(&self, lease: &Lease, window: Duration) -> Result<usize, StoreError> {
        self.inner.ownership.crashed(lease, window).await
    }

    async fn rescan(&self) {
        self.inner.ownership.rescan().await;
    }

    fn acquire_delay(&self, tenant: &TenantId) -> Duration {
        self.inner.ownership.acquire_delay(tenant)
    }

    fn has_room(&self) -> bool {
        self.inner.ownership.has_room()
    }
}

#[async_trait]
impl Commands for Flawed {
    async fn submit(
        &self,
        tenant: &TenantId,
        desired: DesiredState,
        may_acquire: bool,
    ) -> Result<Submitted, StoreError> {
        self.inner.commands.submit(tenant, desired, may_acquire).await
    }

    async fn beginning(&self, tenant: &TenantId) -> Result<Beginning, StoreError> {
        let desired = self.current(tenant).await?;
        Ok(Beginning { desired, ..self.inner.commands.beginning(tenant).await? })
    }

    async fn current(&self, tenant: &TenantId) -> Result<Option<(Generation, DesiredState)>, StoreError> {
        let number = self.requests_read.fetch_add(1, Ordering::SeqCst) + 1;
        match self.flaws.desired.and_then(|flaw| flaw(number)) {
            Some(error) => Err(error),
            None => self.inner.commands.current(tenant).await,
        }
    }

    async fn send(&self, tenant: &TenantId, words: Bytes) -> Result<(), StoreError> {
        self.inner.commands.send(tenant, words).await
    }

    async fn receive(&self, lease: &Lease) -> Result<Vec<Bytes>, StoreError> {
        self.inner.commands.receive(lease).await
    }

    async fn count_code(&self, number: &PhoneNumber) -> Result<bool, StoreError> {
        self.inner.commands.count_code(number).await
    }

    async fn notified(&self) -> Vec<TenantId> {
        self.inner.commands.notified().await
    }
}
