use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use whatsapp_rust::{
    CacheStore, anyhow,
    store::{LidPnMappingEntry, ProtocolStore as _},
    wacore::types::{LearningSource, LidPnEntry},
};

use super::{
    Keys,
    recent::{Cache, Limit},
};

/// A contact takes two rows, some 600 bytes.
const LIMIT: Limit = Limit { rows: 4_096, bytes: 2 << 20 };

/// The library's names for its two maps.
const BY_LID: &str = "lid_pn_by_lid";
const BY_PHONE: &str = "lid_pn_by_pn";

/// The library's map between phone numbers and hidden identities, which grows with the account's contacts. This one
/// holds the mappings that were used last, and reads the others from the credential store on demand. The library treats
/// a missing mapping as unknown, so every saved mapping must be found.
pub(in crate::whatsapp) struct Mappings {
    keys: Arc<Keys>,
    /// `None`: the credential store has no such row.
    known: Mutex<Cache<Option<Vec<u8>>>>,
}

impl Mappings {
    pub fn new(keys: Arc<Keys>) -> Self {
        Self { keys, known: Mutex::new(Cache::new(LIMIT)) }
    }

    fn known<T>(&self, use_it: impl FnOnce(&mut Cache<Option<Vec<u8>>>) -> T) -> T {
        use_it(&mut self.known.lock().unwrap_or_else(PoisonError::into_inner))
    }

    async fn read(&self, namespace: &str, key: &str) -> anyhow::Result<Option<Vec<u8>>> {
        let row = match namespace {
            BY_LID => self.keys.get_lid_mapping(key).await?,
            BY_PHONE => self.keys.get_pn_mapping(key).await?,
            _ => None,
        };
        Ok(row.map(|row| serde_json::to_vec(&entry(row))).transpose()?)
    }
}

fn entry(row: LidPnMappingEntry) -> LidPnEntry {
    let source = LearningSource::parse(&row.learning_source);
    LidPnEntry::with_timestamp(row.lid, row.phone_number, row.created_at, source)
}

/// Values that the library sets here are also saved by [`Keys`], or may be forgotten: the library loses them at a
/// restart as well.
#[async_trait]
impl CacheStore for Mappings {
    async fn get(&self, namespace: &str, key: &str) -> anyhow::Result<Option<Vec<u8>>> {
        if let Some(known) = self.known(|known| known.get(namespace, key).cloned()) {
            return Ok(known);
        }
        let read = self.read(namespace, key).await?;
        Ok(self.known(|known| match known.get(namespace, key) {
            // Set while the row was read, so newer.
            Some(set) => set.clone(),
            None => {
                known.put(namespace, key, read.clone());
                read
            }
        }))
    }

    async fn set(&self, namespace: &str, key: &str, value: &[u8], _ttl: Option<Duration>) -> anyhow::Result<()> {
        self.known(|known| known.put(namespace, key, Some(value.to_vec())));
        Ok(())
    }

    async fn delete(&self, namespace: &str, key: &str) -> anyhow::Result<()> {
        self.known(|known| known.take(namespace, key));
        Ok(())
    }

    async fn clear(&self, _namespace: &str) -> anyhow::Result<()> {
        self.known(Cache::clear);
        Ok(())
    }
}
