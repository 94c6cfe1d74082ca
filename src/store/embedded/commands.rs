use std::{sync::PoisonError, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;

use super::{
    EmbeddedStore,
    batch::{Batch, Step, Stop},
    ownership::acquire,
};
use crate::{
    clock::Timestamp,
    events::PhoneNumber,
    store::{
        Beginning, Commands, DesiredState, Generation, Lease, Limits, MESSAGE_KEPT_FOR, MESSAGES_MAX, StoreError,
        Submitted,
        crypt::{NUMBER_TABLE, TenantKeys},
        takeover::starting,
    },
    tenant::TenantId,
};

#[async_trait]
impl Commands for EmbeddedStore {
    async fn submit(
        &self,
        tenant: &TenantId,
        desired: DesiredState,
        may_acquire: bool,
    ) -> Result<Submitted, StoreError> {
        let (tenant, limits, now) = (tenant.clone(), self.shared().limits, self.shared().clock.now());
        self.step(move |batch| {
            let number = request(batch, &tenant, desired, &limits, now)?;
            let lease = if may_acquire { acquire(batch, &tenant)? } else { None };
            let record = batch.record(&tenant);
            let (shown, is_settled) = (record.shown(), record.desired.is_none());
            if lease.is_none() && !is_settled {
                batch.notify(&tenant);
            }
            Ok(Submitted { number, lease, shown })
        })
        .await
    }

    async fn beginning(&self, tenant: &TenantId) -> Result<Beginning, StoreError> {
        let memory = self.shared().memory.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(record) = memory.record(tenant) else { return Ok(Beginning::default()) };
        Ok(Beginning { shown: record.shown(), desired: record.desired.clone() })
    }

    async fn current(&self, tenant: &TenantId) -> Result<Option<(Generation, DesiredState)>, StoreError> {
        let memory = self.shared().memory.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(memory.record(tenant).and_then(|record| record.desired.clone()))
    }

    async fn send(&self, tenant: &TenantId, message: Bytes) -> Result<(), StoreError> {
        let (tenant, now) = (tenant.clone(), self.shared().clock.now());
        self.step(move |batch| {
            let record = batch.record(&tenant);
            if record.is_owned() {
                record.messages.push_back((now, message));
                if record.messages.len() > MESSAGES_MAX {
                    record.messages.pop_front();
                }
                batch.notify(&tenant);
            }
            Ok(())
        })
        .await
    }

    async fn receive(&self, lease: &Lease) -> Result<Vec<Bytes>, StoreError> {
        let (lease, now) = (lease.clone(), self.shared().clock.now());
        self.step(move |batch| {
            batch.check(&lease)?;
            let messages = std::mem::take(&mut batch.record(lease.tenant()).messages);
            let fresh =
                |at: Timestamp| Duration::try_from(now.duration_since(at)).is_ok_and(|age| age < MESSAGE_KEPT_FOR);
            Ok(messages.into_iter().filter(|(at, _)| fresh(*at)).map(|(_, message)| message).collect())
        })
        .await
    }

    async fn count_code(&self, number: &PhoneNumber) -> Result<bool, StoreError> {
        let shared = self.shared();
        let hash = TenantKeys::own(&shared.key).row(NUMBER_TABLE, number.as_str().as_bytes());
        Ok(shared.numbers.take(hash, shared.limits.number_codes, shared.clock.now()))
    }

    async fn notified(&self) -> Vec<TenantId> {
        self.shared().notifications.notified().await
    }
}

fn request(
    batch: &mut Batch<'_>,
    tenant: &TenantId,
    desired: DesiredState,
    limits: &Limits,
    now: Timestamp,
) -> Step<Generation> {
    let record = batch.record(tenant);
    let facts = record.facts();
    if facts.repeats_unlink(&desired) {
        return Ok(Generation(record.generation));
    }
    let (usage, starts, fulfils, wanted) =
        (facts.usage(&desired), facts.starts(&desired), facts.fulfils(&desired), record.desired.is_some());
    let desired = facts.complete(desired);
    record.used.take(usage, limits, now).map_err(Stop::Refused)?;
    let number = Generation(record.generation + 1);
    if fulfils && !batch.has_credentials(tenant)? {
        let record = batch.record(tenant);
        if record.unread.is_some() && record.newest.is_none() {
            // Without this, a later version would read the rows and act on what the user has cancelled.
            batch.forget(tenant)?;
        } else if wanted {
            batch.set_desired(tenant, number, None)?;
        }
        // Otherwise the number is not kept: no `finish` can refer to it. Every user with a token may send this without ever
        // having linked anything.
        return Ok(number);
    }
    if starts {
        batch.append_status(tenant, starting())?;
    }
    batch.set_desired(tenant, number, Some(desired))?;
    Ok(number)
}
