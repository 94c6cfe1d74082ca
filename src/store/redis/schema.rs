//! Every key, channel and field, spelled here and in `scripts/` alone. docs/redis.md has each with its type, lifetime and
//! writer, and `tests/docs` compares the two.
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

/// A hash: the key check and the two version numbers. Outside the cell: an earlier or later layout has to find its number
/// at the same place, or it would take this Redis for an empty one.
pub const PROOF: &str = "tautan:proof";

/// A hash: who owns the tenant, what is wanted, what was written last.
pub fn record(tenant: &TenantId) -> String {
    part(tenant, "")
}

/// A stream of the newest events.
pub fn history(tenant: &TenantId) -> String {
    part(tenant, ":history")
}

/// An event with its codes to pair with, for as long as they live.
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
pub fn said(tenant: &TenantId) -> String {
    part(tenant, ":said")
}

/// A list: the last requests and their answers.
pub fn wished(tenant: &TenantId) -> String {
    part(tenant, ":wished")
}

/// A list: when the session crashed.
pub fn crashes(tenant: &TenantId) -> String {
    part(tenant, ":crashes")
}

/// A list: when pairing codes were asked for.
pub fn used_codes(tenant: &TenantId) -> String {
    part(tenant, ":used-codes")
}

/// A list: when connections were asked for.
pub fn used_dials(tenant: &TenantId) -> String {
    part(tenant, ":used-dials")
}

/// A channel: events as they are appended.
pub fn told(tenant: &TenantId) -> String {
    part(tenant, TOLD)
}

const TOLD: &str = ":told";

/// A set: every incarnation that may own something.
pub fn incarnations() -> String {
    cell("incarnations")
}

/// A string: the heartbeat. It expires with the incarnation and is never made again.
pub fn heartbeat(incarnation: &str) -> String {
    cell(&format!("alive:{incarnation}"))
}

/// A set: tenants that the incarnation owns.
pub fn owned(incarnation: &str) -> String {
    cell(&format!("owned:{incarnation}"))
}

/// A set: tenants of the incarnation whose request or owner changed. Without it a lost nudge would never be heard.
pub fn inbox(incarnation: &str) -> String {
    cell(&format!("inbox:{incarnation}"))
}

/// A set: tenants that are wanted and had no owner.
pub fn wanted() -> String {
    cell("wanted")
}

/// A sorted set: tenants with a webhook to send, and when, in ms.
pub fn notices() -> String {
    cell("notices")
}

/// A list: when pairing codes were asked for one phone number, over all tenants. The number is a keyed hash.
pub fn number(hash: &str) -> String {
    cell(&format!("number:{hash}"))
}

/// A hash: the time that counts towards forgetting.
pub fn idle_time() -> String {
    cell("idle-time")
}

/// A string: the instance that looked at every record last; expires.
pub fn sweeper() -> String {
    cell("sweeper")
}

/// A string: the data set's random id. Another one means that Redis came back empty.
pub fn data() -> String {
    cell("data")
}

/// A string: see [`crate::store::ClientVersion`].
pub fn client_version() -> String {
    cell("release")
}

/// A channel: tenants whose request or owner changed.
pub fn notifications() -> String {
    cell("nudges")
}

/// A channel: one instance publishes to it and listens to it, to see that what is published arrives.
pub fn probe(instance: &str) -> String {
    cell(&format!("probe:{instance}"))
}

/// A pattern: the keys of all records, and of nothing else.
pub fn all_records() -> String {
    cell("{*}")
}

/// A pattern: all keys of the tenant. No character of an encoded name means anything in a pattern.
pub fn all_of(tenant: &TenantId) -> String {
    part(tenant, "*")
}

/// Fields of the record that are read outside the scripts.
pub mod field {
    pub const VERSION: &str = "version";
    pub const RUN: &str = "run";
    pub const DOUBTED: &str = "doubted";
    pub const WISH: &str = "wish";
    pub const WISHES: &str = "wishes";
    pub const OWNER_INCARNATION: &str = "owner_incarnation";
    pub const OWNER_NONCE: &str = "owner_nonce";
    pub const IDLE_VERSION: &str = "idle_version";
    pub const IDLE_SINCE: &str = "idle_since";
    pub const NOTICE: &str = "notice";
}

/// Fields of [`PROOF`].
pub mod proof_field {
    pub const PROOF: &str = "proof";
    pub const FORMER: &str = "former";
    pub const LAYOUT: &str = "layout";
    pub const VOCABULARY: &str = "vocabulary";
}

pub fn tenant_of_record(key: &str) -> Option<TenantId> {
    let rest = key.strip_prefix(&cell("{"))?;
    TenantId::parse_encoded(rest.strip_suffix('}')?).ok()
}

pub fn tenant_of_told(channel: &str) -> Option<TenantId> {
    tenant_of_record(channel.strip_suffix(TOLD)?)
}

/// Whether a key of the tenant is one that nothing else may point to: a code or a row.
pub fn is_unnamed(key: &str) -> bool {
    key.contains("}:code:") || key.contains("}:rows:")
}

/// A key that a script may touch.
#[derive(Clone, Copy)]
pub enum Part {
    Record,
    History,
    Tables,
    Said,
    Wished,
    Crashes,
    UsedCodes,
    UsedDials,
    /// Of no tenant: under this name the caller passes it.
    Other(&'static str),
}

impl Part {
    /// Its name in the script.
    pub fn local(self) -> &'static str {
        match self {
            Self::Record => "record",
            Self::History => "history",
            Self::Tables => "tables",
            Self::Said => "said",
            Self::Wished => "wished",
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
            Self::Said => said,
            Self::Wished => wished,
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
        for key in [record(&tenant), history(&tenant), told(&tenant), tables(&tenant), rows(&tenant, "t")] {
            assert!(key.starts_with("tautan:{0}:{org:1@x}"), "{key}");
        }
        for name in ["/", "}", "{}", "*", "%2F", "..", "a}:told", "x}:history", "0}:wanted"] {
            let odd = TenantId::parse(name).unwrap();
            assert_eq!(tenant_of_told(&told(&odd)), Some(odd.clone()), "{name}");
            assert_eq!(tenant_of_record(&record(&odd)), Some(odd.clone()), "{name}");
            assert_eq!(record(&odd).matches(['{', '}', '/', '*']).count(), 4, "{name}");
        }
        assert_eq!(tenant_of_told(&told(&tenant)), Some(tenant.clone()));
        assert_eq!(tenant_of_told(&notifications()), None);
        assert_eq!(tenant_of_record(&record(&tenant)), Some(tenant.clone()));
        assert_eq!(tenant_of_record(&history(&tenant)), None);
        assert_eq!(tenant_of_record(&incarnations()), None);
    }

    #[test]
    fn every_key_of_the_cell_has_its_hash_tag() {
        let keys = [wanted(), owned("i"), inbox("i"), notices(), incarnations(), heartbeat("i"), number("n")];
        let keys = keys.into_iter().chain([idle_time(), sweeper(), data(), client_version()]);
        for key in keys {
            let tag = key.split_once('{').and_then(|(_, rest)| rest.split_once('}'));
            assert_eq!(tag.map(|(tag, _)| tag), Some("0"), "{key}");
        }
    }
}
