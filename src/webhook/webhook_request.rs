use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use sha2::{Digest as _, Sha256};

use crate::{clock::Timestamp, events::WebhookBody, store::OutboxEntry};

use super::SigningKey;

/// Of the hash's 32 bytes: enough that ids never collide by chance.
const ID_BYTES: usize = 18;

/// A signed request for one outbox entry.
pub struct WebhookRequest {
    pub id: String,
    pub timestamp: i64,
    pub signature: String,
    pub body: Vec<u8>,
}

impl WebhookRequest {
    pub fn of(entry: &OutboxEntry, key: &SigningKey, now: Timestamp) -> Self {
        let body = WebhookBody::of(&entry.tenant, entry.id, entry.at, &entry.status);
        let body = serde_json::to_vec(&body).expect("texts and flags can be written as JSON");
        let (id, timestamp) = (id(entry), now.as_second());
        let signature = key.sign(&id, timestamp, &body);
        Self { id, timestamp, signature, body }
    }
}

/// The same at every try, and unique: an event's id names its journal. A hash, because a dot in the tenant's name would
/// split the signed text at the wrong place.
fn id(entry: &OutboxEntry) -> String {
    let named = format!("{} {}", entry.tenant, entry.id);
    format!("msg_{}", BASE64_URL_SAFE_NO_PAD.encode(&Sha256::digest(named)[..ID_BYTES]))
}
