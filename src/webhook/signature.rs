use std::fmt;

use base64::{
    Engine as _,
    prelude::{BASE64_STANDARD, BASE64_STANDARD_NO_PAD},
};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::strength::{self, Weakness};

const PREFIX: &str = "whsec_";
/// What the standard asks of a symmetric secret.
const LENGTH_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// The key that webhooks are signed with. Hides itself in `Debug`, and is wiped from memory when dropped.
#[derive(Clone)]
pub struct SigningKey(Zeroizing<Vec<u8>>);

/// Why a signing key is refused.
#[derive(Debug, thiserror::Error)]
pub enum SigningKeyError {
    /// Not `whsec_` and 24 to 64 bytes in base64.
    #[error(
        "is not whsec_ and 24 to 64 random bytes in base64, as `echo \"whsec_$(openssl rand -base64 32)\"` prints; the back \
         end checks signatures with the same text"
    )]
    Malformed,
    /// The key can be guessed.
    #[error("{0}: `echo \"whsec_$(openssl rand -base64 32)\"` prints a good one")]
    Weak(#[from] Weakness),
}

impl SigningKey {
    /// Reads `whsec_` and base64, and refuses keys that can be guessed.
    pub fn parse(text: &str) -> Result<Self, SigningKeyError> {
        let encoded = text.trim().strip_prefix(PREFIX).ok_or(SigningKeyError::Malformed)?;
        // With or without the `=` at the end: shells and secret stores like to lose it.
        let bytes = BASE64_STANDARD_NO_PAD.decode(encoded.trim_end_matches('=')).ok();
        let bytes = bytes.map(Zeroizing::new).filter(|bytes| LENGTH_BYTES.contains(&bytes.len()));
        let bytes = bytes.ok_or(SigningKeyError::Malformed)?;
        strength::check(&bytes)?;
        Ok(Self(bytes))
    }

    /// Makes `webhook-signature` over the id, the seconds of `webhook-timestamp` and the body as it is sent.
    pub fn sign(&self, id: &str, timestamp: i64, body: &[u8]) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes keys of any length");
        mac.update(format!("{id}.{timestamp}.").as_bytes());
        mac.update(body);
        format!("v1,{}", BASE64_STANDARD.encode(mac.finalize().into_bytes()))
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "whsec_dGhlIHdlYmhvb2sga2V5IG9mIHRoZXNlIHRlc3Rz";

    #[test]
    fn signature_equals_the_example_of_standard_webhooks() {
        // The standard's own example, which nothing may be signed with outside of a test.
        let key = BASE64_STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let key = SigningKey(Zeroizing::new(key));
        let signature = key.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn malformed_signing_key_is_refused_and_keys_are_not_shown() {
        for wrong in ["", "whsec_", "whsec_c2hvcnQ=", &KEY[6..], "whsec_not base64 at all, but long enough"] {
            assert!(matches!(SigningKey::parse(wrong), Err(SigningKeyError::Malformed)), "{wrong}");
        }
        assert_eq!(format!("{:?}", SigningKey::parse(KEY).unwrap()), "SigningKey(…)");
    }
}
