//! What users ask for: the desired state, saved with its limits in one step, and messages to a tenant's owner.
//!
//! Where to start reading: `submit`.

pub mod messages;
pub mod number;
pub mod submit;

use async_trait::async_trait;
use bytes::Bytes;

use self::{
    messages::{receive, send},
    submit::submit,
};
use super::{RedisStore, to_completion};
use crate::{
    events::PhoneNumber,
    store::{Beginning, Commands, DesiredState, Generation, Lease, StoreError, Submitted},
    tenant::TenantId,
};

#[async_trait]
impl Commands for RedisStore {
    async fn submit(
        &self,
        tenant: &TenantId,
        desired: DesiredState,
        may_acquire: bool,
    ) -> Result<Submitted, StoreError> {
        let (shared, tenant) = (self.shared().clone(), tenant.clone());
        to_completion(self.shared(), async move { submit(&shared, &tenant, desired, may_acquire).await }).await
    }

    async fn beginning(&self, tenant: &TenantId) -> Result<Beginning, StoreError> {
        let reading = self.shared().read(tenant, None).await?;
        Ok(Beginning { shown: reading.shown(), desired: reading.record.desired })
    }

    async fn current(&self, tenant: &TenantId) -> Result<Option<(Generation, DesiredState)>, StoreError> {
        Ok(self.shared().read(tenant, None).await?.record.desired)
    }

    async fn send(&self, tenant: &TenantId, message: Bytes) -> Result<(), StoreError> {
        let (shared, tenant) = (self.shared().clone(), tenant.clone());
        to_completion(self.shared(), async move { send(&shared, &tenant, &message).await }).await
    }

    async fn receive(&self, lease: &Lease) -> Result<Vec<Bytes>, StoreError> {
        receive(self.shared(), lease).await
    }

    async fn count_code(&self, number: &PhoneNumber) -> Result<bool, StoreError> {
        self.shared().count_code(number).await
    }

    async fn notified(&self) -> Vec<TenantId> {
        self.shared().notifications.notified().await
    }
}
