use std::{sync::PoisonError, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;

use super::{
    EmbeddedStore,
    batch::{Batch, Step, Stop},
};
use crate::store::greeting::starting;
use crate::{
    clock::Timestamp,
    events::PhoneNumber,
    store::{
        Lease, Limits, Roster, SAID_FOR, SAID_MAX, StoreError, Usage, Wish, WishNo,
        crypt::{NUMBER_TABLE, TenantKeys},
    },
    tenant::TenantId,
};

#[async_trait]
impl Roster for EmbeddedStore {
    async fn want(&self, tenant: &TenantId, wish: Wish) -> Result<WishNo, StoreError> {
        let (tenant, limits, now) = (tenant.clone(), self.shared().limits, self.shared().clock.now());
        self.step(move |batch| want(batch, &tenant, wish, &limits, now)).await
    }

    async fn wish(&self, tenant: &TenantId) -> Result<Option<(WishNo, Wish)>, StoreError> {
        let memory = self.shared().memory.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(memory.record(tenant).and_then(|record| record.wish.clone()))
    }

    async fn acquire(&self, tenant: &TenantId) -> Result<Option<Lease>, StoreError> {
        let tenant = tenant.clone();
        self.step(move |batch| acquire(batch, &tenant)).await
    }

    async fn unattended(&self, max: usize) -> Result<Vec<TenantId>, StoreError> {
        let memory = self.shared().memory.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(memory.unattended(max))
    }

    async fn release(&self, lease: Lease) -> Result<(), StoreError> {
        self.step(move |batch| {
            batch.check(&lease)?;
            let tenant = lease.tenant().clone();
            batch.take_back(lease);
            if batch.record(&tenant).is_stale() {
                batch.remind(&tenant);
            }
            batch.nudge(&tenant);
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

    async fn say(&self, tenant: &TenantId, words: Bytes) -> Result<(), StoreError> {
        let (tenant, now) = (tenant.clone(), self.shared().clock.now());
        self.step(move |batch| {
            let record = batch.record(&tenant);
            if record.is_owned() {
                record.said.push_back((now, words));
                if record.said.len() > SAID_MAX {
                    record.said.pop_front();
                }
                batch.nudge(&tenant);
            }
            Ok(())
        })
        .await
    }

    async fn said(&self, lease: &Lease) -> Result<Vec<Bytes>, StoreError> {
        let (lease, now) = (lease.clone(), self.shared().clock.now());
        self.step(move |batch| {
            batch.check(&lease)?;
            let said = std::mem::take(&mut batch.record(lease.tenant()).said);
            let fresh = |at: Timestamp| Duration::try_from(now.duration_since(at)).is_ok_and(|age| age < SAID_FOR);
            Ok(said.into_iter().filter(|(at, _)| fresh(*at)).map(|(_, words)| words).collect())
        })
        .await
    }

    async fn count_code(&self, number: &PhoneNumber) -> Result<bool, StoreError> {
        let shared = self.shared();
        let hash = TenantKeys::own(&shared.key).row(NUMBER_TABLE, number.as_str().as_bytes());
        Ok(shared.numbers.take(hash, shared.limits.number_codes, shared.clock.now()))
    }

    async fn nudged(&self) -> Vec<TenantId> {
        self.shared().nudges.taken().await
    }

    /// There is nobody else who could die.
    async fn shaken(&self) {
        std::future::pending().await
    }

    fn deference(&self, _: &TenantId) -> Duration {
        Duration::ZERO
    }

    fn has_room(&self) -> bool {
        false
    }
}

fn want(batch: &mut Batch<'_>, tenant: &TenantId, wish: Wish, limits: &Limits, now: Timestamp) -> Step<WishNo> {
    let record = batch.record(tenant);
    let standing = record.wish.as_ref().map(|(_, wish)| wish);
    let usage = Usage::of(&wish, standing, record.newest.as_ref().map(|newest| &newest.status));
    record.used.take(usage, limits, now).map_err(Stop::Refused)?;
    let number = WishNo(record.wishes + 1);
    let (disconnected, owned, wanted) = (record.is_disconnected(), record.is_owned(), record.wish.is_some());
    match &wish {
        // An owner is about to say something, and hears of the wish; only where there is none it can be settled here.
        Wish::Unlink if disconnected && !owned && !batch.has_credentials(tenant)? => {
            if wanted {
                batch.set_wish(tenant, number, None)?;
            }
            // Otherwise the number need not outlive the process: nobody can ever settle by it.
            batch.record(tenant).wishes = number.0;
            return Ok(number);
        }
        Wish::Run { .. } if disconnected => {
            batch.tell(tenant, starting())?;
        }
        Wish::Run { .. } | Wish::Unlink | Wish::Unknown(_) => {}
    }
    batch.set_wish(tenant, number, Some(wish))?;
    batch.nudge(tenant);
    Ok(number)
}

fn acquire(batch: &mut Batch<'_>, tenant: &TenantId) -> Step<Option<Lease>> {
    let record = batch.record(tenant);
    if !record.is_unattended() {
        return Ok(None);
    }
    record.doubted |= record.is_stale();
    match record.greeting() {
        Some(status) => {
            batch.tell(tenant, status)?;
        }
        None if record.doubted => batch.remind(tenant),
        None => {}
    }
    Ok(Some(batch.give(tenant)))
}
