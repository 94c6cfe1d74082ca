use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::PoisonError,
};

use async_trait::async_trait;
use whatsapp_rust::store::{DeviceListRecord, LidPnMappingEntry, ProtocolStore, TcTokenEntry};

use super::{Keys, LibraryResult, as_text, from_json, put, text, to_json};
use crate::store::{Change, StoreError};

/// One row per group: device → whether it has this device's sender key.
const SENDER_KEY_DEVICES: &str = "sender-key-devices";
const LID: &str = "lid";
/// Phone number → LID.
const PN: &str = "pn";
const DEVICES: &str = "devices";
const TC_TOKEN: &str = "tc-token";

type HasKey = BTreeMap<String, bool>;

impl Keys {
    async fn lid_changes(&self, entries: &[LidPnMappingEntry]) -> Result<Vec<Change>, StoreError> {
        let lids: Vec<_> = entries.iter().map(|entry| text(&entry.lid)).collect();
        let phones: Vec<_> = entries.iter().map(|entry| text(&entry.phone_number)).collect();
        let (kept, of_phones) = (self.get_many(LID, &lids).await?, self.get_many(PN, &phones).await?);
        let mut changes = Vec::new();
        let mut batch: HashMap<&str, &str> = HashMap::new();
        for ((entry, kept), of_phone) in entries.iter().zip(kept).zip(of_phones) {
            let row = to_json(entry)?;
            // After a restart the library writes the same mapping of each contact again.
            let known = kept.as_ref() == Some(&row) && of_phone.is_some_and(|lid| *lid == *entry.lid.as_bytes());
            if known && !batch.contains_key(entry.lid.as_str()) {
                continue;
            }
            // An earlier entry of this batch counts as saved.
            let old: Option<String> = match batch.get(entry.lid.as_str()) {
                Some(phone) => Some((*phone).to_owned()),
                None => match kept {
                    Some(kept) => Some(from_json::<LidPnMappingEntry>(&kept)?.phone_number),
                    None => None,
                },
            };
            if let Some(old) = old.filter(|old| *old != entry.phone_number) {
                changes.push(Change::Delete { table: PN, key: text(&old) });
            }
            changes.push(put(PN, text(&entry.phone_number), text(&entry.lid)));
            changes.push(put(LID, text(&entry.lid), row));
            batch.insert(&entry.lid, &entry.phone_number);
        }
        Ok(changes)
    }

    /// Reads, changes and writes a token. No other such change runs meanwhile.
    async fn change_token(
        &self,
        jid: &str,
        change: impl FnOnce(Option<TcTokenEntry>) -> Option<TcTokenEntry> + Send,
    ) -> Result<(), StoreError> {
        let _alone = self.rewriting.lock().await;
        match change(self.get_json(TC_TOKEN, jid.as_bytes()).await?) {
            Some(entry) => self.put(TC_TOKEN, text(jid), to_json(&entry)?).await,
            None => Ok(()),
        }
    }
}

#[async_trait]
impl ProtocolStore for Keys {
    async fn get_sender_key_devices(&self, group_jid: &str) -> LibraryResult<Vec<(String, bool)>> {
        let row: Option<HasKey> =
            self.get_json(SENDER_KEY_DEVICES, group_jid.as_bytes()).await.map_err(|error| self.library_error(error))?;
        Ok(row.unwrap_or_default().into_iter().collect())
    }

    async fn set_sender_key_status(&self, group_jid: &str, entries: &[(&str, bool)]) -> LibraryResult<()> {
        let _alone = self.rewriting.lock().await;
        let row: Option<HasKey> =
            self.get_json(SENDER_KEY_DEVICES, group_jid.as_bytes()).await.map_err(|error| self.library_error(error))?;
        let mut devices = row.unwrap_or_default();
        devices.extend(entries.iter().map(|(device, has_key)| ((*device).to_owned(), *has_key)));
        self.put(SENDER_KEY_DEVICES, text(group_jid), to_json(&devices).map_err(|error| self.library_error(error))?)
            .await
            .map_err(|error| self.library_error(error))
    }

