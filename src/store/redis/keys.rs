//! The names of keys and channels. A tenant's all have the hash tag `{tenant}`, so each of its scripts stays in one slot
//! of a cluster. Its name stands there percent-encoded: a `}` would end the tag, and a `/` would be the tag of the
//! instances. Members of sets and words of messages are the names themselves. What belongs to an incarnation or to all has a tag or a slot of its own and is never touched by them.

use crate::tenant::TenantId;

/// A set: every incarnation that may own something. In one slot with their heartbeats, which are asked for together.
pub const INCARNATIONS: &str = "tautan:{/}:incarnations";
/// A set: tenants that are wanted and had no owner when somebody looked.
pub const WANTED: &str = "tautan:wanted";
/// Who looks at every record lately; expires.
pub const SWEEPER: &str = "tautan:sweeper";
/// A pattern of the keys of all records, and of nothing else.
pub const RECORDS: &str = "tautan:{*}";
/// A sorted set: tenants that the back end may have to be told of, and when to look at them, in ms.
pub const NOTICES: &str = "tautan:notices";
/// A channel: tenants whose wish or owner changed.
pub const NUDGES: &str = "tautan:nudges";
/// The data set's random id: another one says that Redis came back empty, or is another Redis.
pub const DATA: &str = "tautan:data";
/// What was looked up last of WhatsApp's own client, and when: see [`crate::store::ClientVersion`].
pub const CLIENT_VERSION: &str = "tautan:release";
/// A hash: what only the right key opens, and what it was before the key was changed.
pub const PROOF: &str = "tautan:proof";

/// A sorted set: the public references of tenants whose tokens were revoked; the score is the second until which.
pub const REVOCATIONS: &str = "tautan:revocations";
/// A channel: revocations as they are made.
pub const REVOKED: &str = "tautan:revoked";

/// A hash: the time that counts towards forgetting, by the server's clock.
pub const IDLE_TIME: &str = "tautan:idle-time";

/// A hash: who owns the tenant, what is wanted, what was written last.
pub fn record(tenant: &TenantId) -> String {
    format!("tautan:{{{tenant}}}")
}

/// A pattern of the names of all keys of the tenant.
pub fn all_of(tenant: &TenantId) -> String {
    // No character of an encoded name means anything in a pattern.
    record(tenant) + "*"
}

pub fn tenant_of_record(key: &str) -> Option<TenantId> {
    TenantId::parse_encoded(key.strip_prefix("tautan:{")?.strip_suffix('}')?).ok()
}

/// A stream of the newest events. Their codes stand in `…:code:<id>`, with a time to live.
pub fn history(tenant: &TenantId) -> String {
    format!("tautan:{{{tenant}}}:history")
}

/// An event with its codes to pair with, for as long as they live.
pub fn code(tenant: &TenantId, id: &str) -> String {
    format!("tautan:{{{tenant}}}:code:{id}")
}

const TOLD: &str = ":told";

/// The channel of what is appended.
pub fn told(tenant: &TenantId) -> String {
    record(tenant) + TOLD
}

pub fn tenant_of_told(channel: &str) -> Option<TenantId> {
    tenant_of_record(channel.strip_suffix(TOLD)?)
}

/// A set: the tables in which the tenant has rows.
pub fn tables(tenant: &TenantId) -> String {
    format!("tautan:{{{tenant}}}:tables")
}

/// A hash: one table's rows.
pub fn rows(tenant: &TenantId, table: &str) -> String {
    format!("tautan:{{{tenant}}}:rows:{table}")
}

/// Lives as long as the incarnation does, and never again. Says how much it has to do: see [`super::census`].
pub fn heartbeat(incarnation: &str) -> String {
    format!("tautan:{{/}}:alive:{incarnation}")
}

/// A set: tenants the incarnation may own. Written before the record and removed after it; the record decides.
pub fn owned(incarnation: &str) -> String {
    format!("tautan:owned:{incarnation}")
}

/// A set: tenants of the incarnation whose wish changed, for the case that the nudge is lost.
pub fn inbox(incarnation: &str) -> String {
    format!("tautan:inbox:{incarnation}")
}

/// A list: when pairing codes were asked for one phone number, over all tenants. The number is a keyed hash.
pub fn number(hash: &str) -> String {
    format!("tautan:number:{hash}")
}

/// A channel that one instance publishes to and listens to, to see that what is published arrives.
pub fn probe(instance: &str) -> String {
    format!("tautan:probe:{instance}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenants_keys_share_its_hash_tag_and_its_channel_names_it() {
        let tenant = TenantId::parse("org:1@x").unwrap();
        for key in [record(&tenant), history(&tenant), told(&tenant), tables(&tenant), rows(&tenant, "t")] {
            assert!(key.starts_with("tautan:{org:1@x}"), "{key}");
        }
        for name in ["/", "}", "{}", "*", "%2F", "..", "a}:told", "x}:history"] {
            let odd = TenantId::parse(name).unwrap();
            assert_eq!(tenant_of_told(&told(&odd)), Some(odd.clone()), "{name}");
            assert_eq!(tenant_of_record(&record(&odd)), Some(odd.clone()), "{name}");
            assert_eq!(record(&odd).matches(['{', '}', '/', '*']).count(), 2, "{name}");
        }
        assert_eq!(tenant_of_told(&told(&tenant)), Some(tenant.clone()));
        assert_eq!(tenant_of_told(NUDGES), None);
        assert_eq!(tenant_of_record(&record(&tenant)), Some(tenant.clone()));
        assert_eq!(tenant_of_record(&history(&tenant)), None);
        assert_eq!(tenant_of_record(INCARNATIONS), None);
    }
}
