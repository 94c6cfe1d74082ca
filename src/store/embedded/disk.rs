use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

use redb::{
    Database, DatabaseError, Durability, ReadTransaction, ReadableDatabase as _, ReadableTable as _, StorageError,
    Table, WriteTransaction,
};

use super::{
    CommitHook, CommitPoint, OpenError,
    batch::Failure,
    directory::Directory,
    file::{self, FileId},
    idle::IdleTime,
    migration::Step,
    rows::{
        CREDENTIALS, DESIRED_STATES, EPOCH_ROW, FORMAT_ROW, IDLE_TIME_ROW, JOURNAL, KEY_CHECK_LOCATION, KEY_CHECK_ROW,
        KeptDesired, KeptEvent, META, REVOCATIONS, open_row, reencrypt_desired, reencrypt_event, seal_row,
    },
};
use crate::{
    clock::Timestamp,
    store::{
        Migration, Revoked,
        crypt::{MasterKey, TenantKeys},
        migration::way,
    },
    tenant::{TenantId, TenantRef},
};

const FORMAT: u64 = 1;

/// The open file. After a failed write redb refuses everything until the file is opened again; the writer does so as
/// soon as it can.
pub struct Disk {
    path: PathBuf,
    id: FileId,
    epoch: u64,
    /// What the file has of revocations.
    pub revoked: Arc<Revoked>,
    open: RwLock<Option<Database>>,
}

/// The contents of the file when it was opened.
#[derive(Default)]
pub struct Found {
    pub events: Vec<(TenantId, KeptEvent)>,
    pub desired: Vec<(TenantId, KeptDesired)>,
    /// Tenants whose newest event cannot be read.
    pub unread_events: Vec<TenantId>,
    /// Tenants whose desired state cannot be read.
    pub unread_desired: Vec<TenantId>,
    pub idle_time: IdleTime,
}

/// Why the store cannot go on with its file.
#[derive(Debug, thiserror::Error)]
pub enum Lost {
    /// The disk still fails: to be tried again.
    #[error("the store file cannot be opened now")]
    Away,
    #[error("the store file is gone")]
    Gone,
    #[error("another file is in the place of the store file")]
    Replaced,
    /// The state in memory may be out of date.
    #[error("another process took the store file")]
    Taken,
}

impl Disk {
    pub fn open(
        dir: &Path,
        (key, previous): (&MasterKey, Option<&MasterKey>),
        migrations: &[Migration<Step>],
        now: Timestamp,
        on_commit: Option<&CommitHook>,
    ) -> Result<(Self, Found), OpenError> {
        let directory = Directory::enter(dir)?;
        let path = directory.store();
        let unusable = |source| OpenError::Directory { path: dir.to_owned(), source };
        let opened = file::create(&path).and_then(|()| {
            // Without this, the file's name could be lost in a power failure.
            directory.sync().map_err(StorageError::Io)?;
            file::open(&path)
        });
        let (database, id) = opened.map_err(|error| match error {
            DatabaseError::DatabaseAlreadyOpen => OpenError::InUse(dir.to_owned()),
            DatabaseError::Storage(StorageError::Io(source)) => unusable(source),
            other => engine(dir, other),
        })?;
        let transaction = begin(&database).map_err(|error| engine(dir, error))?;
        let epoch = enter(&transaction, dir, (key, previous), migrations, now)?;
        let found = read_all(&transaction, key).map_err(|error| engine(dir, error))?;
        let revoked = Arc::new(read_revocations(&transaction).map_err(|error| engine(dir, error))?);
        let hook = |point| on_commit.into_iter().for_each(|hook| hook(point));
        hook(CommitPoint::Before);
        transaction.commit().map_err(|error| engine(dir, error))?;
        hook(CommitPoint::After);
        directory.settle()?;
        Ok((Self { path, id, epoch, revoked, open: RwLock::new(Some(database)) }, found))
    }

