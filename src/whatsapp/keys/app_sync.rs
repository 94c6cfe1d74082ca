use std::collections::HashMap;

use async_trait::async_trait;
use bytes::Bytes;
use whatsapp_rust::{
    store::{AppStateSyncKey, AppSyncStore},
    wacore::appstate::{hash::HashState, processor::AppStateMutationMAC},
};

use super::{Keys, LibraryResult, joined, put, text, to_json};
use crate::store::Change;

/// The type that the library uses.
type IndexMac = [u8; 32];

const SYNC_KEY: &str = "sync-key";
const SYNC_KEY_LATEST: &str = "sync-key-latest";
const SYNC_VERSION: &str = "sync-version";
const SYNC_MAC: &str = "sync-mac";

fn mac_key(name: &str, index_mac: &[u8]) -> Bytes {
    joined(&[name.as_bytes(), index_mac])
}

#[async_trait]
impl AppSyncStore for Keys {
    async fn get_sync_key(&self, key_id: &[u8]) -> LibraryResult<Option<AppStateSyncKey>> {
        self.get_json(SYNC_KEY, key_id).await.map_err(|error| self.library_error(error))
    }

    async fn set_sync_key(&self, key_id: &[u8], key: AppStateSyncKey) -> LibraryResult<()> {
        let key_id = Bytes::copy_from_slice(key_id);
        let changes = vec![
            put(SYNC_KEY, key_id.clone(), to_json(&key).map_err(|error| self.library_error(error))?),
            put(SYNC_KEY_LATEST, Bytes::new(), key_id),
        ];
        self.write(changes).await.map_err(|error| self.library_error(error))
    }

    async fn get_version(&self, name: &str) -> LibraryResult<HashState> {
        Ok(self
            .get_json(SYNC_VERSION, name.as_bytes())
            .await
            .map_err(|error| self.library_error(error))?
            .unwrap_or_default())
    }

    async fn set_version(&self, name: &str, state: HashState) -> LibraryResult<()> {
        self.put(SYNC_VERSION, text(name), to_json(&state).map_err(|error| self.library_error(error))?)
            .await
            .map_err(|error| self.library_error(error))
    }

    async fn put_mutation_macs(
        &self,
        name: &str,
        _version: u64,
        mutations: &[AppStateMutationMAC],
    ) -> LibraryResult<()> {
        let changes =
            mutations.iter().map(|m| put(SYNC_MAC, mac_key(name, &m.index_mac), m.value_mac.clone())).collect();
        self.write(changes).await.map_err(|error| self.library_error(error))
    }

    async fn get_mutation_mac(&self, name: &str, index_mac: &[u8]) -> LibraryResult<Option<Vec<u8>>> {
        Ok(self
            .get(SYNC_MAC, &mac_key(name, index_mac))
            .await
            .map_err(|error| self.library_error(error))?
            .map(Into::into))
    }

    async fn delete_mutation_macs(&self, name: &str, index_macs: &[Vec<u8>]) -> LibraryResult<()> {
        let changes =
            index_macs.iter().map(|mac| Change::Delete { table: SYNC_MAC, key: mac_key(name, mac) }).collect();
        self.write(changes).await.map_err(|error| self.library_error(error))
    }

    async fn get_mutation_macs(
        &self,
        name: &str,
        index_macs: &[IndexMac],
    ) -> LibraryResult<HashMap<IndexMac, Vec<u8>>> {
        let keys: Vec<_> = index_macs.iter().map(|mac| mac_key(name, mac)).collect();
        let rows = self.get_many(SYNC_MAC, &keys).await.map_err(|error| self.library_error(error))?;
        Ok(index_macs.iter().zip(rows).filter_map(|(mac, row)| Some((*mac, row?.into()))).collect())
    }

    /// Once per snapshot of a collection.
    async fn clear_mutation_macs(&self, name: &str) -> LibraryResult<()> {
        let collection = joined(&[name.as_bytes()]);
        let mut pages = self.pages(SYNC_MAC);
        while let Some(rows) = pages.next().await? {
            let of_collection = rows.into_iter().filter(|(key, _)| key.starts_with(&collection));
            self.change(of_collection.map(|(key, _)| Change::Delete { table: SYNC_MAC, key }).collect()).await?;
        }
        Ok(())
    }

    async fn get_latest_sync_key_id(&self) -> LibraryResult<Option<Vec<u8>>> {
        Ok(self.get(SYNC_KEY_LATEST, b"").await.map_err(|error| self.library_error(error))?.map(Into::into))
    }
}
