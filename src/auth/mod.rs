//! Checks a JSON Web Token and returns the tenant that it names.
//!
//! What it guarantees: a key is used with its own algorithm only, whatever the token's header names. Claims count only
//! after the signature was checked. Weak and published keys are refused. What it must not do: know HTTP or the store.
//! Start with `verifier`, then `keys` and `jwks`.

mod claims;
mod jwks;
mod keys;
mod mint;
mod publisher;
mod secret;
mod shape;
mod verifier;
mod weak_key;

use std::time::Duration;

use jwks::Jwks;
use keys::Key;

pub use keys::KeyError;
pub use mint::Minter;
pub use secret::{Secret, WeakSecret};
pub use shape::describe;
pub use verifier::{Identity, RevocationRule, TokenError, TokenVerifier};
pub use weak_key::WeakKey;

/// The allowed difference of clocks: a token is valid this long after its `exp` and this long before its `nbf`.
pub const LEEWAY: Duration = Duration::from_secs(30);

/// Which tokens are accepted.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Any of them may have signed a token; each is used with one algorithm only. A secret that is being replaced stays
    /// here beside its successor.
    pub keys: Vec<KeySource>,
    /// Checked only when set.
    pub issuer: Option<String>,
    /// Checked only when set: a token that merely carries an audience is fine otherwise.
    pub audience: Option<String>,
    /// A claim's name, or a JSON pointer if it begins with `/`.
    pub tenant_claim: String,
    /// The claim with the name that the page shows; same form as `tenant_claim`.
    pub tenant_name_claim: Option<String>,
    /// The claim with the name in the phone's list of linked devices; same form.
    pub device_name_claim: Option<String>,
    /// The claim with the name of the proxy to WhatsApp; same form.
    pub proxy_claim: Option<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            keys: Vec::new(),
            issuer: None,
            audience: None,
            tenant_claim: "id".into(),
            tenant_name_claim: None,
            device_name_claim: None,
            proxy_claim: None,
        }
    }
}

/// Where a key comes from.
#[derive(Clone, Debug)]
pub enum KeySource {
    /// HS256, HS384 and HS512.
    Secret(Secret),
    /// PEM: RS256, ES256, ES384 or EdDSA by the kind of key.
    PublicKey(String),
    /// A JSON Web Key Set: `https://`, and `http://` on loopback, is fetched; anything else is a file's path.
    Jwks(String),
}

impl KeySource {
    /// Whether it can be used, as far as this machine can check: a URL is not fetched.
    pub fn check(&self) -> Result<(), KeyError> {
        match self {
            Self::Secret(secret) => Key::from_secret(secret).map(drop),
            Self::PublicKey(pem) => Key::from_pem(pem).map(drop),
            Self::Jwks(place) => Jwks::open(place).map(drop),
        }
    }
}