    /// The time of opening in milliseconds, or one more than the last epoch if the clock went back. So cursors and
    /// fences rise over restarts, and after a backup is restored, without being saved themselves.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    pub fn begin(&self) -> Result<WriteTransaction, Failure> {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        begin(open.as_ref().ok_or(redb::Error::DatabaseClosed)?).map_err(Failure::from)
    }

    /// Reads in the caller's thread, for as long as a disk hangs: an async caller goes through `EmbeddedStore::read`.
    pub fn read<T>(&self, read: impl FnOnce(&ReadTransaction) -> Result<T, redb::Error>) -> Result<T, Failure> {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        let database = open.as_ref().ok_or(redb::Error::DatabaseClosed)?;
        let transaction = database.begin_read().map_err(redb::Error::from)?;
        Ok(read(&transaction)?)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the open file is the one that the next start will find. Without this, everything that is written from
    /// now on would be lost with the process.
    pub fn check(&self) -> Result<(), Lost> {
        match FileId::at(&self.path) {
            Ok(id) if id == self.id => Ok(()),
            Ok(_) => Err(Lost::Replaced),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Lost::Gone),
            // The path cannot be read now, which shows nothing about the file.
            Err(_) => Ok(()),
        }
    }

    /// Closes the file and opens it again. Never creates it.
    pub fn reopen(&self) -> Result<(), Lost> {
        let closed = self.open.write().unwrap_or_else(PoisonError::into_inner).take();
        // Outside the lock, because checking a file that was not closed cleanly takes time and readers wait for the
        // lock.
        drop(closed);
        let (database, id) = file::open(&self.path).map_err(redb::Error::from)?;
        if id != self.id {
            return Err(Lost::Replaced);
        }
        if read_epoch(&database)? != Some(self.epoch) {
            return Err(Lost::Taken);
        }
        *self.open.write().unwrap_or_else(PoisonError::into_inner) = Some(database);
        Ok(())
    }

    pub fn close(&self) {
        let open = self.open.write().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Err(error)) = open.map(Database::close) {
            tracing::warn!(%error, "the store's file was not closed cleanly: the next start checks it");
        }
    }
}

impl From<redb::Error> for Lost {
    fn from(error: redb::Error) -> Self {
        match error {
            redb::Error::DatabaseAlreadyOpen => Self::Taken,
            redb::Error::Io(error) => match error.kind() {
                io::ErrorKind::NotFound => Self::Gone,
                // Overwritten or truncated: a retry would not help.
                io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => Self::Replaced,
                _ => Self::Away,
            },
            redb::Error::PreviousIo | redb::Error::DatabaseClosed => Self::Away,
            _ => Self::Replaced,
        }
    }
}

fn begin(database: &Database) -> Result<WriteTransaction, redb::Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_durability(Durability::Immediate).map_err(redb::Error::from)?;
    Ok(transaction)
}

/// Checks the key, migrates an earlier format, and encrypts everything again if it was encrypted with the previous key.
/// Returns the new epoch.
fn enter(
    transaction: &WriteTransaction,
    dir: &Path,
    (key, previous): (&MasterKey, Option<&MasterKey>),
    migrations: &[Migration<Step>],
    now: Timestamp,
) -> Result<u64, OpenError> {
    let failed = |error: redb::Error| engine(dir, error);
    let meta = transaction.open_table(META).map_err(|error| failed(error.into()))?;
    let format = number(&meta, FORMAT_ROW).map_err(failed)?.unwrap_or(FORMAT);
    if format > FORMAT {
        return Err(OpenError::Later { path: dir.to_owned(), format });
    }
    let way = way(migrations, format, FORMAT).ok_or_else(|| OpenError::Earlier { path: dir.to_owned(), format })?;
    let proof = meta.get(KEY_CHECK_ROW).map_err(|error| failed(error.into()))?.map(|row| row.value().to_vec());
    // A migration may change this table as well.
    drop(meta);
    let proves = |key: &MasterKey, proof: &[u8]| TenantKeys::own(key).open(KEY_CHECK_LOCATION, proof).is_some();
    let written_with = match (proof, previous) {
        (None, _) => key,
        (Some(proof), _) if proves(key, &proof) => key,
        (Some(proof), Some(previous)) if proves(previous, &proof) => previous,
        (Some(_), _) => return Err(OpenError::WrongKey(dir.to_owned())),
    };
    for migration in way {
        (migration.step)(transaction, written_with).map_err(failed)?;
        tracing::info!(from = migration.from, to = migration.to, "the store was migrated to another format");
    }
    if !std::ptr::eq(written_with, key) {
        reencrypt(transaction, written_with, key).map_err(failed)?;
        tracing::info!("the store is sealed with the new key: the previous one is not needed any more");
    }
    let mut meta = transaction.open_table(META).map_err(|error| failed(error.into()))?;
    // A counter alone would begin at an old number after a backup is restored, and would give ids a second time.
    let now_ms = u64::try_from(now.as_millisecond()).unwrap_or(0);
    let epoch = number(&meta, EPOCH_ROW).map_err(failed)?.map_or(now_ms, |last| now_ms.max(last + 1));
    let proof = TenantKeys::own(key).seal(KEY_CHECK_LOCATION, b"tautan");
    let rows = [(FORMAT_ROW, &FORMAT.to_le_bytes()[..]), (EPOCH_ROW, &epoch.to_le_bytes()), (KEY_CHECK_ROW, &proof)];
    for (row, value) in rows {
        meta.insert(row, value).map_err(|error| failed(error.into()))?;
    }
    Ok(epoch)
}

