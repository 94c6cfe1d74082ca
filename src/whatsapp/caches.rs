use std::{sync::Arc, time::Duration};

use whatsapp_rust::{CacheConfig, CacheEntryConfig, CacheStore};

const HOUR: Option<Duration> = Some(Duration::from_secs(3600));

/// Chats whose messages are read at once. Each has a task of some 30 KiB, which the library keeps for the next message;
/// its own limit is 5,000. One that is busy is not ended.
const CHATS_MAX: u64 = 64;
/// Device lists of contacts.
const DEVICE_LISTS_MAX: u64 = 512;
/// Members of a group, and who of them has our key.
const GROUPS_MAX: u64 = 64;
const LOCKS_MAX: u64 = 512;
/// Of which contacts the library knows that their number is kept, and for whom it knows the short hash in a notice of a
/// changed device list. A contact that it does not know is kept again, and its notice is passed over: the list is asked
/// for when a message is to be sent.
const CONTACTS_MAX: u64 = 4_096;

/// What a client holds in memory of an account, however many contacts it has. The rest is read from the credential store.
pub(super) fn bounded(mappings: Arc<dyn CacheStore>) -> CacheConfig {
    let mut config = CacheConfig {
        group_cache: CacheEntryConfig::new(HOUR, GROUPS_MAX),
        device_registry_cache: CacheEntryConfig::new(HOUR, DEVICE_LISTS_MAX),
        lid_pn_cache: CacheEntryConfig::new(None, CONTACTS_MAX),
        sender_key_devices_cache: CacheEntryConfig::new(HOUR, GROUPS_MAX),
        session_locks_capacity: LOCKS_MAX,
        chat_lanes_capacity: CHATS_MAX,
        group_distribution_locks_capacity: GROUPS_MAX,
        resend_rate_limiter_capacity: LOCKS_MAX,
        ..CacheConfig::default()
    };
    config.cache_stores.lid_pn_cache = Some(mappings);
    config
}
