use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::{PoisonError, RwLock},
};

use redb::{
    Builder, Database, DatabaseError, Durability, ReadTransaction, ReadableDatabase as _, ReadableTable as _,
    StorageError, Table, WriteTransaction,
};

use super::{
    CommitHook, CommitPoint, OpenError,
    batch::Failure,
    rows::{
        EPOCH_ROW, FORMAT_ROW, JOURNAL, KeptEvent, KeptWish, META, PROOF_PLACE, PROOF_ROW, VAULT, WISHES, event_anew,
        open_row, seal_row, wish_anew,
    },
};
use crate::{
    clock::Timestamp,
    store::crypt::{MasterKey, TenantKeys},
    tenant::TenantId,
};

const FILE: &str = "tautan.redb";
const FORMAT: u64 = 1;
/// redb's own default is a gigabyte.
const CACHE_BYTES: usize = 32 << 20;

/// The file, open. After a write that failed redb refuses everything until the file is opened again; so it is, by the
/// writer, as soon as it can be.
pub struct Disk {
    path: PathBuf,
    epoch: u64,
    open: RwLock<Option<Database>>,
}

/// What the file knew of a tenant when it was opened.
#[derive(Default)]
pub struct Found {
    pub events: Vec<(TenantId, KeptEvent)>,
    pub wishes: Vec<(TenantId, KeptWish)>,
}

/// Why a file that was let go could not be had again.
pub enum Lost {
    /// The disk is still in trouble.
    Away,
    /// Another process has it, or had it: what is in memory is not the present any more.
    Taken,
}

impl Disk {
    pub fn open(
        dir: &Path,
        key: &MasterKey,
        previous: Option<&MasterKey>,
        now: Timestamp,
        on_commit: Option<&CommitHook>,
    ) -> Result<(Self, Found), OpenError> {
        let path = dir.join(FILE);
        let unusable = |source| OpenError::Directory { path: dir.to_owned(), source };
        make_directory(dir)?;
        let database = prepare(dir, &path).and_then(|()| database(&path)).map_err(|error| match error {
            DatabaseError::DatabaseAlreadyOpen => OpenError::InUse(dir.to_owned()),
            DatabaseError::Storage(StorageError::Io(source)) => unusable(source),
            other => engine(dir, other),
        })?;
        let transaction = begin(&database).map_err(|error| engine(dir, error))?;
        let epoch = enter(&transaction, dir, key, previous, now)?;
        let found = read_all(&transaction, key).map_err(|error| engine(dir, error))?;
        let hook = |point| on_commit.into_iter().for_each(|hook| hook(point));
        hook(CommitPoint::Before);
        transaction.commit().map_err(|error| engine(dir, error))?;
        hook(CommitPoint::After);
        Ok((Self { path, epoch, open: RwLock::new(Some(database)) }, found))
    }

    /// The time of opening in milliseconds, or one more than the last epoch where the clock went back. So cursors and
    /// fences rise over restarts without being kept themselves, and over the restoring of a backup.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    pub fn begin(&self) -> Result<WriteTransaction, Failure> {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        begin(open.as_ref().ok_or(redb::Error::DatabaseClosed)?).map_err(Failure::from)
    }

    /// Runs in the caller's thread: a point is read in microseconds and a tenant has some 2,000 rows at most.
    pub fn read<T>(&self, read: impl FnOnce(&ReadTransaction) -> Result<T, redb::Error>) -> Result<T, Failure> {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        let database = open.as_ref().ok_or(redb::Error::DatabaseClosed)?;
        let transaction = database.begin_read().map_err(redb::Error::from)?;
        Ok(read(&transaction)?)
    }

    /// Lets go of the file and takes it again.
    pub fn reopen(&self) -> Result<(), Lost> {
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        drop(open.take());
        let database = database(&self.path).map_err(|error| match error {
            DatabaseError::DatabaseAlreadyOpen => Lost::Taken,
            _ => Lost::Away,
        })?;
        let epoch = read_epoch(&database).map_err(|_| Lost::Away)?;
        if epoch != Some(self.epoch) {
            return Err(Lost::Taken);
        }
        *open = Some(database);
        Ok(())
    }

    pub fn close(&self) {
        let open = self.open.write().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Err(error)) = open.map(Database::close) {
            tracing::warn!(%error, "the store's file was not closed cleanly: the next start checks it");
        }
    }
}

/// Makes the data directory, for its owner only, where it is not there.
pub fn make_directory(dir: &Path) -> Result<(), OpenError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.map_err(|source| OpenError::Directory { path: dir.to_owned(), source })
}

/// The file is for its owner only, and stays there after a power cut. It appears whole or not at all: one that redb did not
/// finish making it would refuse for ever.
fn prepare(dir: &Path, path: &Path) -> Result<(), DatabaseError> {
    if !path.exists() {
        let draft = path.with_extension(format!("{:016x}.new", rand::random::<u64>()));
        let made = make(&draft, path);
        // What a crash leaves of it is in nobody's way.
        let _ = fs::remove_file(&draft);
        made?;
    }
    Ok(File::open(dir).and_then(|dir| dir.sync_all()).map_err(StorageError::Io)?)
}

fn make(draft: &Path, path: &Path) -> Result<(), DatabaseError> {
    // An empty file is a new database to redb.
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(draft).map_err(StorageError::Io)?;
    drop(database(draft)?);
    match fs::hard_link(draft, path) {
        // Another process was quicker: its file is the one, and in use.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        linked => Ok(linked.map_err(StorageError::Io)?),
    }
}

