//! The store file: created atomically, opened only if it exists, and recognised after it was replaced.

use std::{
    fs::{self, File, Metadata, OpenOptions, Permissions},
    io,
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
};

use redb::{Builder, Database, DatabaseError, StorageError, backends::FileBackend};

/// Takes 32 MiB of memory: the allocator needs 5 KiB for a page of 4 KiB with its counter. redb's own default is a gigabyte.
const CACHE_BYTES: usize = (32 << 20) / 5 * 4;

/// Identifies the file by device and inode, whatever its name is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    pub fn at(path: &Path) -> io::Result<Self> {
        fs::metadata(path).map(|metadata| Self::of(&metadata))
    }

    fn of(metadata: &Metadata) -> Self {
        Self { device: metadata.dev(), inode: metadata.ino() }
    }
}

/// Creates the file for its owner only, if it is missing. It appears whole or not at all: redb would refuse a file that
/// it did not finish creating for ever.
pub fn create(path: &Path) -> Result<(), DatabaseError> {
    if path.exists() {
        return Ok(());
    }
    let draft = path.with_extension(format!("{:016x}.new", rand::random::<u64>()));
    let made = make(&draft, path);
    // A file that a crash leaves half made is never read.
    let _ = fs::remove_file(&draft);
    made
}

fn make(draft: &Path, path: &Path) -> Result<(), DatabaseError> {
    let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(draft);
    drop(database(file.map_err(StorageError::Io)?)?);
    match fs::hard_link(draft, path) {
        // Another process was faster: its file is used.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(StorageError::Io(error).into()),
        Ok(()) => {
            tracing::info!(path = %path.display(), "created an empty store");
            Ok(())
        }
    }
}

/// Opens the file. Fails if it is missing: it is never created here.
pub fn open(path: &Path) -> Result<(Database, FileId), DatabaseError> {
    let file = OpenOptions::new().read(true).write(true).open(path).map_err(StorageError::Io)?;
    let metadata = file.metadata().map_err(StorageError::Io)?;
    if metadata.len() == 0 {
        // To redb an empty file is a new database.
        return Err(StorageError::Io(io::ErrorKind::UnexpectedEof.into()).into());
    }
    restrict(&file, &metadata).map_err(StorageError::Io)?;
    Ok((database(file)?, FileId::of(&metadata)))
}

/// Removes other users' rights to the file: `cp` gives them some when a backup is restored, and Kubernetes when it
/// mounts a volume.
fn restrict(file: &File, metadata: &Metadata) -> io::Result<()> {
    let may = |bits| metadata.mode() & bits != 0;
    if !may(0o077) {
        return Ok(());
    }
    match file.set_permissions(Permissions::from_mode(0o600)) {
        // Another user's file, which this process may use as a member of its group.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied && !may(0o007) => {
            tracing::warn!("group may read or write the store file");
            Ok(())
        }
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            Err(io::Error::new(error.kind(), "the store file is another user's, and all users may read or write it"))
        }
        restricted => restricted,
    }
}

pub fn database(file: File) -> Result<Database, DatabaseError> {
    Builder::new()
        .set_cache_size(CACHE_BYTES)
        .set_repair_callback(|repair| {
            if repair.progress() == 0.0 {
                tracing::info!("the store was not closed cleanly: checking it");
            }
        })
        .create_with_backend(FileBackend::new(file)?)
}
