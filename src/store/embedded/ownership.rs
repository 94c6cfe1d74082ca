use std::{sync::PoisonError, time::Duration};

use async_trait::async_trait;

use super::{
    EmbeddedStore,
    batch::{Batch, Step},
};
use crate::{
    store::{Lease, Ownership, StoreError},
    tenant::TenantId,
};

#[async_trait]
impl Ownership for EmbeddedStore {
    async fn acquire(&self, tenant: &TenantId) -> Result<Option<Lease>, StoreError> {
        let tenant = tenant.clone();
        self.step(move |batch| acquire(batch, &tenant)).await
    }

    async fn orphaned(&self, max: usize) -> Result<Vec<TenantId>, StoreError> {
        let memory = self.shared().memory.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(memory.orphaned(max))
    }

    async fn release(&self, lease: Lease) -> Result<(), StoreError> {
        self.step(move |batch| {
            batch.check(&lease)?;
            let tenant = lease.tenant().clone();
            batch.take_back(lease);
            if batch.record(&tenant).facts().is_stale() {
                batch.remind(&tenant);
            }
            batch.notify(&tenant);
            Ok(())
        })
        .await
    }

    /// In memory alone: with this process its only owner is gone.
    async fn crashed(&self, lease: &Lease, window: Duration) -> Result<usize, StoreError> {
        let (lease, now) = (lease.clone(), self.shared().clock.now());
        self.step(move |batch| {
            batch.check(&lease)?;
            let crashes = &mut batch.record(lease.tenant()).crashes;
            crashes.retain(|at| Duration::try_from(now.duration_since(*at)).is_ok_and(|age| age < window));
            crashes.push(now);
            Ok(crashes.len())
        })
        .await
    }

    /// There is no other instance that could die.
    async fn rescan(&self) {
        std::future::pending().await
    }

    fn acquire_delay(&self, _: &TenantId) -> Duration {
        Duration::ZERO
    }

    fn has_room(&self) -> bool {
        false
    }
}

pub(super) fn acquire(batch: &mut Batch<'_>, tenant: &TenantId) -> Step<Option<Lease>> {
    let record = batch.record(tenant);
    if !record.facts().is_orphaned() {
        return Ok(None);
    }
    record.doubted |= record.facts().is_stale();
    match record.facts().takeover_status() {
        Some(status) => {
            batch.append_status(tenant, status)?;
        }
        None if record.doubted => batch.remind(tenant),
        None => {}
    }
    Ok(Some(batch.give(tenant)))
}