    async fn clear_sender_key_devices(&self, group_jid: &str) -> LibraryResult<()> {
        let _alone = self.rewriting.lock().await;
        self.delete(SENDER_KEY_DEVICES, text(group_jid)).await.map_err(|error| self.library_error(error))
    }

    async fn delete_sender_key_device_rows(&self, device_jids: &[&str]) -> LibraryResult<()> {
        let _alone = self.rewriting.lock().await;
        let mut pages = self.pages(SENDER_KEY_DEVICES);
        while let Some(rows) = pages.next().await? {
            let mut changes = Vec::new();
            for (group, row) in rows {
                let mut devices: HasKey = from_json(&row).map_err(|error| self.library_error(error))?;
                let before = devices.len();
                devices.retain(|device, _| !device_jids.contains(&device.as_str()));
                if devices.len() < before {
                    changes.push(put(
                        SENDER_KEY_DEVICES,
                        group,
                        to_json(&devices).map_err(|error| self.library_error(error))?,
                    ));
                }
            }
            self.change(changes).await?;
        }
        Ok(())
    }

    async fn clear_all_sender_key_devices(&self) -> LibraryResult<()> {
        let _alone = self.rewriting.lock().await;
        self.write(vec![Change::Clear { table: SENDER_KEY_DEVICES }]).await.map_err(|error| self.library_error(error))
    }

    async fn get_lid_mapping(&self, lid: &str) -> LibraryResult<Option<LidPnMappingEntry>> {
        self.get_json(LID, lid.as_bytes()).await.map_err(|error| self.library_error(error))
    }

    async fn get_pn_mapping(&self, phone: &str) -> LibraryResult<Option<LidPnMappingEntry>> {
        match self.get(PN, phone.as_bytes()).await.map_err(|error| self.library_error(error))? {
            Some(lid) => self.get_lid_mapping(&as_text(&lid).map_err(|error| self.library_error(error))?).await,
            None => Ok(None),
        }
    }

    async fn put_lid_mapping(&self, entry: &LidPnMappingEntry) -> LibraryResult<()> {
        self.put_lid_mappings(std::slice::from_ref(entry)).await
    }

    async fn put_lid_mappings(&self, entries: &[LidPnMappingEntry]) -> LibraryResult<()> {
        let _alone = self.rewriting.lock().await;
        let changes = self.lid_changes(entries).await.map_err(|error| self.library_error(error))?;
        self.change(changes).await
    }

    /// Returns no entries. The library calls this once for each client to fill a map of all contacts, which it keeps as
    /// long as the client lives: 95 MB for 100,000. [`super::Mappings`] replaces that map and reads single rows on
    /// demand.
    async fn get_all_lid_mappings(&self) -> LibraryResult<Vec<LidPnMappingEntry>> {
        Ok(Vec::new())
    }

    async fn save_base_key(&self, address: &str, message_id: &str, base_key: &[u8]) -> LibraryResult<()> {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.base_keys.put(address, message_id, base_key.to_vec());
        Ok(())
    }

    async fn has_same_base_key(&self, address: &str, message_id: &str, current_base_key: &[u8]) -> LibraryResult<bool> {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(recent.base_keys.get(address, message_id).is_some_and(|known| known == current_base_key))
    }

    async fn delete_base_key(&self, address: &str, message_id: &str) -> LibraryResult<()> {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.base_keys.take(address, message_id);
        Ok(())
    }

    async fn update_device_list(&self, record: DeviceListRecord) -> LibraryResult<()> {
        self.update_device_lists(vec![record]).await
    }

    async fn update_device_lists(&self, records: Vec<DeviceListRecord>) -> LibraryResult<()> {
        let changes: Result<Vec<_>, StoreError> =
            records.iter().map(|record| Ok(put(DEVICES, text(&record.user), to_json(record)?))).collect();
        self.write(changes.map_err(|error| self.library_error(error))?).await.map_err(|error| self.library_error(error))
    }

    async fn get_devices(&self, user: &str) -> LibraryResult<Option<DeviceListRecord>> {
        self.get_json(DEVICES, user.as_bytes()).await.map_err(|error| self.library_error(error))
    }

