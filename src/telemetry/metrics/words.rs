//! The values of labels that no other module has a list of.

/// Declares constants and the list of all of them.
macro_rules! words {
    ($(#[$doc:meta])* $list:ident: $($name:ident = $word:literal),+ $(,)?) => {
        $(#[doc = concat!("`", $word, "`")] pub const $name: &str = $word;)+
        $(#[$doc])*
        pub(in crate::telemetry) const $list: &[&str] = &[$($name),+];
    };
}

words! {
    /// Why a reader was too slow.
    SLOW_READERS: READER_STALLED = "stalled", READER_BEHIND = "behind"
}

words! {
    /// Limits that can be reached.
    LIMITS:
    CONNECTIONS = "connections",
    CONNECTIONS_WITHOUT_TOKEN = "connections-without-token",
    CONNECTIONS_PER_ADDRESS = "connections-per-address",
    CONNECTIONS_PER_TENANT = "connections-per-tenant",
    DESCRIPTORS = "descriptors",
    STREAMS = "streams",
    STREAMS_PER_TENANT = "streams-per-tenant",
    STREAM_OPENINGS = "stream-openings",
    COMMANDS = "commands",
    READS = "reads",
    PAIR_CODES = "pair-codes",
    NUMBER_CODES = "number-codes",
    DIALS = "dials",
    SESSIONS = "sessions",
}

words! {
    /// How a webhook request can end.
    WEBHOOKS:
    WEBHOOK_DELIVERED = "delivered",
    WEBHOOK_REFUSED = "refused",
    WEBHOOK_UNREACHABLE = "unreachable",
    WEBHOOK_GONE = "gone",
}

words! {
    /// What can go wrong with Redis.
    REDIS_ERRORS:
    REDIS_AWAY = "away",
    REDIS_SLOW = "slow",
    REDIS_UNUSABLE = "unusable",
    REDIS_REFUSED = "refused",
    REDIS_UNEXPECTED = "unexpected",
}
