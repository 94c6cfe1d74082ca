use std::{io, path::PathBuf};

/// Why the store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The data directory … cannot be used.
    #[error("the data directory {} cannot be used", .path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// Other users may write in the data directory …: chmod go-w ….
    #[error("other users may write in the data directory {path}: chmod go-w {path}", path = .0.display())]
    Exposed(PathBuf),
    /// The store file is missing, and with an empty one every tenant would be shown as never linked.
    #[error(
        "the store file {} is missing, but {} shows that there was one. Restore it from a backup. To begin with an empty \
         store instead, in which no account is linked, and start again: touch {}",
        .store.display(),
        .trace.display(),
        .begin_empty.display()
    )]
    Missing {
        /// The missing file.
        store: PathBuf,
        /// A file that shows that there was a store.
        trace: PathBuf,
        /// The file with which an operator allows an empty store.
        begin_empty: PathBuf,
    },
    /// The store file … is empty. Restore it from a backup, or move it away and start again.
    #[error("the store file {} is empty. Restore it from a backup, or move it away and start again", .0.display())]
    Emptied(PathBuf),
    /// Another process uses the data directory ….
    #[error("another process uses the data directory {}", .0.display())]
    InUse(PathBuf),
    /// The tenants of … are being moved to Redis.
    #[error(
        "the tenants of {dir} are being moved to Redis: run `tautan move` again to finish. To stay with this store \
         instead, start nothing on that Redis, and delete {file}",
        dir = .dir.display(),
        file = .file.display()
    )]
    Moving {
        /// The directory.
        dir: PathBuf,
        /// The file that says so.
        file: PathBuf,
    },
    /// The tenants of … were moved to Redis.
    #[error(
        "the tenants of {dir} were moved to Redis, as {file} says: start with REDIS_URL",
        dir = .dir.display(),
        file = .file.display()
    )]
    Moved {
        /// The directory.
        dir: PathBuf,
        /// The file that says so.
        file: PathBuf,
    },
    /// There is no store in ….
    #[error("there is no store in {}", .0.display())]
    NoStore(PathBuf),
    /// The store in … was sealed with another encryption key.
    #[error("the store in {} was sealed with another encryption key", .0.display())]
    WrongKey(PathBuf),
    /// The store in … was written by a later version of this program (format …).
    #[error("the store in {} was written by a later version of this program (format {format})", .path.display())]
    Later {
        /// The directory.
        path: PathBuf,
        /// The format that the file has.
        format: u64,
    },
    /// The store in … was written by an earlier version of this program (format …), and this one cannot migrate it.
    #[error(
        "the store in {} was written by an earlier version of this program (format {format}), and this one cannot migrate \
         it",
        .path.display()
    )]
    Earlier {
        /// The directory.
        path: PathBuf,
        /// The format that the file has.
        format: u64,
    },
    /// The store in … cannot be opened.
    #[error("the store in {} cannot be opened", .path.display())]
    Engine {
        /// The directory.
        path: PathBuf,
        /// The cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}
