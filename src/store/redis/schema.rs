//! The names of all keys, channels and fields. Only this file and `scripts/` spell them. docs/redis.md has the type, lifetime
//! and writer of each, and `tests/docs` compares the two.
//!
//! All keys of a cell share the hash tag `{0}`, so one script may write a record together with the indexes that name it.
//! There is one cell. A tenant's name stands percent-encoded in braces of its own: without the encoding a `}` in a name
//! would lead to another tenant's keys.

use crate::tenant::TenantId;

/// Names a key or channel of the cell.
fn cell(rest: &str) -> String {
    ["tautan:{0}:", rest].concat()
}

/// Names what belongs to one tenant.
fn part(tenant: &TenantId, rest: &str) -> String {
    cell(&format!("{{{tenant}}}{rest}"))
}

/// A hash: the key check and the two version numbers. Outside the cell: a program of another layout has to find the number
/// under the same name, or it would take this Redis for an empty one.
pub const PROOF: &str = "tautan:proof";

/// A string: the instance that migrates the data from an earlier layout. Under the same name in every layout, like [`PROOF`].
pub const MIGRATION: &str = "tautan:migration";

/// A hash: the owner, the desired state, the last write.
pub fn record(tenant: &TenantId) -> String {
    part(tenant, "")
}

/// A Redis stream: the tenant's newest events.
pub fn history(tenant: &TenantId) -> String {
    part(tenant, ":history")
}

/// A string: an event with its codes to pair with; it expires with them.
pub fn code(tenant: &TenantId, id: &str) -> String {
    part(tenant, &format!(":code:{id}"))
}

/// A set: the tables in which the tenant has rows.
pub fn tables(tenant: &TenantId) -> String {
    part(tenant, ":tables")
}

/// A hash: one table's rows.
pub fn rows(tenant: &TenantId, table: &str) -> String {
    part(tenant, &format!(":rows:{table}"))
}

/// A list: messages to the owner from other instances.
pub fn messages(tenant: &TenantId) -> String {
    part(tenant, ":messages")
}

/// A list: the last requests, with their answers.
pub fn requests(tenant: &TenantId) -> String {
    part(tenant, ":requests")
}

/// A list: when the session crashed.
pub fn crashes(tenant: &TenantId) -> String {
    part(tenant, ":crashes")
}

/// A list: the times at which pairing codes were requested.
pub fn used_codes(tenant: &TenantId) -> String {
    part(tenant, ":used-codes")
}

/// A list: the times at which connections to WhatsApp were requested.
pub fn used_dials(tenant: &TenantId) -> String {
    part(tenant, ":used-dials")
}

/// A channel: events as they are appended.
pub fn events(tenant: &TenantId) -> String {
    part(tenant, EVENTS)
}

const EVENTS: &str = ":events";

/// A set: every incarnation that may own a tenant.
pub fn incarnations() -> String {
    cell("incarnations")
}

/// A string: how many incarnations were ever registered.
pub fn registrations() -> String {
    cell("registrations")
}

/// A string: the run of Redis in which the last instance left in order, until the next one is registered.
pub fn vacant() -> String {
    cell("vacant")
}

/// A string: the heartbeat. It expires with the incarnation and is never created again.
pub fn heartbeat(incarnation: &str) -> String {
    cell(&format!("alive:{incarnation}"))
}

/// A set: tenants that the incarnation owns.
pub fn owned(incarnation: &str) -> String {
    cell(&format!("owned:{incarnation}"))
}

/// A set: tenants of the incarnation whose request or owner changed. Without it a lost notification would never be noticed.
pub fn inbox(incarnation: &str) -> String {
    cell(&format!("inbox:{incarnation}"))
}

/// A set: wanted tenants that had no owner.
pub fn wanted() -> String {
    cell("wanted")
}

/// A sorted set: tenants with a webhook to send; the score is when, in ms.
pub fn outbox() -> String {
    cell("outbox")
}

/// A list: the times at which pairing codes were requested for one phone number, over all tenants. `hash` is a keyed hash of
/// the number.
pub fn number(hash: &str) -> String {
    cell(&format!("number:{hash}"))
}

/// A sorted set: the public references of tenants whose tokens were revoked; the score is the second until which.
pub fn revocations() -> String {
    cell("revocations")
}

/// A channel: revocations as they are made.
pub fn revoked() -> String {
    cell("revoked")
}

/// A hash: the time that counts towards forgetting.
pub fn idle_time() -> String {
    cell("idle-time")
}

/// A string: the instance that swept last; expires.
pub fn sweeper() -> String {
    cell("sweeper")
}

/// A string: the data set's id, a random name and the run in which it began. Another id means that Redis lost all data.
pub fn data() -> String {
    cell("data")
}

/// A string: see [`crate::store::ClientVersion`].
pub fn client_version() -> String {
    cell("client-version")
}

/// A channel: tenants whose request or owner changed.
pub fn notifications() -> String {
    cell("notifications")
}

/// A channel that one instance publishes to and listens to, to see that messages arrive.
pub fn probe(instance: &str) -> String {
    cell(&format!("probe:{instance}"))
}

