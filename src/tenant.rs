//! Whose session it is. A tenant comes out of a verified token and nowhere else.

use std::{fmt, sync::Arc};

use sha2::{Digest as _, Sha256};

/// The name of one customer of the SaaS product.
///
/// Invariant: 1 to 128 characters of `A-Z a-z 0-9 . _ : @ -`, so that it can stand in a key, a channel and a log line
/// without escaping.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TenantId(Arc<str>);

pub const LENGTH_MAX: usize = 128;

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("a tenant is 1 to 128 characters of A-Z a-z 0-9 . _ : @ -")]
pub struct InvalidTenant;

impl TenantId {
    pub fn parse(text: &str) -> Result<Self, InvalidTenant> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"._:@-".contains(&b);
        if text.is_empty() || text.len() > LENGTH_MAX || !text.bytes().all(allowed) {
            return Err(InvalidTenant);
        }
        Ok(Self(text.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn reference(&self) -> TenantRef {
        let hash = Sha256::new().chain_update(REFERENCE_LABEL).chain_update(&*self.0).finalize();
        TenantRef(*hash.first_chunk().expect("SHA-256 has 32 bytes"))
    }
}

/// Keeps a reference apart from every other hash of the same name.
const REFERENCE_LABEL: &str = "tautan tenant reference\0";

/// What a page knows its tenant by: the same on every instance, for ever. It tells two tenants apart and is no secret:
/// whoever knows a tenant's name can compute it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TenantRef([u8; 16]);

impl fmt::Display for TenantRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_is_what_can_stand_in_a_key_unescaped() {
        for good in ["a", "toko-sari", "org:1/".trim_end_matches('/'), "a@b.c", &"x".repeat(128)] {
            assert!(TenantId::parse(good).is_ok(), "{good}");
        }
        for bad in ["", " ", "a b", "a/b", "{a}", "tökö", "a\n", &"x".repeat(129)] {
            assert!(TenantId::parse(bad).is_err(), "{bad:?}");
        }
    }

    /// A page keeps it over restarts and upgrades: were it to change, every open page would take its own tenant for
    /// another one.
    #[test]
    fn tenant_reference_stays_the_same_and_tells_tenants_apart() {
        let reference = |name: &str| TenantId::parse(name).unwrap().reference().to_string();
        assert_eq!(reference("toko-sari"), "19a465cbcf4533301895040cca69501c");
        assert_ne!(reference("toko-sari"), reference("toko-sari2"));
    }
}
