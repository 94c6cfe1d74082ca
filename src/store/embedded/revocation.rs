use std::sync::{Arc, PoisonError};

use async_trait::async_trait;

use super::EmbeddedStore;
use crate::{
    clock::Timestamp,
    store::{Revocations, Revoked, StoreError, Tenants, tenants},
    tenant::TenantId,
};

#[async_trait]
impl Revocations for EmbeddedStore {
    async fn revoke(&self, tenant: &TenantId) -> Result<Timestamp, StoreError> {
        let (tenant, now) = (tenant.reference(), self.shared().clock.now().as_second());
        let until = self.step(move |batch| batch.revoke(tenant, now)).await?;
        Timestamp::from_second(until).map_err(|error| StoreError::Damaged(Box::new(error)))
    }

    fn revoked(&self) -> &Arc<Revoked> {
        &self.shared().disk.revoked
    }
}

#[async_trait]
impl Tenants for EmbeddedStore {
    async fn wanted(&self, after: Option<&TenantId>, max: usize) -> Result<Vec<TenantId>, StoreError> {
        let names = self.shared().memory.lock().unwrap_or_else(PoisonError::into_inner).wanted();
        Ok(tenants::page(names, after, max))
    }

    async fn erase(&self, tenant: &TenantId) -> Result<bool, StoreError> {
        self.erase_tenant(tenant).await
    }
}
