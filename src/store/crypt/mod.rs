//! Encrypts what the stores keep: XChaCha20-Poly1305 under keys that HKDF-SHA256 derives for each tenant from one
//! master key. To *seal* is to encrypt and authenticate, to *open* is the reverse.
//!
//! What it guarantees: a sealed row opens only at the location (tenant, table, row) that it was sealed for. What it
//! must not do: I/O beyond the key file, or logging. Start with [`TenantKeys`], then [`Ring`] for a key that is being
//! replaced.

mod json;
mod key;
mod ring;

use chacha20poly1305::{
    KeyInit, XChaCha20Poly1305, XNonce,
    aead::{Aead, Payload},
};
use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroizing;

pub use json::parse;
pub use key::{KeyError, MasterKey};
pub use ring::{MasterKeys, Ring};

use crate::tenant::TenantId;

/// The first byte of everything sealed, so that another scheme can follow.
const VERSION: u8 = 1;
const NONCE_BYTES: usize = 24;

/// The table under which phone numbers are hashed for counting pairing codes: a store sees a keyed hash of each.
pub const NUMBER_TABLE: &str = "number";

/// One tenant's keys. Derived when needed and dropped with the value: nothing caches them.
pub struct TenantKeys {
    cipher: XChaCha20Poly1305,
    rows: Zeroizing<[u8; 32]>,
}

/// Where a sealed row is stored. It is the associated data: moved to another tenant, table or row, a row does not open.
#[derive(Clone, Copy)]
pub struct RowLocation<'a> {
    /// The table's name.
    pub table: &'a str,
    /// The row's key.
    pub row: &'a [u8],
}

impl TenantKeys {
    /// Derives the tenant's keys.
    pub fn new(master: &MasterKey, tenant: &TenantId) -> Self {
        Self::of(master, &format!("tenant:{tenant}"))
    }

    /// Keys of the store itself, for what belongs to no tenant.
    pub fn own(master: &MasterKey) -> Self {
        Self::of(master, "store")
    }

    /// The keys are derived from the tenant's name too, so the associated data need not hold it.
    fn of(master: &MasterKey, scope: &str) -> Self {
        let root = Hkdf::<Sha256>::new(Some(b"tautan store 1"), master.bytes());
        let derive = |purpose: &str| {
            let mut key = Zeroizing::new([0; 32]);
            root.expand_multi_info(&[purpose.as_bytes(), b"\0", scope.as_bytes()], key.as_mut_slice())
                .expect("32 bytes are one block of HKDF's output, which may have 255");
            key
        };
        Self { cipher: XChaCha20Poly1305::new((&*derive("seal")).into()), rows: derive("row") }
    }

    /// The name a row is kept under. Row keys can hold phone numbers (Signal addresses do), so a store sees only this
    /// keyed hash, and the key itself sealed beside the value.
    pub fn row(&self, table: &str, key: &[u8]) -> [u8; 32] {
        let mut name = [0; 32];
        Hkdf::<Sha256>::from_prk(self.rows.as_slice())
            .expect("the key is as long as the hash's output")
            .expand_multi_info(&[table.as_bytes(), b"\0", key], &mut name)
            .expect("32 bytes are one block of HKDF's output, which may have 255");
        name
    }

    /// Encrypts a row for this location.
    pub fn seal(&self, location: RowLocation<'_>, plain: &[u8]) -> Vec<u8> {
        // 24 random bytes never repeat under one key, however many rows are written: no counter has to be kept.
        let nonce: [u8; NONCE_BYTES] = rand::random();
        let bound = location.bound();
        let sealed = self
            .cipher
            .encrypt(&XNonce::from(nonce), Payload { msg: plain, aad: &bound })
            .expect("XChaCha20-Poly1305 fails only beyond 256 GiB");
        [&[VERSION], nonce.as_slice(), &sealed].concat()
    }

    /// `None`: sealed with another key, for another location, or damaged. The cipher cannot tell which.
    pub fn open(&self, location: RowLocation<'_>, sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (&version, rest) = sealed.split_first()?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_BYTES>()?;
        if version != VERSION {
            return None;
        }
        let bound = location.bound();
        let plain = self.cipher.decrypt(&XNonce::from(*nonce), Payload { msg: sealed, aad: &bound }).ok()?;
        Some(Zeroizing::new(plain))
    }
}

impl RowLocation<'_> {
    /// Table names have no zero byte, so two locations never have the same bytes.
    fn bound(self) -> Vec<u8> {
        [&[VERSION], self.table.as_bytes(), b"\0", self.row].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(master: u8, tenant: &str) -> TenantKeys {
        TenantKeys::new(&MasterKey::from([master; 32]), &TenantId::parse(tenant).unwrap())
    }

    const LOCATION: RowLocation<'static> = RowLocation { table: "identity", row: b"1" };

    #[test]
    fn sealed_row_opens_at_its_own_location() {
        let sealed = keys(1, "a").seal(LOCATION, b"secret");
        assert_eq!(keys(1, "a").open(LOCATION, &sealed).unwrap().as_slice(), b"secret");
    }

    #[test]
    fn sealed_row_does_not_open_at_another_location() {
        let sealed = keys(1, "a").seal(LOCATION, b"secret");
        assert!(keys(2, "a").open(LOCATION, &sealed).is_none(), "another master key");
        assert!(keys(1, "b").open(LOCATION, &sealed).is_none(), "another tenant");
        assert!(keys(1, "a").open(RowLocation { table: "session", ..LOCATION }, &sealed).is_none(), "another table");
        assert!(keys(1, "a").open(RowLocation { row: b"2", ..LOCATION }, &sealed).is_none(), "another row");
        assert!(TenantKeys::own(&MasterKey::from([1; 32])).open(LOCATION, &sealed).is_none(), "the store's own");
    }

    #[test]
    fn not_a_single_bit_of_a_sealed_row_can_be_changed() {
        let sealed = keys(1, "a").seal(LOCATION, b"secret");
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(keys(1, "a").open(LOCATION, &changed).is_none(), "byte {at}");
            assert!(keys(1, "a").open(LOCATION, &sealed[..at]).is_none(), "cut at {at}");
        }
    }

    #[test]
    fn same_row_is_sealed_differently_but_has_the_same_name() {
        assert_ne!(keys(1, "a").seal(LOCATION, b"x"), keys(1, "a").seal(LOCATION, b"x"));
        assert_eq!(keys(1, "a").row("t", b"k"), keys(1, "a").row("t", b"k"));
        let others = [keys(1, "b").row("t", b"k"), keys(1, "a").row("t2", b"k"), keys(1, "a").row("t", b"k2")];
        assert!(!others.contains(&keys(1, "a").row("t", b"k")));
    }
}
