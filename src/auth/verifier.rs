use std::sync::Arc;

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, Validation, errors::ErrorKind};
use serde_json::Value;

use super::{
    KeySource, Settings, claims,
    jwks::{Away, Jwks},
    keys::{Key, KeyError},
};
use crate::{
    clock::{SharedClock, Timestamp},
    link_options::{DeviceName, ProxyName},
    tenant::TenantId,
};

/// The tenant that a token names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The tenant.
    pub tenant: TenantId,
    /// The name that the page shows, if the token has one.
    pub display_name: Option<String>,
    /// How the phone's list of linked devices names the link, if the token has a usable name for it.
    pub device_name: Option<DeviceName>,
    /// The proxy that leads to WhatsApp, if the token names one.
    pub proxy: Option<ProxyName>,
    /// When it was issued (`iat`), in whole seconds, if the token says so.
    pub issued_at: Option<Timestamp>,
    /// The token's end plus the leeway: the moment from which a new request with it would be refused.
    pub expires_at: Timestamp,
}

/// Why a token is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// There is no token.
    #[error("there is no token")]
    Missing,
    /// The token is not a signed JSON Web Token.
    #[error("the token is not a signed JSON Web Token")]
    Malformed,
    /// The token has expired.
    #[error("the token has expired")]
    Expired,
    /// The token is not valid yet.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// The token's signature is wrong.
    #[error("the token's signature is wrong")]
    WrongSignature,
    /// The token's algorithm is not the one that is configured here.
    #[error("the token's algorithm is not the one that is configured here")]
    WrongAlgorithm,
    /// The token names a key that is not known here.
    #[error("the token names a key that is not known here")]
    UnknownKey,
    /// The token has no expiry (exp).
    #[error("the token has no expiry (exp)")]
    WithoutExpiry,
    /// The token names no valid tenant.
    #[error("the token names no valid tenant")]
    BadTenant,
    /// The token's claim for a proxy is no name of one.
    #[error("the token's claim for a proxy is no name of one")]
    BadProxy,
    /// The token comes from another issuer (iss).
    #[error("the token comes from another issuer (iss)")]
    WrongIssuer,
    /// The token is meant for another audience (aud).
    #[error("the token is meant for another audience (aud)")]
    WrongAudience,
    /// The token was issued before its tenant's tokens were revoked, or does not say when it was issued.
    #[error("the tokens of this tenant were revoked, and this one was not issued after that; sign in again")]
    Revoked,
    /// Not the token's fault: retry.
    #[error("the keys to check tokens with cannot be fetched")]
    KeysUnavailable,
}

/// Checks tokens. Time comes from the clock it is given, never from the system.
#[derive(Debug)]
pub struct TokenVerifier {
    settings: Settings,
    keys: Vec<Key>,
    sets: Vec<Arc<Jwks>>,
    clock: HiddenClock,
    lines: claims::Lines,
    revoked: HiddenRule,
}

/// Whether a tenant's token of this issue time (`None`: it has none) was revoked.
pub type RevocationRule = Arc<dyn Fn(&TenantId, Option<Timestamp>) -> bool + Send + Sync>;

impl TokenVerifier {
    /// `Err`: every mistake at once.
    pub fn new(settings: Settings, clock: SharedClock) -> Result<Self, Vec<KeyError>> {
        let (mut keys, mut sets, mut mistakes) = (Vec::new(), Vec::new(), Vec::new());
        for source in &settings.keys {
            let read = match source {
                KeySource::Secret(secret) => Key::from_secret(secret).map(|all| keys.extend(all)),
                KeySource::PublicKey(pem) => Key::from_pem(pem).map(|key| keys.push(key)),
                KeySource::Jwks(place) => Jwks::open(place).map(|set| sets.push(Arc::new(set))),
            };
            mistakes.extend(read.err());
        }
        if settings.keys.is_empty() {
            mistakes.push(KeyError::None);
        }
        let (clock, lines, revoked) = (HiddenClock(clock), claims::Lines::default(), HiddenRule(None));
        if mistakes.is_empty() { Ok(Self { settings, keys, sets, clock, lines, revoked }) } else { Err(mistakes) }
    }

    /// Refuses the tokens that this rule names.
    pub fn with_revocation(self, rule: RevocationRule) -> Self {
        Self { revoked: HiddenRule(Some(rule)), ..self }
    }

    /// Whether a token that was good before was revoked.
    pub fn is_revoked(&self, tenant: &TenantId, issued_at: Option<Timestamp>) -> bool {
        self.revoked.0.as_ref().is_some_and(|rule| rule(tenant, issued_at))
    }

