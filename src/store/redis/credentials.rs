use async_trait::async_trait;
use bytes::Bytes;

use super::{
    RedisStore,
    encryption::sealed::Seals,
    schema,
    script::{Call, ERASE, WRITE},
};
use crate::{
    store::{Bookmark, Change, CredentialStore, Lease, PAGE_ROWS, Page, StoreError},
    tenant::TenantId,
};

#[async_trait]
impl CredentialStore for RedisStore {
    async fn get(&self, tenant: &TenantId, table: &'static str, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        let key = Bytes::copy_from_slice(key);
        let mut rows = self.get_many(tenant, table, &[key]).await?;
        Ok(rows.pop().flatten())
    }

    async fn get_many(
        &self,
        tenant: &TenantId,
        table: &'static str,
        keys: &[Bytes],
    ) -> Result<Vec<Option<Bytes>>, StoreError> {
        let seals = self.shared().seals(tenant);
        let mut opened = Vec::with_capacity(keys.len());
        for keys in keys.chunks(PAGE_ROWS) {
            // The current name first: if a row exists under both names, this one is newer.
            let names = keys.iter().map(|key| [Some(seals.row_name(table, key)), seals.previous_row_name(table, key)]);
            let names: Vec<_> = names.collect();
            let asked: Vec<_> = names.iter().flatten().flatten().collect();
            let mut sealed = self.rows(tenant, table, &asked).await?.into_iter();
            for names in &names {
                // Consume the answers to both names, also if the first one is used.
                let answers: Vec<_> = names.iter().flatten().zip(sealed.by_ref()).collect();
                let found = answers.into_iter().find_map(|(name, row)| Some((name, row?)));
                opened.push(match found {
                    None => None,
                    Some((name, sealed)) => {
                        let (_, value) = seals.open_row(table, name, &sealed).ok_or(StoreError::Unreadable)?;
                        Some(value.into())
                    }
                });
            }
        }
        Ok(opened)
    }

    async fn page(&self, tenant: &TenantId, table: &'static str, after: Option<Bookmark>) -> Result<Page, StoreError> {
        let seals = self.shared().seals(tenant);
        let rotates = seals.previous_row_name(table, b"").is_some();
        let Scan { left, cursor } = after.map_or_else(|| Scan::first(rotates), Scan::of);
        let mut pipeline = redis::pipe();
        pipeline.cmd("HSCAN").arg(schema::rows(tenant, table)).arg(cursor).arg("COUNT").arg(PAGE_ROWS);
        let ((next, sealed),): ((Vec<u8>, Vec<SealedRow>),) = self.ask(&pipeline).await?;
        let (mut rows, mut renamed) = (Vec::with_capacity(sealed.len()), Vec::new());
        for (name, sealed) in &sealed {
            let (key, value) = seals.open_row(table, name, sealed).ok_or(StoreError::Unreadable)?;
            if rotates && seals.row_name(table, &key) != name.as_slice() {
                renamed.push(Bytes::from(key));
            } else {
                rows.push((key.into(), value.into()));
            }
        }
        // A row under its previous name is out of date if there is one under its current name.
        let newest = self.get_many(tenant, table, &renamed).await?;
        rows.extend(renamed.into_iter().zip(newest).filter_map(|(key, value)| Some((key, value?))));
        Ok(Page { rows, next: Scan { left, cursor: next }.next() })
    }

    async fn holds(&self, tenant: &TenantId) -> Result<bool, StoreError> {
        let mut pipeline = redis::pipe();
        pipeline.cmd("EXISTS").arg(schema::tables(tenant));
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
                        // First the new row: a script that Redis stops midway is not rolled back.
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

type SealedRow = (Vec<u8>, Vec<u8>);

/// Where the pages of a table stand. While the key is changed the table is scanned twice: a scan can miss a row that gets
/// its new name meanwhile. A row gets it once, so the row stays in its place during one of the two.
struct Scan {
    /// Scans that are not at their end yet.
    left: u8,
    /// Redis's own place in the scan; 0 at its beginning and at its end.
    cursor: Vec<u8>,
}

impl Scan {
    fn first(rotates: bool) -> Self {
        Self { left: 1 + u8::from(rotates), cursor: b"0".to_vec() }
    }

    fn of(Bookmark(mut place): Bookmark) -> Self {
        Self { left: place.pop().unwrap_or_default(), cursor: place }
    }

    /// `None`: the last scan is at its end.
    fn next(self) -> Option<Bookmark> {
        let Self { left, mut cursor } = self;
        let left = left - u8::from(cursor == b"0");
        cursor.push(left);
        (left > 0).then_some(Bookmark(cursor))
    }
}

impl RedisStore {
    /// The encrypted rows, in the order of the names.
    async fn rows(
        &self,
        tenant: &TenantId,
        table: &str,
        names: &[&[u8; 32]],
    ) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        let mut pipeline = redis::pipe();
        pipeline.cmd("HMGET").arg(schema::rows(tenant, table));
        names.iter().for_each(|name| _ = pipeline.arg(name.as_slice()));
        let (rows,): (Vec<Option<Vec<u8>>>,) = self.ask(&pipeline).await?;
        Ok(rows)
    }
}

/// Deletes the row under its previous name in the same step.
fn delete_previous(call: Call, seals: &Seals, table: &str, key: &[u8]) -> Call {
    match seals.previous_row_name(table, key) {
        Some(name) => call.arg("delete").arg(table).arg(name.as_slice()).arg(""),
        None => call,
    }
}
