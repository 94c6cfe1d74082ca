//! What `tautan move` reads of the store.

use std::sync::PoisonError;

use super::{
    EmbeddedStore,
    record::Record,
    rows::{CREDENTIALS, after},
};
use crate::{store::StoreError, tenant::TenantId};

/// What the store knows of a tenant, beside its status, desired state and credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MoveFacts {
    /// The back end does not know the newest status yet.
    pub pending_webhook: bool,
    /// All rows can be read. Otherwise a later version wrote some, or another key.
    pub readable: bool,
}

impl EmbeddedStore {
    /// Every tenant with a row, in order.
    pub fn tenants(&self) -> Result<Vec<TenantId>, StoreError> {
        let shared = self.shared();
        let mut tenants = shared.memory.lock().unwrap_or_else(PoisonError::into_inner).tenants();
        let names = shared.disk.read(|transaction| {
            let credentials = transaction.open_table(CREDENTIALS)?;
            let (mut names, mut from) = (Vec::new(), String::new());
            while let Some(row) = credentials.range((from.as_str(), "", [].as_slice())..)?.next() {
                let name = row?.0.value().0.to_owned();
                from = after(&name);
                names.push(name);
            }
            Ok(names)
        })?;
        for name in names {
            tenants.push(TenantId::parse(&name).map_err(|error| StoreError::Damaged(Box::new(error)))?);
        }
        tenants.sort_by(|one, other| one.as_str().cmp(other.as_str()));
        tenants.dedup();
        Ok(tenants)
    }

    /// The names of the tenant's tables of credentials.
    pub fn tables(&self, tenant: &TenantId) -> Result<Vec<String>, StoreError> {
        let tables = self.shared().disk.read(|transaction| {
            let credentials = transaction.open_table(CREDENTIALS)?;
            let (mut tables, mut from) = (Vec::new(), String::new());
            while let Some(row) = credentials.range((tenant.as_str(), from.as_str(), [].as_slice())..)?.next() {
                let place = row?.0;
                let (owner, table, _) = place.value();
                if owner != tenant.as_str() {
                    break;
                }
                from = after(table);
                tables.push(table.to_owned());
            }
            Ok(tables)
        })?;
        Ok(tables)
    }

    /// What else there is to know.
    pub fn move_facts(&self, tenant: &TenantId) -> MoveFacts {
        let memory = self.shared().memory.lock().unwrap_or_else(PoisonError::into_inner);
        let record = memory.record(tenant);
        MoveFacts {
            pending_webhook: record.is_some_and(|record: &Record| record.pending_webhook.is_some()),
            readable: record.is_none_or(|record| record.unread.is_none()),
        }
    }
}