    /// The tenant that the token names. Waits only where a key set has to be fetched first, and none of the keys that
    /// are here is the right one.
    pub async fn verify(&self, token: &str) -> Result<Identity, TokenError> {
        let claims = self.claims(token).await?;
        let identity = claims::read(&claims, &self.settings, self.clock.0.now(), &self.lines)?;
        if self.is_revoked(&identity.tenant, identity.issued_at) {
            return Err(TokenError::Revoked);
        }
        Ok(identity)
    }

    /// The tenant that a token of ours names, also one that has expired or was revoked.
    pub async fn named_tenant(&self, token: &str) -> Option<TenantId> {
        claims::named_tenant(&self.claims(token).await.ok()?, &self.settings)
    }

    /// Whether the token has the scope. It need not name a tenant; everything else is checked as in [`Self::verify`].
    pub async fn has_scope(&self, token: &str, scope: &str) -> Result<bool, TokenError> {
        let claims = self.claims(token).await?;
        claims::check(&claims, &self.settings, self.clock.0.now(), &self.lines)?;
        Ok(claims::has_scope(&claims, scope))
    }

    /// The claims of a token that one of our keys signed.
    async fn claims(&self, token: &str) -> Result<Value, TokenError> {
        let header = Header::of(token)?;
        let refusal = match open(token, &header, &self.keys) {
            Err(refusal) if !self.sets.is_empty() => refusal,
            opened => return opened,
        };
        let (mut published, mut away) = (Vec::new(), false);
        for set in &self.sets {
            match set.find(header.key_id.as_deref()).await {
                Ok(keys) => published.extend(keys),
                Err(Away) => away = true,
            }
        }
        open(token, &header, &published).map_err(|error| match error {
            // A key set that could not be fetched may have the key.
            _ if away => TokenError::KeysUnavailable,
            TokenError::WrongAlgorithm if published.is_empty() && refusal == error => TokenError::UnknownKey,
            // The refusal of a configured key is more specific than "no published key has this algorithm".
            TokenError::WrongAlgorithm => refusal,
            error => error,
        })
    }
}

/// The token's claims, if one of the keys signed it. The key decides the algorithm: a public key is never tried as the
/// secret of an HMAC, and no key has the algorithm "none".
fn open(token: &str, header: &Header, keys: &[Key]) -> Result<Value, TokenError> {
    let mut refusal = TokenError::WrongAlgorithm;
    for key in keys.iter().filter(|key| Some(key.algorithm) == header.algorithm) {
        match decode(token, key) {
            Ok(claims) => return Ok(claims),
            Err(error) => refusal = error,
        }
    }
    Err(refusal)
}

/// A token's header, which is not authenticated yet: it only chooses among our own keys.
struct Header {
    algorithm: Option<Algorithm>,
    key_id: Option<String>,
}

impl Header {
    fn of(token: &str) -> Result<Self, TokenError> {
        let (first, rest) = token.split_once('.').ok_or(TokenError::Malformed)?;
        if rest.split('.').count() != 2 {
            return Err(TokenError::Malformed);
        }
        let json = BASE64_URL_SAFE_NO_PAD.decode(first).map_err(|_| TokenError::Malformed)?;
        let header: Value = serde_json::from_slice(&json).map_err(|_| TokenError::Malformed)?;
        let algorithm = header.get("alg").and_then(Value::as_str).ok_or(TokenError::Malformed)?;
        // Extensions that must be understood (RFC 7515 section 4.1.11): we understand none.
        if header.get("crit").is_some() {
            return Err(TokenError::Malformed);
        }
        let key_id = header.get("kid").and_then(Value::as_str).map(str::to_owned);
        Ok(Self { algorithm: algorithm.parse().ok(), key_id })
    }
}

/// The claims of a token that this key signed. The library's own checks of them are off: they read the system's time, and
/// their defaults differ from what we promise.
fn decode(token: &str, key: &Key) -> Result<Value, TokenError> {
    let mut validation = Validation::new(key.algorithm);
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation.validate_aud = false;
    match jsonwebtoken::decode::<Value>(token, &key.decoding, &validation) {
        Ok(data) if data.claims.is_object() => Ok(data.claims),
        Ok(_) => Err(TokenError::Malformed),
        Err(error) => Err(match error.kind() {
            ErrorKind::InvalidAlgorithm => TokenError::WrongAlgorithm,
            ErrorKind::Base64(_) | ErrorKind::Json(_) | ErrorKind::Utf8(_) | ErrorKind::InvalidToken => {
                TokenError::Malformed
            }
            _ => TokenError::WrongSignature,
        }),
    }
}

struct HiddenClock(SharedClock);

impl std::fmt::Debug for HiddenClock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Clock")
    }
}

struct HiddenRule(Option<RevocationRule>);

impl std::fmt::Debug for HiddenRule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RevocationRule")
    }
}
