use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Map, Value};
use sha2::Sha256;

const LIFETIME_SECONDS: u64 = 2 * 3600;

/// Signs tokens as the product would (HS256).
pub struct Signer {
    secret: Vec<u8>,
    claim: String,
}

impl Signer {
    pub fn new(secret: Vec<u8>, claim: String) -> Self {
        Self { secret, claim }
    }

    pub fn token(&self, tenant: &str) -> String {
        let mut claims = Map::new();
        claims.insert(self.claim.clone(), tenant.into());
        claims.insert("exp".to_owned(), (since_1970().as_secs() + LIFETIME_SECONDS).into());
        let part = |text: &str| BASE64_URL_SAFE_NO_PAD.encode(text);
        let signed = format!("{}.{}", part(r#"{"alg":"HS256","typ":"JWT"}"#), part(&Value::from(claims).to_string()));
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.secret).expect("a key of any length");
        mac.update(signed.as_bytes());
        format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
    }
}

#[expect(clippy::disallowed_methods, reason = "the deployment reads the real clock too")]
pub fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("now is after 1970")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_has_three_parts_and_names_the_tenant() {
        let token = Signer::new(b"secret".to_vec(), "sub".to_owned()).token("toko");
        let parts: Vec<_> = token.split('.').collect();
        assert_eq!(parts.len(), 3);
        let claims: Value = serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(parts[1]).unwrap()).unwrap();
        assert_eq!(claims["sub"], "toko");
        assert_eq!(BASE64_URL_SAFE_NO_PAD.decode(parts[2]).unwrap().len(), 32);
    }
}
