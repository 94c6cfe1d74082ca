use jsonwebtoken::{
    Algorithm, DecodingKey,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet, KeyAlgorithm, PublicKeyUse},
};

use super::{
    Secret, WeakSecret,
    weak_key::{self, WeakKey},
};

/// A key and the one algorithm that it is used with: the token's header does not choose the algorithm.
#[derive(Clone, Debug)]
pub struct Key {
    pub id: Option<String>,
    pub algorithm: Algorithm,
    pub decoding: DecodingKey,
}

/// Why a key or a key set cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The secret can be guessed.
    #[error("the secret {0}")]
    Weak(#[from] WeakSecret),
    /// No key to check tokens with.
    #[error("no key to check tokens with")]
    None,
    /// The public key is not a PEM of an RSA, EC (P-256, P-384) or Ed25519 public key.
    #[error("the public key is not a PEM of an RSA, EC (P-256, P-384) or Ed25519 public key")]
    NotAPublicKey,
    /// The public key must not be used.
    #[error("the public key {0}")]
    WeakPublicKey(#[from] WeakKey),
    /// A key of a set must not be used.
    #[error("the key {} of the set {weak}", .id.as_deref().unwrap_or("without a kid"))]
    WeakInSet {
        /// Its `kid`, if it has one.
        id: Option<String>,
        /// What is wrong with it.
        weak: WeakKey,
    },
    /// This PEM is a private key: give the public one, so that this service cannot sign.
    #[error("this PEM is a private key: give the public one, so that this service cannot sign")]
    PrivateKey,
    /// The key set's address is not a URL with a host.
    #[error("the key set's address is not a URL with a host")]
    NotAUrl,
    /// The key set's address is `http://` on another machine.
    #[error(
        "the key set's address is not https:// (http:// is for a publisher on this machine, at a loopback address)"
    )]
    ExposedSet,
    /// The key set cannot be read.
    #[error("the key set cannot be read")]
    UnreadableSet(#[source] std::io::Error),
    /// The key set is not a JSON Web Key Set.
    #[error("the key set is not a JSON Web Key Set")]
    NotASet(#[source] serde_json::Error),
    /// The key set has no key for signatures (RSA, EC or Ed25519) in it.
    #[error("the key set has no key for signatures (RSA, EC or Ed25519) in it")]
    EmptySet,
}

impl Key {
    /// HS384 and HS512 take the same secret: 32 bytes are fewer than RFC 7518 section 3.2 asks for them, and still
    /// cannot be guessed.
    pub fn from_secret(secret: &Secret) -> Result<[Self; 3], KeyError> {
        secret.check()?;
        let key = |algorithm| Self { id: None, algorithm, decoding: DecodingKey::from_secret(secret.as_bytes()) };
        Ok([Algorithm::HS256, Algorithm::HS384, Algorithm::HS512].map(key))
    }

    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        if pem.contains("PRIVATE KEY") {
            return Err(KeyError::PrivateKey);
        }
        let bytes = pem.as_bytes();
        let key = |algorithm, decoding| match weak_key::check(&decoding, algorithm) {
            Ok(()) => Ok(Self { id: None, algorithm, decoding }),
            Err(weak) => Err(weak.into()),
        };
        if let Ok(decoding) = DecodingKey::from_rsa_pem(bytes) {
            return key(Algorithm::RS256, decoding);
        }
        if let Ok(decoding) = DecodingKey::from_ed_pem(bytes) {
            return key(Algorithm::EdDSA, decoding);
        }
        if let Ok(decoding) = DecodingKey::from_ec_pem(bytes) {
            // An uncompressed point: one byte of form and two coordinates.
            match decoding.try_get_as_bytes().map(<[u8]>::len) {
                Ok(65) => return key(Algorithm::ES256, decoding),
                Ok(97) => return key(Algorithm::ES384, decoding),
                _ => {}
            }
        }
        Err(KeyError::NotAPublicKey)
    }

    /// Every key of the set that can check a signature, and those that are too weak for it. A symmetric one cannot: a
    /// reader of the set could sign.
    pub fn from_set(json: &[u8]) -> Result<(Vec<Self>, Vec<KeyError>), KeyError> {
        let set: JwkSet = serde_json::from_slice(json).map_err(KeyError::NotASet)?;
        let (mut keys, mut weak) = (Vec::new(), Vec::new());
        for key in set.keys.iter().filter_map(Self::from_jwk) {
            match weak_key::check(&key.decoding, key.algorithm) {
                Ok(()) => keys.push(key),
                Err(found) => weak.push(KeyError::WeakInSet { id: key.id, weak: found }),
            }
        }
        match (keys.is_empty(), weak.is_empty()) {
            (true, true) => Err(KeyError::EmptySet),
            (true, false) => Err(weak.remove(0)),
            (false, _) => Ok((keys, weak)),
        }
    }

    fn from_jwk(jwk: &Jwk) -> Option<Self> {
        if jwk.common.public_key_use.as_ref().is_some_and(|used| *used != PublicKeyUse::Signature) {
            return None;
        }
        let algorithm = match (&jwk.algorithm, jwk.common.key_algorithm) {
            (AlgorithmParameters::RSA(_), None | Some(KeyAlgorithm::RS256)) => Algorithm::RS256,
            (AlgorithmParameters::RSA(_), Some(KeyAlgorithm::RS384)) => Algorithm::RS384,
            (AlgorithmParameters::RSA(_), Some(KeyAlgorithm::RS512)) => Algorithm::RS512,
            (AlgorithmParameters::RSA(_), Some(KeyAlgorithm::PS256)) => Algorithm::PS256,
            (AlgorithmParameters::EllipticCurve(ec), _) if ec.curve == EllipticCurve::P256 => Algorithm::ES256,
            (AlgorithmParameters::EllipticCurve(ec), _) if ec.curve == EllipticCurve::P384 => Algorithm::ES384,
            (AlgorithmParameters::OctetKeyPair(ed), _) if ed.curve == EllipticCurve::Ed25519 => Algorithm::EdDSA,
            _ => return None,
        };
        let decoding = DecodingKey::from_jwk(jwk).ok()?;
        Some(Self { id: jwk.common.key_id.clone(), algorithm, decoding })
    }
}