fn number(meta: &impl redb::ReadableTable<&'static str, &'static [u8]>, row: &str) -> Result<Option<u64>, redb::Error> {
    let Some(value) = meta.get(row)? else { return Ok(None) };
    let bytes = value.value().try_into().map_err(|_| redb::Error::Corrupted(format!("{row} is not a number")))?;
    Ok(Some(u64::from_le_bytes(bytes)))
}

fn read_epoch(database: &Database) -> Result<Option<u64>, redb::Error> {
    number(&database.begin_read()?.open_table(META)?, EPOCH_ROW)
}

fn read_all(transaction: &WriteTransaction, key: &MasterKey) -> Result<Found, redb::Error> {
    let mut found = Found::default();
    for entry in transaction.open_table(JOURNAL)?.iter()? {
        let (tenant, sealed) = entry?;
        if let Some((tenant, keys)) = keyed(tenant.value(), key) {
            match KeptEvent::open(&keys, sealed.value()) {
                Ok(event) => found.events.push((tenant, event)),
                // A damaged row of one tenant must not keep the others from starting.
                Err(error) => {
                    tracing::error!(%tenant, ?error, "newest event cannot be read, it is kept until there is a newer one");
                    found.unread_events.push(tenant);
                }
            }
        }
    }
    for entry in transaction.open_table(DESIRED_STATES)?.iter()? {
        let (tenant, sealed) = entry?;
        if let Some((tenant, keys)) = keyed(tenant.value(), key) {
            match KeptDesired::open(&keys, sealed.value()) {
                Ok(desired) => found.desired.push((tenant, desired)),
                Err(error) => {
                    tracing::error!(%tenant, ?error, "desired state cannot be read, it is kept until there is a newer one");
                    found.unread_desired.push(tenant);
                }
            }
        }
    }
    let meta = transaction.open_table(META)?;
    found.idle_time = meta.get(IDLE_TIME_ROW)?.map_or_else(IdleTime::default, |row| IdleTime::of_row(row.value()));
    // A read transaction may come before the first write, and fails where the table was never made.
    transaction.open_table(CREDENTIALS)?;
    Ok(found)
}

fn read_revocations(transaction: &WriteTransaction) -> Result<Revoked, redb::Error> {
    let revoked = Revoked::default();
    for row in transaction.open_table(REVOCATIONS)?.iter()? {
        let (tenant, until) = row?;
        revoked.learn(TenantRef::parse(tenant.value()).map(|tenant| (tenant, until.value())));
    }
    Ok(revoked)
}

fn keyed(tenant: &str, key: &MasterKey) -> Option<(TenantId, TenantKeys)> {
    let tenant = TenantId::parse(tenant).ok()?;
    let keys = TenantKeys::new(key, &tenant);
    Some((tenant, keys))
}