fn database(path: &Path) -> Result<Database, DatabaseError> {
    Builder::new()
        .set_cache_size(CACHE_BYTES)
        .set_repair_callback(|repair| {
            if repair.progress() == 0.0 {
                tracing::info!("the store was not closed cleanly: checking it");
            }
        })
        .create(path)
}

fn begin(database: &Database) -> Result<WriteTransaction, redb::Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_durability(Durability::Immediate).map_err(redb::Error::from)?;
    Ok(transaction)
}

/// Proves the key, or takes everything over from the previous one; answers the epoch that begins.
fn enter(
    transaction: &WriteTransaction,
    dir: &Path,
    key: &MasterKey,
    previous: Option<&MasterKey>,
    now: Timestamp,
) -> Result<u64, OpenError> {
    let failed = |error: redb::Error| engine(dir, error);
    let mut meta = transaction.open_table(META).map_err(|error| failed(error.into()))?;
    let format = number(&meta, FORMAT_ROW).map_err(failed)?.unwrap_or(FORMAT);
    if format != FORMAT {
        return Err(OpenError::Later { path: dir.to_owned(), format });
    }
    let proof = meta.get(PROOF_ROW).map_err(|error| failed(error.into()))?.map(|row| row.value().to_vec());
    let proves = |key: &MasterKey, proof: &[u8]| TenantKeys::own(key).open(PROOF_PLACE, proof).is_some();
    match (proof, previous) {
        (None, _) => {}
        (Some(proof), _) if proves(key, &proof) => {}
        (Some(proof), Some(previous)) if proves(previous, &proof) => {
            seal_anew(transaction, previous, key).map_err(failed)?;
            tracing::info!("the store is sealed with the new key: the previous one is not needed any more");
        }
        (Some(_), _) => return Err(OpenError::WrongKey(dir.to_owned())),
    }
    // A count alone would begin again at an old number after a backup is restored, and give ids a second time.
    let now_ms = u64::try_from(now.as_millisecond()).unwrap_or(0);
    let epoch = number(&meta, EPOCH_ROW).map_err(failed)?.map_or(now_ms, |last| now_ms.max(last + 1));
    let proof = TenantKeys::own(key).seal(PROOF_PLACE, b"tautan");
    let rows = [(FORMAT_ROW, &FORMAT.to_le_bytes()[..]), (EPOCH_ROW, &epoch.to_le_bytes()), (PROOF_ROW, &proof)];
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
                // One tenant's damage must not keep all the others from starting.
                Err(error) => {
                    tracing::error!(%tenant, ?error, "the newest event cannot be read: the tenant begins anew")
                }
            }
        }
    }
    for entry in transaction.open_table(WISHES)?.iter()? {
        let (tenant, sealed) = entry?;
        if let Some((tenant, keys)) = keyed(tenant.value(), key) {
            match KeptWish::open(&keys, sealed.value()) {
                Ok(wish) => found.wishes.push((tenant, wish)),
                Err(error) => {
                    tracing::error!(%tenant, ?error, "the wish cannot be read: the tenant has to connect again")
                }
            }
        }
    }
    // A read transaction may come before the first write, and fails where the table was never made.
    transaction.open_table(VAULT)?;
    Ok(found)
}

fn keyed(tenant: &str, key: &MasterKey) -> Option<(TenantId, TenantKeys)> {
    let tenant = TenantId::parse(tenant).ok()?;
    let keys = TenantKeys::new(key, &tenant);
    Some((tenant, keys))
}

/// What does not open with the old key stays as it is: it would not have opened before either.
fn seal_anew(transaction: &WriteTransaction, old: &MasterKey, new: &MasterKey) -> Result<(), redb::Error> {
    let both = |tenant: &str| Some((keyed(tenant, old)?.1, keyed(tenant, new)?.1));
    each_again(transaction.open_table(JOURNAL)?, |tenant, sealed| {
        let (old, new) = both(tenant)?;
        event_anew(&old, &new, sealed)
    })?;
    each_again(transaction.open_table(WISHES)?, |tenant, sealed| {
        let (old, new) = both(tenant)?;
        wish_anew(&old, &new, sealed)
    })?;
    let mut vault = transaction.open_table(VAULT)?;
    // The rows get new names, which stand anywhere in the order: one tenant at a time is read whole and written back.
    let mut next = String::new();
    loop {
        let tenant = match vault.range((next.as_str(), "", [].as_slice())..)?.next() {
            Some(first) => first?.0.value().0.to_owned(),
            None => return Ok(()),
        };
        next = format!("{tenant}\0");
        let Some((old, new)) = both(&tenant) else { continue };
        let here = || (tenant.as_str(), "", [].as_slice())..(next.as_str(), "", [].as_slice());
        let mut opened = Vec::new();
        for entry in vault.range(here())? {
            let (place, sealed) = entry?;
            let (_, table, name) = place.value();
            if let Some((key, value)) = open_row(&old, table, name, sealed.value()) {
                opened.push((table.to_owned(), name.to_vec(), key, zeroize::Zeroizing::new(value)));
            }
        }
        for (table, name, key, value) in opened {
            vault.remove((tenant.as_str(), table.as_str(), name.as_slice()))?;
            let (name, sealed) = seal_row(&new, &table, &key, &value);
            vault.insert((tenant.as_str(), table.as_str(), name.as_slice()), sealed.as_slice())?;
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