    async fn delete_devices(&self, user: &str) -> LibraryResult<()> {
        self.delete(DEVICES, text(user)).await.map_err(|error| self.library_error(error))
    }

    async fn get_tc_token(&self, jid: &str) -> LibraryResult<Option<TcTokenEntry>> {
        self.get_json(TC_TOKEN, jid.as_bytes()).await.map_err(|error| self.library_error(error))
    }

    async fn put_tc_token(&self, jid: &str, entry: &TcTokenEntry) -> LibraryResult<()> {
        self.change_token(jid, |_| Some(entry.clone())).await.map_err(|error| self.library_error(error))
    }

    async fn delete_tc_token(&self, jid: &str) -> LibraryResult<()> {
        let _alone = self.rewriting.lock().await;
        self.delete(TC_TOKEN, text(jid)).await.map_err(|error| self.library_error(error))
    }

    async fn get_all_tc_token_jids(&self) -> LibraryResult<Vec<String>> {
        let (mut jids, mut pages) = (BTreeSet::new(), self.pages(TC_TOKEN));
        while let Some(rows) = pages.next().await? {
            for (key, _) in rows {
                jids.insert(as_text(&key).map_err(|error| self.library_error(error))?);
            }
        }
        Ok(jids.into_iter().collect())
    }

    async fn delete_expired_tc_tokens(&self, token_cutoff: i64, sender_cutoff: i64) -> LibraryResult<u32> {
        let _alone = self.rewriting.lock().await;
        let (mut count, mut pages) = (0, self.pages(TC_TOKEN));
        while let Some(rows) = pages.next().await? {
            let mut expired = HashMap::new();
            for (key, row) in rows {
                let entry: TcTokenEntry = from_json(&row).map_err(|error| self.library_error(error))?;
                let token_lives = !entry.token.is_empty() && entry.token_timestamp >= token_cutoff;
                let sender_lives = entry.sender_timestamp.is_some_and(|at| at >= sender_cutoff);
                if !token_lives && !sender_lives {
                    expired.insert(key.clone(), Change::Delete { table: TC_TOKEN, key });
                }
            }
            count += expired.len() as u32;
            self.change(expired.into_values().collect()).await?;
        }
        Ok(count)
    }

    async fn touch_tc_token_sender_timestamp(&self, jid: &str, sender_timestamp: i64) -> LibraryResult<()> {
        let touch = |old: Option<TcTokenEntry>| {
            let old = old.unwrap_or(TcTokenEntry {
                token: Vec::new(),
                token_timestamp: sender_timestamp,
                sender_timestamp: None,
            });
            // Only forwards, whatever order the writers come in.
            let newest = old.sender_timestamp.map_or(sender_timestamp, |at| at.max(sender_timestamp));
            Some(TcTokenEntry { sender_timestamp: Some(newest), ..old })
        };
        self.change_token(jid, touch).await.map_err(|error| self.library_error(error))
    }

    async fn store_received_tc_token(&self, jid: &str, token: &[u8], token_timestamp: i64) -> LibraryResult<()> {
        let receive = |old: Option<TcTokenEntry>| {
            let stale = old.as_ref().is_some_and(|old| !old.token.is_empty() && token_timestamp < old.token_timestamp);
            let sender_timestamp = old.and_then(|old| old.sender_timestamp);
            (!stale).then(|| TcTokenEntry { token: token.to_vec(), token_timestamp, sender_timestamp })
        };
        self.change_token(jid, receive).await.map_err(|error| self.library_error(error))
    }

    async fn store_sent_message(&self, chat_jid: &str, message_id: &str, payload: &[u8]) -> LibraryResult<()> {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.sent.put(chat_jid, message_id, payload.to_vec());
        Ok(())
    }

    async fn take_sent_message(&self, chat_jid: &str, message_id: &str) -> LibraryResult<Option<Vec<u8>>> {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(recent.sent.take(chat_jid, message_id))
    }

    /// The library asks with its keepalive: what is in memory has a limit of its own.
    async fn delete_expired_sent_messages(&self, _cutoff_timestamp: i64) -> LibraryResult<u32> {
        Ok(0)
    }
}
