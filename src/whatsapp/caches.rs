use std::{sync::Arc, time::Duration};

use whatsapp_rust::{CacheConfig, CacheEntryConfig, CacheStore};

const HOUR: Option<Duration> = Some(Duration::from_secs(3600));

/// Chats whose messages are read at the same time. Each has a task of some 30 KiB, which the library keeps for the next
/// message; its own limit is 5,000. A busy task is not ended.
const CHATS_MAX: u64 = 64;
/// Device lists of contacts.
const DEVICE_LISTS_MAX: u64 = 512;
/// Groups: their members, and which of them have this device's key.
const GROUPS_MAX: u64 = 64;
const LOCKS_MAX: u64 = 512;
/// Contacts whose mapping the library knows to be saved, and whose short hash it knows from the notification of a
/// changed device list. The mapping of any other contact is saved again, and its notification is ignored: the list is
/// requested when a message is sent.
const CONTACTS_MAX: u64 = 4_096;

/// Bounds the memory of a client, however many contacts the account has. The rest is read from the credential store.
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
