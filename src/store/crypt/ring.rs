use zeroize::Zeroizing;

use super::{MasterKey, RowLocation, TenantKeys};
use crate::tenant::TenantId;

/// The master key, and a second one while the key is being replaced. Both open rows; only the current one seals.
#[derive(Clone, Debug)]
pub struct MasterKeys {
    /// Encrypts and opens.
    pub current: MasterKey,
    /// Only opens.
    pub previous: Option<MasterKey>,
}

impl MasterKeys {
    /// The keys of one tenant.
    pub fn tenant(&self, tenant: &TenantId) -> Ring {
        self.ring(|key| TenantKeys::new(key, tenant))
    }

    /// Keys for rows that belong to no tenant.
    pub fn own(&self) -> Ring {
        self.ring(TenantKeys::own)
    }

    fn ring(&self, keys: impl Fn(&MasterKey) -> TenantKeys) -> Ring {
        Ring { current: keys(&self.current), previous: self.previous.as_ref().map(keys) }
    }
}

/// The keys of one tenant, of both master keys.
pub struct Ring {
    current: TenantKeys,
    previous: Option<TenantKeys>,
}

impl Ring {
    /// Encrypts with the current key.
    pub fn seal(&self, location: RowLocation<'_>, plain: &[u8]) -> Vec<u8> {
        self.current.seal(location, plain)
    }

    /// `None`: sealed with a third key, for another location, or damaged.
    pub fn open(&self, location: RowLocation<'_>, sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        self.current.open(location, sealed).or_else(|| self.open_previous(location, sealed))
    }

    /// `None`: not sealed with the previous key.
    pub fn open_previous(&self, location: RowLocation<'_>, sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        self.previous.as_ref()?.open(location, sealed)
    }

    /// Whether the current key sealed it.
    pub fn is_current(&self, location: RowLocation<'_>, sealed: &[u8]) -> bool {
        self.current.open(location, sealed).is_some()
    }

    /// The name a row is written under.
    pub fn row(&self, table: &str, key: &[u8]) -> [u8; 32] {
        self.current.row(table, key)
    }

    /// The name the same row may still have.
    pub fn previous_row(&self, table: &str, key: &[u8]) -> Option<[u8; 32]> {
        Some(self.previous.as_ref()?.row(table, key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCATION: RowLocation<'static> = RowLocation { table: "identity", row: b"1" };

    fn ring(current: u8, previous: Option<u8>) -> Ring {
        let key = |byte| MasterKey::from([byte; 32]);
        let keys = MasterKeys { current: key(current), previous: previous.map(key) };
        keys.tenant(&TenantId::parse("a").unwrap())
    }

    #[test]
    fn both_keys_open_and_the_current_key_seals() {
        let (old, both, new) = (ring(1, None), ring(2, Some(1)), ring(2, None));
        let (by_old, by_both) = (old.seal(LOCATION, b"x"), both.seal(LOCATION, b"x"));
        assert!(both.open(LOCATION, &by_old).is_some() && !both.is_current(LOCATION, &by_old));
        assert!(both.open(LOCATION, &by_both).is_some() && both.open_previous(LOCATION, &by_both).is_none());
        assert!(new.open(LOCATION, &by_both).is_some() && new.open(LOCATION, &by_old).is_none());
        assert_eq!(both.row("t", b"k"), new.row("t", b"k"));
        assert_eq!(both.previous_row("t", b"k"), Some(old.row("t", b"k")));
        assert_eq!(new.previous_row("t", b"k"), None);
    }
}
