use async_trait::async_trait;
use bytes::Bytes;

use super::{
    EmbeddedStore,
    rows::{Span, VAULT, open_row},
};
use crate::{
    store::{Change, Lease, StoreError, Vault},
    tenant::TenantId,
};

/// Rows are read in the caller's thread; see [`super::disk::Disk::read`].
#[async_trait]
impl Vault for EmbeddedStore {
    async fn get(&self, tenant: &TenantId, table: &'static str, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        let keys = self.shared().keys(tenant);
        let name = keys.row(table, key);
        let sealed = self.shared().disk.read(|transaction| {
            let vault = transaction.open_table(VAULT)?;
            let row = vault.get((tenant.as_str(), table, name.as_slice()))?;
            Ok(row.map(|row| row.value().to_vec()))
        })?;
        let Some(sealed) = sealed else { return Ok(None) };
        let (_, value) = open_row(&keys, table, &name, &sealed).ok_or(StoreError::Unreadable)?;
        Ok(Some(value.into()))
    }

    async fn table(&self, tenant: &TenantId, table: &'static str) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
        let keys = self.shared().keys(tenant);
        let opened = self.shared().disk.read(|transaction| {
            let vault = transaction.open_table(VAULT)?;
            let mut opened = Vec::new();
            for entry in vault.range(Span::of_table(tenant, table).keys())? {
                let (place, sealed) = entry?;
                opened.push(open_row(&keys, table, place.value().2, sealed.value()));
            }
            Ok(opened)
        })?;
        let rows = opened.into_iter().map(|row| row.map(|(key, value)| (key.into(), value.into())));
        rows.collect::<Option<_>>().ok_or(StoreError::Unreadable)
    }

    async fn holds(&self, tenant: &TenantId) -> Result<bool, StoreError> {
        let first = self.shared().disk.read(|transaction| {
            let vault = transaction.open_table(VAULT)?;
            Ok(vault.range(Span::of_tenant(tenant).keys())?.next().transpose()?.is_some())
        })?;
        Ok(first)
    }

    async fn write(&self, lease: &Lease, changes: Vec<Change>) -> Result<(), StoreError> {
        let lease = lease.clone();
        self.step(move |batch| {
            batch.check(&lease)?;
            batch.change(lease.tenant(), &changes)
        })
        .await
    }

    async fn erase(&self, lease: &Lease) -> Result<(), StoreError> {
        let lease = lease.clone();
        self.step(move |batch| {
            batch.check(&lease)?;
            batch.erase(lease.tenant())
        })
        .await
    }
}
