use std::time::Duration;

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Map, Value, json};

use super::{KeySource, Settings};
use crate::{clock::Timestamp, tenant::TenantId};

/// Signs tokens that our own verifier accepts: for local mode, which has no SaaS product that signs them.
#[derive(Clone)]
pub struct Minter {
    key: EncodingKey,
    settings: Settings,
}

impl Minter {
    /// `None`: there is no secret among the keys.
    pub fn new(settings: &Settings) -> Option<Self> {
        let key = settings.keys.iter().find_map(|source| match source {
            KeySource::Secret(secret) => Some(EncodingKey::from_secret(secret.as_bytes())),
            KeySource::PublicKey(_) | KeySource::Jwks(_) => None,
        })?;
        Some(Self { key, settings: settings.clone() })
    }

    /// A token for the tenant that is valid from now on, for this long.
    pub fn mint(&self, tenant: &TenantId, now: Timestamp, lifetime: Duration) -> String {
        let seconds = i64::try_from(lifetime.as_secs()).unwrap_or(i64::MAX);
        let mut claims = Map::new();
        claims.insert("iat".into(), json!(now.as_second()));
        claims.insert("exp".into(), json!(now.as_second().saturating_add(seconds)));
        claims.extend(self.settings.issuer.iter().map(|issuer| ("iss".into(), json!(issuer))));
        claims.extend(self.settings.audience.iter().map(|audience| ("aud".into(), json!(audience))));
        place(&mut claims, &self.settings.tenant_claim, json!(tenant.as_str()));
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.key)
            .expect("a map of texts and numbers can be written as JSON, and any secret can sign")
    }
}

/// Puts the value where the verifier will look for it.
fn place(claims: &mut Map<String, Value>, claim: &str, value: Value) {
    let Some(pointer) = claim.strip_prefix('/') else {
        claims.insert(claim.into(), value);
        return;
    };
    let steps: Vec<String> = pointer.split('/').map(|step| step.replace("~1", "/").replace("~0", "~")).collect();
    let [outer @ .., last] = steps.as_slice() else { return };
    let mut inside = claims;
    for step in outer {
        let next = inside.entry(step).or_insert_with(|| json!({}));
        if !next.is_object() {
            *next = json!({});
        }
        let Value::Object(object) = next else { return };
        inside = object;
    }
    inside.insert(last.clone(), value);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        auth::{Secret, TokenVerifier},
        clock,
        clock::Clock as _,
    };

    #[tokio::test]
    async fn verifier_accepts_minted_tokens_for_every_tenant_claim() {
        for claim in ["id", "sub", "/org/id", "/a~1b/c"] {
            let settings = Settings {
                keys: vec![KeySource::Secret(Secret::new("q2Xo0v4n3bS1uJb7cD5mZk9rWf8yLhTgPaEiNwVsQxM="))],
                issuer: Some("us".into()),
                audience: Some("them".into()),
                tenant_claim: claim.into(),
                ..Settings::default()
            };
            let tenant = TenantId::parse("local").unwrap();
            let now = clock::SystemClock.now();
            let token = Minter::new(&settings).unwrap().mint(&tenant, now, Duration::from_secs(60));
            let identity = TokenVerifier::new(settings, clock::system()).unwrap().verify(&token).await.unwrap();
            assert_eq!(identity.tenant, tenant);
        }
    }
}
