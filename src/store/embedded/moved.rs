//! The file that says that the tenants of this directory go, or went, to Redis.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use super::OpenError;

const MOVED_FILE: &str = "moved-to-redis";

/// How far `tautan move` has come, with the move's id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Moved {
    /// Some tenants may be in Redis.
    Begun(String),
    /// All tenants are in Redis.
    Done(String),
}

impl Moved {
    /// What the file in the data directory says. `None`: there is no such file.
    pub fn read(dir: &Path) -> Result<Option<Self>, OpenError> {
        let text = match fs::read_to_string(dir.join(MOVED_FILE)) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(OpenError::Directory { path: dir.to_owned(), source }),
        };
        let id = |word: &str| text.lines().next()?.strip_prefix(word).map(|id| id.trim().to_owned());
        // Anything else is taken for a finished move: a start on it could log in beside the instances on Redis.
        Ok(Some(id("moving ").map_or_else(|| Self::Done(id("moved ").unwrap_or_default()), Self::Begun)))
    }

    /// Refuses the directory if its tenants go, or went, to Redis. Without this, a start would log in with credentials
    /// that an instance on Redis uses.
    pub fn refuse(dir: &Path) -> Result<(), OpenError> {
        let file = dir.join(MOVED_FILE);
        match Self::read(dir)? {
            None => Ok(()),
            Some(Self::Begun(_)) => Err(OpenError::Moving { dir: dir.to_owned(), file }),
            Some(Self::Done(_)) => Err(OpenError::Moved { dir: dir.to_owned(), file }),
        }
    }

    /// Writes the file, durably: after a kill it says either what it said before, or this.
    pub fn write(&self, dir: &Path) -> Result<(), OpenError> {
        let written = || {
            let draft = dir.join(format!("{MOVED_FILE}.new"));
            let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
            file.write_all(self.text().as_bytes())?;
            file.sync_all()?;
            fs::rename(&draft, dir.join(MOVED_FILE))?;
            File::open(dir)?.sync_all()
        };
        written().map_err(|source| OpenError::Directory { path: dir.to_owned(), source })
    }

    fn text(&self) -> String {
        match self {
            Self::Begun(id) => format!(
                "moving {id}\n\n`tautan move` moves the tenants of this directory to Redis. Until it has finished, Tautan \
                 starts\nneither here nor on that Redis. Run the same command again to finish.\n"
            ),
            Self::Done(id) => format!(
                "moved {id}\n\nThe tenants of this directory were moved to Redis, and Tautan refuses to start here: two \
                 stores that\nlog in with the same credentials end each other's links.\n"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moved_file_is_read_as_it_was_written() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Moved::read(dir.path()).unwrap(), None);
        Moved::refuse(dir.path()).unwrap();
        for moved in [Moved::Begun("00ab".into()), Moved::Done("00ab".into())] {
            moved.write(dir.path()).unwrap();
            assert_eq!(Moved::read(dir.path()).unwrap(), Some(moved));
            Moved::refuse(dir.path()).unwrap_err();
        }
    }

    #[test]
    fn moved_file_that_cannot_be_understood_refuses_the_start() {
        let dir = tempfile::tempdir().unwrap();
        for text in ["", "mov", "later words 12"] {
            fs::write(dir.path().join(MOVED_FILE), text).unwrap();
            assert!(matches!(Moved::refuse(dir.path()), Err(OpenError::Moved { .. })), "{text:?}");
        }
    }
}
