//! Who asks: reads a JSON Web Token and answers whose tenant it names. Knows no HTTP.

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
pub use verifier::{Identity, TokenError, TokenVerifier};
pub use weak_key::WeakKey;

/// How far clocks may differ: a token counts this much longer than it says, and this much earlier.
pub const LEEWAY: Duration = Duration::from_secs(30);

#[derive(Clone, Debug)]
pub struct Settings {
    /// Any of them may have signed a token; each is good for one algorithm only. A secret that is being replaced stays
    /// here beside its successor.
    pub keys: Vec<KeySource>,
    /// Checked only when set.
    pub issuer: Option<String>,
    /// Checked only when set: a token that merely carries an audience is fine otherwise.
    pub audience: Option<String>,
    /// A claim's name, or a JSON pointer if it begins with `/`.
    pub tenant_claim: String,
    /// Likewise, for the name that the page shows.
    pub tenant_name_claim: Option<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { keys: Vec::new(), issuer: None, audience: None, tenant_claim: "id".into(), tenant_name_claim: None }
    }
}

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
    /// Whether it can be used, as far as this machine can tell: a URL is not asked.
    pub fn check(&self) -> Result<(), KeyError> {
        match self {
            Self::Secret(secret) => Key::from_secret(secret).map(drop),
            Self::PublicKey(pem) => Key::from_pem(pem).map(drop),
            Self::Jwks(place) => Jwks::open(place).map(drop),
        }
    }
}
