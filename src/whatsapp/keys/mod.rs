//! The library's storage over the [`CredentialStore`]: one file for each of its traits.
//!
//! Every write goes through [`Keys::write`], under the lease; a batch is one write, all or none. What only helps within
//! one connection (sent messages awaiting a retry, base keys) stays in memory: no message is ever stored.

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
    session::End,
    store::{Bookmark, Change, CredentialStore, Lease, StoreError},
};

type LibraryResult<T> = Result<T, LibraryError>;

pub(super) struct Keys {
    credentials: Arc<dyn CredentialStore>,
    lease: Lease,
    termination: Arc<Termination>,
    progress: Arc<Progress>,
    flush_deadline: Duration,
    /// Where the newest device is read from; set once the client exists.
    manager: OnceLock<Weak<PersistenceManager>>,
    device: Mutex<device::Saved>,
    device_failures: AtomicU32,
    /// Held by whoever reads a row in order to write it.
    rewriting: Mutex<()>,
    secrets: Mutex<Option<usize>>,
    recent: StdMutex<Recent>,
    retired: AtomicBool,
    /// Held for reading by every write, and for writing by what erases, so that no write overtaken by an erasure lands
    /// behind it.
    erasing: RwLock<()>,
    alive: Arc<AtomicUsize>,
}

#[derive(Debug, thiserror::Error)]
#[error("the device is unlinked")]
struct Retired;

/// A table that grows with the account's contacts, in parts: the whole of it never stands in memory.
struct Pages<'k> {
    keys: &'k Keys,
    table: &'static str,
    /// Where the next part begins; `None`: there is no other.
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
        termination: Arc<Termination>,
        progress: Arc<Progress>,
        flush_deadline: Duration,
        alive: Arc<AtomicUsize>,
    ) -> Self {
        alive.fetch_add(1, Ordering::AcqRel);
        Self {
            credentials,
            lease,
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

    /// One round trip that says whether the lease is still ours.
    pub async fn prove_lease(&self) -> Result<(), StoreError> {
        self.write(Vec::new()).await
    }

    /// Removes what was kept of a pairing that came to nothing.
    pub async fn forget(&self) -> Result<(), StoreError> {
        self.retire();
        let _no_writes = self.erasing.write().await;
        self.in_time(self.credentials.erase(&self.lease)).await
    }

    /// The credentials are worthless: whatever the library still wants to keep must not bring them back after they were
    /// erased.
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

    /// In the keys' order. A few round trips, however many keys there are.
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

    /// For tables that have a bound.
    async fn table(&self, table: &'static str) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
        self.in_time(self.credentials.table(self.lease.tenant(), table)).await
    }

    async fn put(&self, table: &'static str, key: impl Into<Bytes>, value: impl Into<Bytes>) -> Result<(), StoreError> {
        self.write(vec![put(table, key, value)]).await
    }

    async fn delete(&self, table: &'static str, key: impl Into<Bytes>) -> Result<(), StoreError> {
        self.write(vec![Change::Delete { table, key: key.into() }]).await
    }

    /// All changes or none. A lost lease ends the link; so does any failure while a pairing is not proven, because what
    /// was not kept then is a device on the phone that nobody can log in with.
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

    /// The error that the library gets, with its cause.
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
