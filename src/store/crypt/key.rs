use std::{
    fmt,
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
    prelude::BASE64_STANDARD,
};
use zeroize::Zeroizing;

use crate::strength::{self, Weakness};

/// With or without the `=` at the end: shells and secret stores like to lose it.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The 32 bytes that every other key is derived from. Hides itself in `Debug`, and is wiped from memory when dropped.
#[derive(Clone)]
pub struct MasterKey(Zeroizing<[u8; 32]>);

/// Why an encryption key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// An encryption key is 32 bytes in base64 (`openssl rand -base64 32` makes one).
    #[error("an encryption key is 32 bytes in base64 (`openssl rand -base64 32` makes one)")]
    Malformed,
    /// The key can be guessed.
    #[error(
        "{0}; `openssl rand -base64 32` makes a good one. What was kept with it stays readable with it as the previous key"
    )]
    Weak(#[from] Weakness),
    /// The key file … holds a key that …: configure a new key, and this one as the previous key.
    #[error("the key file {} holds a key that {weakness}: configure a new key, and this one as the previous key", .path.display())]
    WeakFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with the key.
        weakness: Weakness,
    },
    /// The key file … does not hold 32 bytes in base64.
    #[error("the key file {} does not hold 32 bytes in base64", .0.display())]
    MalformedFile(PathBuf),
    /// All users may read the key file …: `chmod 600 …`.
    #[error("all users may read the key file {path}: `chmod 600 {path}`", path = .0.display())]
    Exposed(PathBuf),
    /// The key file … is missing, and no key is configured: nothing that is kept opens without it.
    #[error("the key file {} is missing, and no key is configured: nothing that is kept opens without it", .0.display())]
    Missing(PathBuf),
    /// The key file … cannot be read or made.
    #[error("the key file {} cannot be read or made", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
}

impl MasterKey {
    /// Takes any 32 bytes, weak ones too: what was encrypted with them must stay readable while the key is replaced.
    pub fn from_base64(text: &str) -> Result<Self, KeyError> {
        let bytes = Zeroizing::new(LENIENT.decode(text.trim()).map_err(|_| KeyError::Malformed)?);
        let bytes: [u8; 32] = bytes.as_slice().try_into().map_err(|_| KeyError::Malformed)?;
        Ok(Self::from(bytes))
    }

    /// A key to encrypt with: weak ones are refused.
    pub fn strong(text: &str) -> Result<Self, KeyError> {
        let key = Self::from_base64(text)?;
        strength::check(key.bytes())?;
        Ok(key)
    }

    /// Reads the key from a file, which is created for its owner only if it is missing. The embedded store uses it when
    /// no key is configured. It protects a copy of the database alone, not one of the whole directory.
    ///
    /// A file that all users may read is refused. One that its group may read is not: Kubernetes gives a volume's group
    /// that right at every mount, and a service must not fail to start again for it.
    pub fn load_or_create(path: &Path) -> Result<Self, KeyError> {
        let failed = |source| KeyError::File { path: path.to_owned(), source };
        match Self::load(path) {
            Err(KeyError::Missing(_)) => {
                create(path).map_err(failed)?;
                // Read back: if another process was faster, its key is the one in the file.
                Self::load(path)
            }
            loaded => loaded,
        }
    }

    /// Reads an existing key file. It is never created here: a new key could not open what is stored.
    pub fn load(path: &Path) -> Result<Self, KeyError> {
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::NotFound => KeyError::Missing(path.to_owned()),
            _ => KeyError::File { path: path.to_owned(), source },
        };
        let text = Zeroizing::new(fs::read_to_string(path).map_err(failed)?);
        let mode = fs::metadata(path).map_err(failed)?.permissions().mode();
        if mode & 0o007 != 0 {
            return Err(KeyError::Exposed(path.to_owned()));
        }
        if mode & 0o070 != 0 {
            tracing::warn!(path = %path.display(), "the key file can be read by its group");
        }
        Self::strong(&text).map_err(|error| match error {
            KeyError::Weak(weakness) => KeyError::WeakFile { path: path.to_owned(), weakness },
            _ => KeyError::MalformedFile(path.to_owned()),
        })
    }

    pub(in crate::store) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl From<[u8; 32]> for MasterKey {
    fn from(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey(…)")
    }
}

/// Creates the file atomically, also under a power failure: it is written and flushed under another name, then linked
/// to its own, which fails if there is one already.
fn create(path: &Path) -> io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let draft = path.with_extension(format!("{:016x}.new", rand::random::<u64>()));
    let key = Zeroizing::new(rand::random::<[u8; 32]>());
    let text = Zeroizing::new(BASE64_STANDARD.encode(key.as_slice()) + "\n");
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        match fs::hard_link(&draft, path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            linked => linked,
        }
    });
    let _ = fs::remove_file(&draft);
    made?;
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_is_32_bytes_in_base64_and_not_shown_in_debug() {
        let text = BASE64_STANDARD.encode([7; 32]);
        for good in [text.as_str(), text.trim_end_matches('='), &format!(" {text}\n")] {
            assert_eq!(MasterKey::from_base64(good).unwrap().bytes(), &[7; 32]);
        }
        for bad in ["", "x", &BASE64_STANDARD.encode([7; 31]), &BASE64_STANDARD.encode([7; 33]), &"*".repeat(44)] {
            assert!(matches!(MasterKey::from_base64(bad), Err(KeyError::Malformed)), "{bad:?}");
        }
        assert_eq!(format!("{:?}", MasterKey::from([7; 32])), "MasterKey(…)");
    }

    #[test]
    fn key_file_is_created_once_and_readable_by_its_owner_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        let made = MasterKey::load_or_create(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(MasterKey::load_or_create(&path).unwrap().bytes(), made.bytes());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "no draft is left behind");
    }

    #[test]
    fn processes_that_start_at_once_agree_on_one_key() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        let start = std::sync::Barrier::new(8);
        let keys: Vec<_> = std::thread::scope(|scope| {
            let racers: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| {
                        start.wait();
                        *MasterKey::load_or_create(&path).unwrap().bytes()
                    })
                })
                .collect();
            racers.into_iter().map(|racer| racer.join().unwrap()).collect()
        });
        assert!(keys.windows(2).all(|pair| pair[0] == pair[1]));
    }

    #[test]
    fn key_file_readable_by_others_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        MasterKey::load_or_create(&path).unwrap();
        let set = |mode| fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        set(0o604);
        assert!(matches!(MasterKey::load_or_create(&path), Err(KeyError::Exposed(_))));
        set(0o640);
        assert!(MasterKey::load_or_create(&path).is_ok());
    }

    #[test]
    fn weak_key_is_refused_from_a_file_and_read_as_a_previous_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        create(&path).unwrap();
        for weak in [BASE64_STANDARD.encode([0; 32]), BASE64_STANDARD.encode([7; 32])] {
            fs::write(&path, &weak).unwrap();
            assert!(matches!(MasterKey::load_or_create(&path), Err(KeyError::WeakFile { .. })));
            assert!(matches!(MasterKey::strong(&weak), Err(KeyError::Weak(Weakness::Repeats))));
            assert!(MasterKey::from_base64(&weak).is_ok());
            assert_eq!(fs::read_to_string(&path).unwrap(), weak);
        }
    }

    #[test]
    fn damaged_key_file_is_never_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        create(&path).unwrap();
        fs::write(&path, "half a k").unwrap();
        assert!(matches!(MasterKey::load_or_create(&path), Err(KeyError::MalformedFile(_))));
        assert_eq!(fs::read_to_string(&path).unwrap(), "half a k");
    }
}
