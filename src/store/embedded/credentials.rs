use async_trait::async_trait;
use bytes::Bytes;
use redb::ReadTransaction;

use super::{
    EmbeddedStore,
    rows::{CREDENTIALS, Span, open_row},
};
use crate::{
    store::{Bookmark, Change, CredentialStore, Lease, PAGE_ROWS, Page, StoreError},
    tenant::TenantId,
};

#[async_trait]
impl CredentialStore for EmbeddedStore {
    async fn get(&self, tenant: &TenantId, table: &'static str, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        let mut rows = self.get_many(tenant, table, &[Bytes::copy_from_slice(key)]).await?;
        Ok(rows.pop().flatten())
    }

    async fn get_many(
        &self,
        tenant: &TenantId,
        table: &'static str,
        keys: &[Bytes],
    ) -> Result<Vec<Option<Bytes>>, StoreError> {
        let seals = self.shared().keys(tenant);
        let names: Vec<_> = keys.iter().map(|key| seals.row(table, key)).collect();
        let tenant = tenant.clone();
        let read = move |transaction: &ReadTransaction| {
            let credentials = transaction.open_table(CREDENTIALS)?;
            let mut sealed = Vec::with_capacity(names.len());
            for name in names {
                let row = credentials.get((tenant.as_str(), table, name.as_slice()))?;
                sealed.push((name, row.map(|row| row.value().to_vec())));
            }
            Ok(sealed)
        };
        let opened = self.read(read).await?.into_iter().map(|(name, sealed)| {
            let Some(sealed) = sealed else { return Ok(None) };
            let (_, value) = open_row(&seals, table, &name, &sealed).ok_or(StoreError::Unreadable)?;
            Ok(Some(value.into()))
        });
        opened.collect()
    }

    async fn page(&self, tenant: &TenantId, table: &'static str, after: Option<Bookmark>) -> Result<Page, StoreError> {
        let (keys, tenant) = (self.shared().keys(tenant), tenant.clone());
        let read = move |transaction: &ReadTransaction| {
            let credentials = transaction.open_table(CREDENTIALS)?;
            let span = Span::of_table(&tenant, table);
            let mut range = span.keys();
            let from = after.map(|Bookmark(name)| name).unwrap_or_default();
            range.start.2 = &from;
            let (mut opened, mut last) = (Vec::new(), None);
            for entry in credentials.range(range)?.take(PAGE_ROWS) {
                let (place, sealed) = entry?;
                let name = place.value().2;
                opened.push(open_row(&keys, table, name, sealed.value()));
                last = Some(after_name(name));
            }
            let next = last.filter(|_| opened.len() == PAGE_ROWS);
            Ok((opened, next))
        };
        let (opened, next) = self.read(read).await?;
        let rows = opened.into_iter().map(|row| row.map(|(key, value)| (key.into(), value.into())));
        let rows = rows.collect::<Option<_>>().ok_or(StoreError::Unreadable)?;
        Ok(Page { rows, next: next.map(Bookmark) })
    }

    async fn holds(&self, tenant: &TenantId) -> Result<bool, StoreError> {
        let tenant = tenant.clone();
        let read = move |transaction: &ReadTransaction| {
            let credentials = transaction.open_table(CREDENTIALS)?;
            Ok(credentials.range(Span::of_tenant(&tenant).keys())?.next().transpose()?.is_some())
        };
        self.read(read).await
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

/// The next name in order.
fn after_name(name: &[u8]) -> Vec<u8> {
    [name, &[0]].concat()
}
