//! The library's storage over the [`CredentialStore`]: one file for each of its traits.
//!
//! What it guarantees: every write goes through [`Keys::write`], under the lease, and a batch is written completely or not
//! at all. Data that is of use only within one connection (sent messages awaiting a retry, base keys) stays in memory.
//!
//! What it must not do: store a message, or write a status.
//!
//! Where to start reading: `Keys` in this file, then `device`, whose row decides whether a link can be resumed.

mod app_sync;
mod device;
mod mappings;
mod protocol;
mod recent;
mod secrets;
mod signal;

use std::sync::{
    Arc, Mutex as StdMutex, OnceLock, Weak,
    atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering},
};

use bytes::{BufMut, Bytes, BytesMut};
use serde::{Serialize, de::DeserializeOwned};
use tokio::{
    sync::{Mutex, RwLock},
    time::Duration,
};
use whatsapp_rust::store::{error::StoreError as LibraryError, persistence_manager::PersistenceManager};

use self::recent::Recent;
pub(super) use self::{
    device::{Stored, stored},
    mappings::Mappings,
};
use super::termination::{Progress, Stage, Termination};
use crate::{
    link_options::ProxyName,
    session::End,
    store::{Bookmark, Change, CredentialStore, Lease, StoreError},
};

type LibraryResult<T> = Result<T, LibraryError>;

pub(super) struct Keys {
    credentials: Arc<dyn CredentialStore>,
    lease: Lease,
    /// Saved with the device.
    proxy: Option<ProxyName>,
    termination: Arc<Termination>,
    progress: Arc<Progress>,
    flush_deadline: Duration,
    /// Has the newest device. Set after the client is built.
    manager: OnceLock<Weak<PersistenceManager>>,
    device: Mutex<device::Saved>,
    device_failures: AtomicU32,
    /// Held while a row is read and then written back.
    rewriting: Mutex<()>,
    secrets: Mutex<Option<usize>>,
    recent: StdMutex<Recent>,
    retired: AtomicBool,
    /// Every write holds it for reading, and an erasure for writing. Without this, a delayed write could land after the
    /// erasure.
    erasing: RwLock<()>,
    alive: Arc<AtomicUsize>,
}

#[derive(Debug, thiserror::Error)]
#[error("the device is unlinked")]
struct Retired;

/// Reads a table that grows with the account's contacts in parts: it is never in memory as a whole.
struct Pages<'k> {
    keys: &'k Keys,
    table: &'static str,
    /// Where the next part begins; `None`: all parts were read.
    after: Option<Option<Bookmark>>,
}

impl Pages<'_> {
    async fn next(&mut self) -> LibraryResult<Option<Vec<(Bytes, Bytes)>>> {
        let Self { keys, table, after } = self;
        let Some(begin) = after.take() else { return Ok(None) };
        let read = keys.in_time(keys.credentials.page(keys.lease.tenant(), table, begin)).await;
        let page = read.map_err(|error| keys.library_error(error))?;
        *after = page.next.map(Some);
        Ok(Some(page.rows))
    }
}

impl Keys {
    pub fn new(
        credentials: Arc<dyn CredentialStore>,
        lease: Lease,
        proxy: Option<ProxyName>,
        termination: Arc<Termination>,
        progress: Arc<Progress>,
        flush_deadline: Duration,
        alive: Arc<AtomicUsize>,
    ) -> Self {
        alive.fetch_add(1, Ordering::AcqRel);
        Self {
            credentials,
            lease,
            proxy,
            termination,
            progress,
            flush_deadline,
            manager: OnceLock::new(),
            device: Mutex::default(),
            device_failures: AtomicU32::new(0),
            rewriting: Mutex::default(),
            secrets: Mutex::default(),
            recent: StdMutex::default(),
            retired: AtomicBool::new(false),
            erasing: RwLock::default(),
            alive,
        }
    }

    /// One round trip that checks whether this process still holds the lease.
    pub async fn prove_lease(&self) -> Result<(), StoreError> {
        self.write(Vec::new()).await
    }

    /// Removes the rows of a pairing that failed.
    pub async fn forget(&self) -> Result<(), StoreError> {
        self.retire();
        let _no_writes = self.erasing.write().await;
        self.in_time(self.credentials.erase(&self.lease)).await
    }

    /// Refuses all later writes: the credentials are invalid, and a late write of the library must not bring them back
    /// after they were erased.
    pub fn retire(&self) {
        self.retired.store(true, Ordering::Release);
    }

    fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Acquire)
    }

    async fn get(&self, table: &'static str, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.in_time(self.credentials.get(self.lease.tenant(), table, key)).await
    }

    async fn get_json<T: DeserializeOwned>(&self, table: &'static str, key: &[u8]) -> Result<Option<T>, StoreError> {
        self.get(table, key).await?.map(|row| from_json(&row)).transpose()
    }

    /// The rows in the order of the keys, in a few round trips however many keys there are.
    async fn get_many(&self, table: &'static str, keys: &[Bytes]) -> Result<Vec<Option<Bytes>>, StoreError> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        self.in_time(self.credentials.get_many(self.lease.tenant(), table, keys)).await
    }

    fn pages(&self, table: &'static str) -> Pages<'_> {
        Pages { keys: self, table, after: Some(None) }
    }

    /// Changes rows, if there are any to change.
    async fn change(&self, changes: Vec<Change>) -> LibraryResult<()> {
        if changes.is_empty() {
            return Ok(());
        }
        self.write(changes).await.map_err(|error| self.library_error(error))
    }

    /// All rows. Only for tables with a bounded size.
    async fn table(&self, table: &'static str) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
        self.in_time(self.credentials.table(self.lease.tenant(), table)).await
    }

    async fn put(&self, table: &'static str, key: impl Into<Bytes>, value: impl Into<Bytes>) -> Result<(), StoreError> {
        self.write(vec![put(table, key, value)]).await
    }

    async fn delete(&self, table: &'static str, key: impl Into<Bytes>) -> Result<(), StoreError> {
        self.write(vec![Change::Delete { table, key: key.into() }]).await
    }

    /// Writes all changes or none. A lost lease ends the link. So does any failure before the first login: the phone
    /// would list a device without saved credentials.
    async fn write(&self, changes: Vec<Change>) -> Result<(), StoreError> {
        let _not_erasing = self.erasing.read().await;
        if self.is_retired() {
            return Err(StoreError::Unavailable(Box::new(Retired)));
        }
        let proof_only = changes.is_empty();
        let written = self.in_time(self.credentials.write(&self.lease, changes)).await;
        match &written {
            Err(StoreError::Fenced) => self.termination.terminate(End::LeaseLost),
            Err(_) if !proof_only && self.progress.stage() < Stage::Linked => {
                self.termination.terminate(End::StoreFailed)
            }
            Ok(()) | Err(_) => {}
        }
        written
    }

    /// The error for the library, with its cause.
    fn library_error(&self, error: StoreError) -> LibraryError {
        if let StoreError::Unreadable | StoreError::Damaged(_) = error {
            self.termination.row_was_unreadable();
        }
        LibraryError::Database(Box::new(error))
    }

    async fn in_time<T>(&self, work: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        match tokio::time::timeout(self.flush_deadline, work).await {
            Ok(done) => done,
            Err(late) => Err(StoreError::Unavailable(Box::new(late))),
        }
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        self.alive.fetch_sub(1, Ordering::AcqRel);
    }
}

fn put(table: &'static str, key: impl Into<Bytes>, value: impl Into<Bytes>) -> Change {
    Change::Put { table, key: key.into(), value: value.into() }
}

fn text(key: &str) -> Bytes {
    Bytes::copy_from_slice(key.as_bytes())
}

/// A key of several parts, each with its length before it, so that no two lists of parts make the same key.
fn joined(parts: &[&[u8]]) -> Bytes {
    let mut key = BytesMut::new();
    for part in parts {
        key.put_u32(part.len() as u32);
        key.put_slice(part);
    }
    key.freeze()
}

fn to_json(value: &impl Serialize) -> Result<Bytes, StoreError> {
    serde_json::to_vec(value).map(Bytes::from).map_err(|error| StoreError::Damaged(Box::new(error)))
}

fn from_json<T: DeserializeOwned>(row: &[u8]) -> Result<T, StoreError> {
    serde_json::from_slice(row).map_err(|error| StoreError::Damaged(Box::new(error)))
}

fn as_text(row: &[u8]) -> Result<String, StoreError> {
    String::from_utf8(row.to_vec()).map_err(|error| StoreError::Damaged(Box::new(error)))
}

fn as_array<const N: usize>(row: &[u8]) -> Result<[u8; N], StoreError> {
    row.try_into().map_err(|error| StoreError::Damaged(Box::new(error)))
}

fn as_number(row: &[u8]) -> Result<u32, StoreError> {
    as_array(row).map(u32::from_be_bytes)
}

#[cfg(test)]
mod tests;