/// A pattern: the keys of all records, and no other key.
pub fn all_records() -> String {
    cell("{*}")
}

/// A pattern: all keys of the tenant. An encoded name has no character with a meaning in a pattern.
pub fn all_keys_of(tenant: &TenantId) -> String {
    part(tenant, "*")
}

/// Fields of the record that are read outside the scripts.
pub mod field {
    pub const VERSION: &str = "version";
    pub const RUN: &str = "run";
    pub const DOUBTED: &str = "doubted";
    pub const DESIRED: &str = "desired";
    pub const GENERATION: &str = "generation";
    pub const OWNER_INCARNATION: &str = "owner_incarnation";
    pub const OWNER_NONCE: &str = "owner_nonce";
    pub const FENCES: &str = "fences";
    pub const RELEASED_AFTER: &str = "released_after";
    pub const IDLE_VERSION: &str = "idle_version";
    pub const IDLE_SINCE: &str = "idle_since";
    pub const OUTBOX_EVENT: &str = "outbox_event";
    pub const OUTBOX_AT: &str = "outbox_at";
}

/// Fields of [`PROOF`].
pub mod proof_field {
    pub const PROOF: &str = "proof";
    pub const FORMER: &str = "former";
    pub const LAYOUT: &str = "layout";
    pub const VOCABULARY: &str = "vocabulary";
    /// The layout of the data, while it is being migrated.
    pub const MIGRATING: &str = "migrating";
    /// The id of the move that fills this Redis.
    pub const MOVING: &str = "moving";
}

pub fn tenant_of_record(key: &str) -> Option<TenantId> {
    let rest = key.strip_prefix(&cell("{"))?;
    TenantId::parse_encoded(rest.strip_suffix('}')?).ok()
}

pub fn tenant_of_events(channel: &str) -> Option<TenantId> {
    tenant_of_record(channel.strip_suffix(EVENTS)?)
}

/// Whether no other key may name this one: a code or a row.
pub fn is_unnamed(key: &str) -> bool {
    key.contains("}:code:") || key.contains("}:rows:")
}

/// A key that a script may touch.
#[derive(Clone, Copy)]
pub enum Part {
    Record,
    History,
    Tables,
    Messages,
    Requests,
    Crashes,
    UsedCodes,
    UsedDials,
    /// Belongs to no tenant. The caller passes the key; scripts know it by this name.
    Other(&'static str),
}

impl Part {
    /// Its name in the script.
    pub fn local(self) -> &'static str {
        match self {
            Self::Record => "record",
            Self::History => "history",
            Self::Tables => "tables",
            Self::Messages => "messages",
            Self::Requests => "requests",
            Self::Crashes => "crashes",
            Self::UsedCodes => "used_codes",
            Self::UsedDials => "used_dials",
            Self::Other(name) => name,
        }
    }

    /// `None`: it belongs to no tenant.
    pub fn key(self, tenant: &TenantId) -> Option<String> {
        let key = match self {
            Self::Record => record,
            Self::History => history,
            Self::Tables => tables,
            Self::Messages => messages,
            Self::Requests => requests,
            Self::Crashes => crashes,
            Self::UsedCodes => used_codes,
            Self::UsedDials => used_dials,
            Self::Other(_) => return None,
        };
        Some(key(tenant))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_a_tenant_share_the_cell_and_name_it() {
        let tenant = TenantId::parse("org:1@x").unwrap();
        for key in [record(&tenant), history(&tenant), events(&tenant), tables(&tenant), rows(&tenant, "t")] {
            assert!(key.starts_with("tautan:{0}:{org:1@x}"), "{key}");
        }
        for name in ["/", "}", "{}", "*", "%2F", "..", "a}:events", "x}:history", "0}:wanted"] {
            let odd = TenantId::parse(name).unwrap();
            assert_eq!(tenant_of_events(&events(&odd)), Some(odd.clone()), "{name}");
            assert_eq!(tenant_of_record(&record(&odd)), Some(odd.clone()), "{name}");
            assert_eq!(record(&odd).matches(['{', '}', '/', '*']).count(), 4, "{name}");
        }
        assert_eq!(tenant_of_events(&events(&tenant)), Some(tenant.clone()));
        assert_eq!(tenant_of_events(&notifications()), None);
        assert_eq!(tenant_of_record(&record(&tenant)), Some(tenant.clone()));
        assert_eq!(tenant_of_record(&history(&tenant)), None);
        assert_eq!(tenant_of_record(&incarnations()), None);
    }

    #[test]
    fn every_key_of_the_cell_has_its_hash_tag() {
        let keys = [wanted(), owned("i"), inbox("i"), outbox(), incarnations(), heartbeat("i"), number("n")];
        let keys = keys.into_iter().chain([registrations(), vacant()]);
        let keys = keys.into_iter().chain([idle_time(), sweeper(), data(), client_version(), revocations(), revoked()]);
        for key in keys {
            let tag = key.split_once('{').and_then(|(_, rest)| rest.split_once('}'));
            assert_eq!(tag.map(|(tag, _)| tag), Some("0"), "{key}");
        }
    }
}
