//! The data directory. It is created if it is missing. It is refused if other users may write in it, or if the store
//! file that it once had is missing.

use std::{
    fs::{self, DirBuilder, File, Metadata, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use rustix::process::{getegid, getgroups};

use super::{OpenError, moved::Moved};

/// The file with the encryption key, if none is configured.
pub const KEY_FILE: &str = "encryption.key";
/// The file with the secret that local mode signs tokens with.
pub const SIGN_IN_FILE: &str = "sign-in.key";

const STORE_FILE: &str = "tautan.redb";
/// Written once the store exists. Earlier versions wrote none.
const MARKER: &str = "tautan.marker";
/// While this file exists, a missing store file is created. A first start writes it, so that the next start continues
/// one that was killed. An operator writes it to begin with an empty store on purpose.
const BEGIN_EMPTY: &str = "begin-empty";
/// Files that show that there was a store.
const TRACES: [&str; 3] = [MARKER, KEY_FILE, SIGN_IN_FILE];

const MARKER_TEXT: &str = "Tautan has created its store in this directory. If tautan.redb is missing, Tautan refuses to \
                           start: restore it from a backup. To begin with an empty store instead, create a file named \
                           begin-empty here.\n";

/// The checked data directory.
pub struct Directory {
    path: PathBuf,
    has_store: bool,
    group_may_write: bool,
}

impl Directory {
    /// Creates the directory for its owner only, if it is missing. Refuses it if other users may write in it: they
    /// could delete or replace the store. Refuses it if the store file is missing and this is not the first start: with
    /// an empty store every tenant would be shown as never linked. Call it before anything else is written there; it
    /// may be called again.
    pub fn enter(path: &Path) -> Result<Self, OpenError> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
        made.map_err(|source| OpenError::Directory { path: path.to_owned(), source })?;
        let directory = Self::look(path)?;
        if !directory.has_store {
            directory.allow_creation()?;
        }
        Ok(directory)
    }

    /// Refuses what a start would refuse, and creates nothing. True: there is a store.
    pub fn inspect(path: &Path) -> Result<bool, OpenError> {
        Moved::refuse(path)?;
        match path.try_exists() {
            Ok(true) => Self::look(path).map(|directory| directory.has_store),
            Ok(false) => Ok(false),
            Err(source) => Err(OpenError::Directory { path: path.to_owned(), source }),
        }
    }

    fn look(path: &Path) -> Result<Self, OpenError> {
        let mut directory = Self { path: path.to_owned(), has_store: false, group_may_write: false };
        let metadata = fs::metadata(path).map_err(|source| directory.unusable(source))?;
        match WriteAccess::of(&metadata).map_err(|source| directory.unusable(source))? {
            WriteAccess::Owner => {}
            WriteAccess::Group => directory.group_may_write = true,
            WriteAccess::Others => return Err(OpenError::Exposed(directory.path)),
        }
        match fs::metadata(directory.store()) {
            Ok(metadata) if metadata.len() == 0 => return Err(OpenError::Emptied(directory.store())),
            Ok(_) => directory.has_store = true,
            Err(error) if error.kind() == io::ErrorKind::NotFound => directory.refuse_a_loss()?,
            Err(error) => return Err(directory.unusable(error)),
        }
        Ok(directory)
    }

    /// A missing store may be created if no file shows that there was one.
    fn refuse_a_loss(&self) -> Result<(), OpenError> {
        if self.has(BEGIN_EMPTY)? {
            return Ok(());
        }
        for trace in TRACES {
            if self.has(trace)? {
                let (store, trace, begin_empty) = (self.store(), self.path.join(trace), self.path.join(BEGIN_EMPTY));
                return Err(OpenError::Missing { store, trace, begin_empty });
            }
        }
        Ok(())
    }

    /// Whether a start has made a store there. Changes nothing.
    pub fn holds_store(path: &Path) -> bool {
        path.join(STORE_FILE).exists()
    }

    /// Whether an earlier start has created the store.
    pub fn has_store(&self) -> bool {
        self.has_store
    }

    /// The path of the store file.
    pub fn store(&self) -> PathBuf {
        self.path.join(STORE_FILE)
    }

    /// Call it once the store exists: from then on a missing store file is never created.
    pub fn settle(&self) -> Result<(), OpenError> {
        if self.group_may_write {
            tracing::warn!(path = %self.path.display(), "group may write in the data directory");
        }
        let settled = self.write_marker().and_then(|()| {
            // The marker reaches the disk first: after a power failure in between, one of the two files exists.
            self.sync()?;
            remove_if_there(&self.path.join(BEGIN_EMPTY))?;
            self.sync()
        });
        settled.map_err(|source| self.unusable(source))
    }

    /// Makes new and removed names durable.
    pub fn sync(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }

    fn allow_creation(&self) -> Result<(), OpenError> {
        if self.has(BEGIN_EMPTY)? {
            return Ok(());
        }
        self.begin_empty()
    }

    fn begin_empty(&self) -> Result<(), OpenError> {
        let begin_empty = self.path.join(BEGIN_EMPTY);
        let allowed = create_for_owner(&begin_empty, "").and_then(|()| self.sync());
        allowed.map_err(|source| self.unusable(source))?;
        if self.has(MARKER)? {
            // Another process finished its first start meanwhile. If the file stayed, it would allow an empty store
            // after the next loss.
            remove_if_there(&begin_empty).map_err(|source| self.unusable(source))?;
        }
        Ok(())
    }

    fn write_marker(&self) -> io::Result<()> {
        create_for_owner(&self.path.join(MARKER), MARKER_TEXT)
    }

    fn has(&self, name: &str) -> Result<bool, OpenError> {
        self.path.join(name).try_exists().map_err(|source| self.unusable(source))
    }

    fn unusable(&self, source: io::Error) -> OpenError {
        OpenError::Directory { path: self.path.clone(), source }
    }
}

/// Who may create and delete files in a directory.
enum WriteAccess {
    Owner,
    /// A group of this process, by a volume's ownership.
    Group,
    Others,
}

impl WriteAccess {
    fn of(directory: &Metadata) -> io::Result<Self> {
        let may = |bit| directory.mode() & bit != 0;
        if may(0o002) {
            return Ok(Self::Others);
        }
        if !may(0o020) {
            return Ok(Self::Owner);
        }
        // Kubernetes gives a volume to a group of the pod (`fsGroup`), with both bits, at every mount: the program must not
        // fail to start again for that.
        let ours = may(0o2000) && (getegid().as_raw() == directory.gid() || is_member(directory.gid())?);
        Ok(if ours { Self::Group } else { Self::Others })
    }
}

fn is_member(group: u32) -> io::Result<bool> {
    Ok(getgroups()?.iter().any(|member| member.as_raw() == group))
}

/// Creates the file; an existing one stays as it is.
fn create_for_owner(path: &Path, text: &str) -> io::Result<()> {
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(mut file) => file.write_all(text.as_bytes()).and_then(|()| file.sync_all()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The other start leaves its marker after this one has looked for it. Eight starts at once rarely do that.
    #[test]
    fn start_that_another_overtakes_allows_no_empty_store() {
        let dir = tempfile::tempdir().unwrap();
        let directory = Directory { path: dir.path().to_owned(), has_store: false, group_may_write: false };
        directory.begin_empty().unwrap();
        assert!(dir.path().join(BEGIN_EMPTY).exists(), "a first start is continued after a kill");
        directory.write_marker().unwrap();
        directory.begin_empty().unwrap();
        assert!(!dir.path().join(BEGIN_EMPTY).exists());
    }
}
