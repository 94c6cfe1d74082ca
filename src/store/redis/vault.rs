use std::collections::{HashMap, hash_map::Entry};

use async_trait::async_trait;
use bytes::Bytes;

use super::{
    RedisStore, keys,
    script::{Call, ERASE, WRITE},
    sealed::Seals,
};
use crate::{
    store::{Change, Lease, StoreError, Vault},
    tenant::TenantId,
};

#[async_trait]
impl Vault for RedisStore {
    async fn get(&self, tenant: &TenantId, table: &'static str, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        let seals = self.shared().seals(tenant);
        // The current name first: a row that has both is the newer one there.
        let names = [Some(seals.row_name(table, key)), seals.previous_row_name(table, key)];
        let names: Vec<_> = names.iter().flatten().collect();
        let mut pipeline = redis::pipe();
        pipeline.cmd("HMGET").arg(keys::rows(tenant, table));
        names.iter().for_each(|name| _ = pipeline.arg(name.as_slice()));
        let (rows,): (Vec<Option<Vec<u8>>>,) = self.ask(&pipeline).await?;
        let Some((name, sealed)) = names.into_iter().zip(rows).find_map(|(name, row)| Some((name, row?))) else {
            return Ok(None);
        };
        let (_, value) = seals.open_row(table, name, &sealed).ok_or(StoreError::Unreadable)?;
        Ok(Some(value.into()))
    }

    async fn table(&self, tenant: &TenantId, table: &'static str) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
        let seals = self.shared().seals(tenant);
        let mut pipeline = redis::pipe();
        pipeline.cmd("HGETALL").arg(keys::rows(tenant, table));
        let (rows,): (Vec<(Vec<u8>, Vec<u8>)>,) = self.ask(&pipeline).await?;
        let mut opened: HashMap<Bytes, Bytes> = HashMap::with_capacity(rows.len());
        for (name, sealed) in &rows {
            let (key, value) = seals.open_row(table, name, sealed).ok_or(StoreError::Unreadable)?;
            // Of two rows with one key the one under the current name is the newer.
            let is_current = seals.row_name(table, &key) == name.as_slice();
            match opened.entry(key.into()) {
                Entry::Occupied(_) if !is_current => {}
                entry => _ = entry.insert_entry(value.into()),
            }
        }
        Ok(opened.into_iter().collect())
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
                        // First the new row: a script that is refused a command midway takes nothing back.
                        call = call.arg("put").arg(*table).arg(name.as_slice()).arg(sealed);
                        delete_previous(call, &seals, table, key)
                    }
                    Change::Delete { table, key } => {
                        call = delete_previous(call, &seals, table, key);
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

/// So that a row never has two names for longer than it takes to write it.
fn delete_previous(call: Call, seals: &Seals, table: &str, key: &[u8]) -> Call {
    match seals.previous_row_name(table, key) {
        Some(name) => call.arg("delete").arg(table).arg(name.as_slice()).arg(""),
        None => call,
    }
}