/// A row that does not open with the old key stays as it is: it could not be read before either.
fn reencrypt(transaction: &WriteTransaction, old: &MasterKey, new: &MasterKey) -> Result<(), redb::Error> {
    let both = |tenant: &str| Some((keyed(tenant, old)?.1, keyed(tenant, new)?.1));
    each_again(transaction.open_table(JOURNAL)?, |tenant, sealed| {
        let (old, new) = both(tenant)?;
        reencrypt_event(&old, &new, sealed)
    })?;
    each_again(transaction.open_table(DESIRED_STATES)?, |tenant, sealed| {
        let (old, new) = both(tenant)?;
        reencrypt_desired(&old, &new, sealed)
    })?;
    let mut credentials = transaction.open_table(CREDENTIALS)?;
    // The rows get new names, which sort anywhere: one tenant at a time is read whole and written back.
    let mut next = String::new();
    loop {
        let tenant = match credentials.range((next.as_str(), "", [].as_slice())..)?.next() {
            Some(first) => first?.0.value().0.to_owned(),
            None => return Ok(()),
        };
        next = format!("{tenant}\0");
        let Some((old, new)) = both(&tenant) else { continue };
        let here = || (tenant.as_str(), "", [].as_slice())..(next.as_str(), "", [].as_slice());
        let mut opened = Vec::new();
        for entry in credentials.range(here())? {
            let (place, sealed) = entry?;
            let (_, table, name) = place.value();
            if let Some((key, value)) = open_row(&old, table, name, sealed.value()) {
                opened.push((table.to_owned(), name.to_vec(), key, zeroize::Zeroizing::new(value)));
            }
        }
        for (table, name, key, value) in opened {
            credentials.remove((tenant.as_str(), table.as_str(), name.as_slice()))?;
            let (name, sealed) = seal_row(&new, &table, &key, &value);
            credentials.insert((tenant.as_str(), table.as_str(), name.as_slice()), sealed.as_slice())?;
        }
    }
}

fn each_again(
    mut table: Table<'_, &'static str, &'static [u8]>,
    again: impl Fn(&str, &[u8]) -> Option<Vec<u8>>,
) -> Result<(), redb::Error> {
    let mut changed = Vec::new();
    for entry in table.iter()? {
        let (tenant, sealed) = entry?;
        changed.extend(again(tenant.value(), sealed.value()).map(|sealed| (tenant.value().to_owned(), sealed)));
    }
    for (tenant, sealed) in changed {
        table.insert(tenant.as_str(), sealed.as_slice())?;
    }
    Ok(())
}

fn engine(dir: &Path, error: impl std::error::Error + Send + Sync + 'static) -> OpenError {
    OpenError::Engine { path: dir.to_owned(), source: Box::new(error) }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::mpsc,
        thread,
        time::{Duration, Instant},
    };

    use super::*;
    use crate::{
        clock,
        store::{
            StoreError,
            embedded::{EmbeddedStore, Settings},
        },
    };

    /// The lock stands for a disk that answers no read.
    #[tokio::test]
    async fn hanging_read_fails_in_time_and_holds_up_no_other_task() {
        let dir = tempfile::tempdir().unwrap();
        let store = EmbeddedStore::open(Settings::new(dir.path(), MasterKey::from([7; 32])), clock::system()).unwrap();
        let (tenant, disk) = (TenantId::parse("a").unwrap(), store.shared().clone());
        let (hangs, hanging) = mpsc::channel();
        let hang = thread::spawn(move || {
            let _lock = disk.disk.open.write().unwrap();
            hangs.send(()).unwrap();
            thread::sleep(Duration::from_secs(8));
        });
        hanging.recv().unwrap();
        let begun = Instant::now();
        let credentials = store.stores().credentials;
        let other = async {
            tokio::time::sleep(Duration::from_millis(10)).await;
            begun.elapsed()
        };
        let (read, other) = tokio::join!(credentials.get(&tenant, "t", b"k"), other);
        assert!(matches!(read, Err(StoreError::Unavailable(_))), "{read:?}");
        assert!(begun.elapsed() < Duration::from_secs(7), "{:?}", begun.elapsed());
        assert!(other < Duration::from_secs(2), "{other:?}");
        hang.join().unwrap();
        assert_eq!(credentials.get(&tenant, "t", b"k").await.unwrap(), None);
    }
}
