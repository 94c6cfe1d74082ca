//! Tenants as a whole: all that are wanted, one that is erased, idle ones that are forgotten. Repairs indexes from records, and
//! never a record from an index.
//!
//! Where to start reading: `sweep`.

pub mod forget;
pub mod sweep;

use std::collections::HashSet;

use async_trait::async_trait;

use super::{
    RedisStore, schema,
    script::{Call, LISTED},
};
use crate::{
    store::{StoreError, Tenants, tenants},
    tenant::TenantId,
};

#[async_trait]
impl Tenants for RedisStore {
    /// From the indexes, which name every tenant with an unfulfilled desired state.
    async fn wanted(&self, after: Option<&TenantId>, max: usize) -> Result<Vec<TenantId>, StoreError> {
        let mut incarnations = HashSet::new();
        loop {
            let indexes = incarnations.iter().map(|incarnation: &String| schema::owned(incarnation));
            let names = [schema::incarnations(), schema::wanted()].into_iter().chain(indexes);
            let call = Call::on_keys(&LISTED, names);
            let (now, wanted): (HashSet<String>, Vec<String>) = self.shared().connections.call(&call).await?;
            if now.is_subset(&incarnations) {
                let names = wanted.iter().filter_map(|name| TenantId::parse_encoded(name).ok()).collect();
                return Ok(tenants::page(names, after, max));
            }
            // One that registered meanwhile may own some.
            incarnations = now;
        }
    }

    async fn erase(&self, tenant: &TenantId) -> Result<bool, StoreError> {
        self.erase_tenant(tenant).await
    }
}
