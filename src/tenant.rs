//! The name of a tenant, checked. A tenant comes from a verified token, from a back end's request, or from an operator
//! who erases it, and from nowhere else; everything that is stored or published is keyed by it. Start with [`TenantId`].

use std::{
    fmt::{self, Write as _},
    sync::Arc,
};

use sha2::{Digest as _, Sha256};

/// The name of one customer of the SaaS product: whatever subject its identity provider gives (`auth0|5f7c…`,
/// `gid://shopify/Shop/1`). Equal only to the byte.
///
/// Invariant: 1 to 255 printable ASCII characters without a space, so it can be one word of a line. `Display` writes it
/// percent-encoded, as it stands in keys, channels and logs; [`Self::as_str`] is the name itself.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TenantId(Arc<str>);

/// The longest name, in bytes.
pub const LENGTH_MAX: usize = 255;

/// The text cannot be a tenant's name.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("a tenant is 1 to {LENGTH_MAX} printable ASCII characters without a space")]
pub struct InvalidTenant;

impl TenantId {
    /// Checks a name as a token has it.
    pub fn parse(text: &str) -> Result<Self, InvalidTenant> {
        if text.is_empty() || text.len() > LENGTH_MAX || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(InvalidTenant);
        }
        Ok(Self(text.into()))
    }

    /// Reads what `Display` wrote, and nothing else: two writings of one name would be two keys.
    pub fn parse_encoded(text: &str) -> Result<Self, InvalidTenant> {
        let mut bytes = text.bytes();
        let mut name = String::with_capacity(text.len());
        while let Some(byte) = bytes.next() {
            let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
            let decoded = match byte {
                b'%' => digit(bytes.next()).zip(digit(bytes.next())).map(|(high, low)| (high * 16 + low) as u8),
                byte => Some(byte),
            };
            name.push(char::from(decoded.ok_or(InvalidTenant)?));
        }
        Self::parse(&name).ok().filter(|tenant| tenant.to_string() == text).ok_or(InvalidTenant)
    }

    /// The name itself, not encoded.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The public name for the tenant's page.
    pub fn reference(&self) -> TenantRef {
        let hash = Sha256::new().chain_update(REFERENCE_LABEL).chain_update(&*self.0).finalize();
        TenantRef(*hash.first_chunk().expect("SHA-256 has 32 bytes"))
    }
}

/// Keeps a reference apart from every other hash of the same name.
const REFERENCE_LABEL: &str = "tautan tenant reference\0";

/// A public name of a tenant for its page: the same on every instance, for ever. It distinguishes tenants and is not
/// secret: anyone who knows a tenant's name can compute it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TenantRef([u8; 16]);

impl TenantRef {
    /// Reads what `Display` wrote, and nothing else.
    pub fn parse(text: &str) -> Option<Self> {
        let reference = Self(u128::from_str_radix(text, 16).ok()?.to_be_bytes());
        (reference.to_string() == text).then_some(reference)
    }
}

impl fmt::Display for TenantRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.0.bytes() {
            match byte {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b':' | b'@' | b'-' => {
                    f.write_char(char::from(byte))?;
                }
                byte => write!(f, "%{byte:02X}")?,
            }
        }
        Ok(())
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
    fn tenant_is_any_printable_ascii_subject_without_a_space() {
        for good in ["a", "toko-sari", "auth0|5f7c", "gid://shopify/Shop/1", "a+b@x.com", "Zm9v==", &"x".repeat(255)] {
            assert_eq!(TenantId::parse(good).unwrap().as_str(), good);
        }
        for bad in ["", " ", "a b", "tökö", "a\n", "a\0", "a\u{7f}", &"x".repeat(256)] {
            assert!(TenantId::parse(bad).is_err(), "{bad:?}");
        }
    }

    /// A key's hash tag ends with the first `}`, and a glob or a second writing of a name must not reach another's keys.
    #[test]
    fn encoded_tenant_has_no_special_character_and_reads_back() {
        let names =
            ["a", "org:1@x.y_z-", "/", "}", "{}", "{/}", "*", "%2F", "%", "..", "a|b+c=", "\\\"'<>&?#[]^`~!$(),;"];
        for name in names {
            let tenant = TenantId::parse(name).unwrap();
            let encoded = tenant.to_string();
            assert!(encoded.bytes().all(|b| b.is_ascii_alphanumeric() || b"._:@-%".contains(&b)), "{encoded}");
            assert_eq!(TenantId::parse_encoded(&encoded), Ok(tenant));
        }
        assert_eq!(TenantId::parse("{}").unwrap().to_string(), "%7B%7D");
        for other in ["%2f", "%61", "%", "%2", "%GG", "a/b", "{a}", "", "%20", "%C3%A9"] {
            assert_eq!(TenantId::parse_encoded(other), Err(InvalidTenant), "{other}");
        }
    }

    /// A page keeps it over restarts and upgrades: were it to change, every open page would take its own tenant for
    /// another one.
    #[test]
    fn tenant_reference_is_stable_and_differs_between_tenants() {
        let reference = |name: &str| TenantId::parse(name).unwrap().reference().to_string();
        assert_eq!(reference("toko-sari"), "19a465cbcf4533301895040cca69501c");
        let read = TenantRef::parse("19a465cbcf4533301895040cca69501c").unwrap();
        assert!(read == TenantId::parse("toko-sari").unwrap().reference());
        for other in ["", "19a465cbcf4533301895040cca69501", "19A465CBCF4533301895040CCA69501C", "+", "toko-sari"] {
            assert!(TenantRef::parse(other).is_none(), "{other}");
        }
        assert_ne!(reference("toko-sari"), reference("toko-sari2"));
    }
}
