use async_trait::async_trait;
use bytes::Bytes;

use super::{
    RedisStore, keys,
    script::{ERASE, WRITE},
};
use crate::{
    store::{Change, Lease, StoreError, Vault},
    tenant::TenantId,
};

#[async_trait]
impl Vault for RedisStore {
    async fn get(&self, tenant: &TenantId, table: &'static str, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        let seals = self.shared().seals(tenant);
        let name = seals.row_name(table, key);
        let mut pipeline = redis::pipe();
        pipeline.cmd("HGET").arg(keys::rows(tenant, table)).arg(name.as_slice());
        let (sealed,): (Option<Vec<u8>>,) = self.ask(&pipeline).await?;
        let Some(sealed) = sealed else { return Ok(None) };
        let (_, value) = seals.open_row(table, &name, &sealed).ok_or(StoreError::Unreadable)?;
        Ok(Some(value.into()))
    }

    async fn table(&self, tenant: &TenantId, table: &'static str) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
        let seals = self.shared().seals(tenant);
        let mut pipeline = redis::pipe();
        pipeline.cmd("HGETALL").arg(keys::rows(tenant, table));
        let (rows,): (Vec<(Vec<u8>, Vec<u8>)>,) = self.ask(&pipeline).await?;
        let opened = rows.iter().map(|(name, sealed)| seals.open_row(table, name, sealed));
        let opened = opened.map(|row| row.map(|(key, value)| (key.into(), value.into())));
        opened.collect::<Option<_>>().ok_or(StoreError::Unreadable)
    }

    async fn holds(&self, tenant: &TenantId) -> Result<bool, StoreError> {
        let mut pipeline = redis::pipe();
        pipeline.cmd("EXISTS").arg(keys::tables(tenant));
        let (holds,): (bool,) = self.ask(&pipeline).await?;
        Ok(holds)
    }

    async fn write(&self, lease: &Lease, changes: Vec<Change>) -> Result<(), StoreError> {
        let seals = self.shared().seals(lease.tenant());
        self.change(lease, &WRITE, |mut call| {
            for change in &changes {
                call = match change {
                    Change::Put { table, key, value } => {
                        let (name, sealed) = seals.row(table, key, value);
                        call.arg("put").arg(*table).arg(name.as_slice()).arg(sealed)
                    }
                    Change::Delete { table, key } => {
                        call.arg("delete").arg(*table).arg(seals.row_name(table, key).as_slice()).arg("")
                    }
                    Change::Clear { table } => call.arg("clear").arg(*table).arg("").arg(""),
                };
            }
            call
        })
        .await
    }

    async fn erase(&self, lease: &Lease) -> Result<(), StoreError> {
        self.change(lease, &ERASE, |call| call).await
    }
}
