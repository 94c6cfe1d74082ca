use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use whatsapp_rust::{Jid, Server, store::SignalStore, wacore::types::jid::JidExt as _};

use super::{Keys, LibraryResult, as_array, as_number, put, text};
use crate::store::Change;

const IDENTITY: &str = "identity";
const SESSION: &str = "session";
const PREKEY: &str = "prekey";
const SIGNED_PREKEY: &str = "signed-prekey";
const SENDER_KEY: &str = "sender-key";

/// The library looks for no device of a user beyond this number.
const DEVICES_MAX: u16 = 100;

fn number(id: u32) -> Bytes {
    Bytes::copy_from_slice(&id.to_be_bytes())
}

/// The addresses under which the library may have saved rows of a user: one for each device that it looks for.
fn addresses(user: &str) -> impl Iterator<Item = Bytes> {
    let servers = [Server::Pn, Server::Lid, Server::Hosted, Server::HostedLid];
    servers.into_iter().flat_map(move |server| {
        let user = Jid::new(user, server);
        (0..DEVICES_MAX).map(move |device| text(user.with_device(device).to_protocol_address().as_str()))
    })
}

#[async_trait]
impl SignalStore for Keys {
    async fn put_identity(&self, address: &str, key: [u8; 32]) -> LibraryResult<()> {
        self.put(IDENTITY, text(address), key.to_vec()).await.map_err(|error| self.library_error(error))
    }

    async fn put_identities_batch(&self, identities: &[(Arc<str>, [u8; 32])]) -> LibraryResult<()> {
        let changes = identities.iter().map(|(address, key)| put(IDENTITY, text(address), key.to_vec())).collect();
        self.write(changes).await.map_err(|error| self.library_error(error))
    }

    async fn load_identity(&self, address: &str) -> LibraryResult<Option<[u8; 32]>> {
        let row = self.get(IDENTITY, address.as_bytes()).await.map_err(|error| self.library_error(error))?;
        row.map(|row| as_array(&row)).transpose().map_err(|error| self.library_error(error))
    }

    async fn delete_identity(&self, address: &str) -> LibraryResult<()> {
        self.delete(IDENTITY, text(address)).await.map_err(|error| self.library_error(error))
    }

    async fn get_session(&self, address: &str) -> LibraryResult<Option<Bytes>> {
        self.get(SESSION, address.as_bytes()).await.map_err(|error| self.library_error(error))
    }

    async fn put_session(&self, address: &str, session: &[u8]) -> LibraryResult<()> {
        self.put(SESSION, text(address), session.to_vec()).await.map_err(|error| self.library_error(error))
    }

    async fn put_sessions_batch(&self, sessions: &[(Arc<str>, Bytes)]) -> LibraryResult<()> {
        let changes = sessions.iter().map(|(address, session)| put(SESSION, text(address), session.clone())).collect();
        self.write(changes).await.map_err(|error| self.library_error(error))
    }

    async fn delete_session(&self, address: &str) -> LibraryResult<()> {
        self.delete(SESSION, text(address)).await.map_err(|error| self.library_error(error))
    }

    /// The library calls this before it moves rows from a number's addresses to those of its hidden identity. False
    /// saves it a few hundred lookups.
    async fn has_signal_state_for_user(&self, user: &str) -> LibraryResult<bool> {
        let addresses: Vec<_> = addresses(user).collect();
        for table in [SESSION, IDENTITY] {
            let rows = self.get_many(table, &addresses).await.map_err(|error| self.library_error(error))?;
            if rows.iter().any(Option::is_some) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether a key was uploaded is not kept: nothing reads it back, the device row's two counters decide.
    async fn store_prekey(&self, id: u32, record: &[u8], _uploaded: bool) -> LibraryResult<()> {
        self.put(PREKEY, number(id), record.to_vec()).await.map_err(|error| self.library_error(error))
    }

    async fn store_prekeys_batch(&self, keys: &[(u32, Bytes)], _uploaded: bool) -> LibraryResult<()> {
        let changes = keys.iter().map(|(id, record)| put(PREKEY, number(*id), record.clone())).collect();
        self.write(changes).await.map_err(|error| self.library_error(error))
    }

    async fn load_prekey(&self, id: u32) -> LibraryResult<Option<Bytes>> {
        self.get(PREKEY, &id.to_be_bytes()).await.map_err(|error| self.library_error(error))
    }

    async fn load_prekeys_batch(&self, ids: &[u32]) -> LibraryResult<Vec<(u32, Bytes)>> {
        let keys: Vec<_> = ids.iter().map(|id| number(*id)).collect();
        let rows = self.get_many(PREKEY, &keys).await.map_err(|error| self.library_error(error))?;
        Ok(ids.iter().zip(rows).filter_map(|(id, row)| Some((*id, row?))).collect())
    }

    async fn mark_prekeys_uploaded(&self, _ids: &[u32]) -> LibraryResult<()> {
        Ok(())
    }

    async fn remove_prekey(&self, id: u32) -> LibraryResult<()> {
        self.delete(PREKEY, number(id)).await.map_err(|error| self.library_error(error))
    }

    async fn get_max_prekey_id(&self) -> LibraryResult<u32> {
        let rows = self.table(PREKEY).await.map_err(|error| self.library_error(error))?;
        rows.iter().try_fold(0, |max, (key, _)| Ok(as_number(key).map_err(|error| self.library_error(error))?.max(max)))
    }

    async fn store_signed_prekey(&self, id: u32, record: &[u8]) -> LibraryResult<()> {
        self.put(SIGNED_PREKEY, number(id), record.to_vec()).await.map_err(|error| self.library_error(error))
    }

    async fn load_signed_prekey(&self, id: u32) -> LibraryResult<Option<Vec<u8>>> {
        Ok(self.get(SIGNED_PREKEY, &id.to_be_bytes()).await.map_err(|error| self.library_error(error))?.map(Into::into))
    }

    async fn load_all_signed_prekeys(&self) -> LibraryResult<Vec<(u32, Vec<u8>)>> {
        let rows = self.table(SIGNED_PREKEY).await.map_err(|error| self.library_error(error))?;
        rows.into_iter()
            .map(|(key, row)| Ok((as_number(&key).map_err(|error| self.library_error(error))?, row.into())))
            .collect()
    }

    async fn remove_signed_prekey(&self, id: u32) -> LibraryResult<()> {
        self.delete(SIGNED_PREKEY, number(id)).await.map_err(|error| self.library_error(error))
    }

    async fn put_sender_key(&self, address: &str, record: &[u8]) -> LibraryResult<()> {
        self.put(SENDER_KEY, text(address), record.to_vec()).await.map_err(|error| self.library_error(error))
    }

    async fn put_sender_keys_batch(&self, sender_keys: &[(Arc<str>, Bytes)]) -> LibraryResult<()> {
        let changes: Vec<Change> =
            sender_keys.iter().map(|(address, record)| put(SENDER_KEY, text(address), record.clone())).collect();
        self.write(changes).await.map_err(|error| self.library_error(error))
    }

    async fn get_sender_key(&self, address: &str) -> LibraryResult<Option<Vec<u8>>> {
        Ok(self.get(SENDER_KEY, address.as_bytes()).await.map_err(|error| self.library_error(error))?.map(Into::into))
    }

    async fn delete_sender_key(&self, address: &str) -> LibraryResult<()> {
        self.delete(SENDER_KEY, text(address)).await.map_err(|error| self.library_error(error))
    }
}
