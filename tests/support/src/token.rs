use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

/// The `JWT_SECRET` of the programs that the tests start.
pub const SECRET: &str = "kZ3uVw8qYt1LrX5mNc7bHd2sGf9jPa4e6To0iUyE";

pub fn token(tenant: &str) -> String {
    token_with(json!({ "id": tenant, "exp": in_seconds(3600) }))
}

pub fn token_with(claims: Value) -> String {
    encode(&Header::new(Algorithm::HS256), &claims, &EncodingKey::from_secret(SECRET.as_bytes()))
        .expect("claims are JSON")
}

/// Seconds since 1970, as a token has them.
#[expect(clippy::disallowed_methods, reason = "the program under test reads the real clock too")]
pub fn in_seconds(seconds: u64) -> u64 {
    let at = SystemTime::now() + Duration::from_secs(seconds);
    at.duration_since(UNIX_EPOCH).expect("now is after 1970").as_secs()
}
