use async_trait::async_trait;
use bytes::{BufMut, Bytes, BytesMut};
use whatsapp_rust::store::{
    MessageSecret, MsgSecretEntry, MsgSecretStore, merge_msg_secret_expiry, merge_msg_secret_message_ts,
};

use super::{Keys, LibraryResult, as_array, joined, put};
use crate::store::{Change, StoreError};

const SECRET: &str = "secret";
const LENGTH: usize = 8 + 8 + size_of::<MessageSecret>();

/// Secrets are needed only to read what follows a message (a vote, an edit). Beyond this many the oldest fourth is
/// removed.
const ROWS_MAX: usize = 1024;

#[derive(Clone, Copy)]
struct Row {
    expires_at: i64,
    message_ts: i64,
    secret: MessageSecret,
}

impl Row {
    fn read(row: &[u8]) -> Result<Self, StoreError> {
        let row: [u8; LENGTH] = as_array(row)?;
        let (expires_at, rest) = row.split_at(8);
        let (message_ts, secret) = rest.split_at(8);
        Ok(Self {
            expires_at: i64::from_be_bytes(as_array(expires_at)?),
            message_ts: i64::from_be_bytes(as_array(message_ts)?),
            secret: as_array(secret)?,
        })
    }

    fn write(&self) -> Bytes {
        let mut row = BytesMut::with_capacity(LENGTH);
        row.put_i64(self.expires_at);
        row.put_i64(self.message_ts);
        row.put_slice(&self.secret);
        row.freeze()
    }

    fn merged(self, old: Self) -> Self {
        Self {
            expires_at: merge_msg_secret_expiry(old.expires_at, self.expires_at),
            message_ts: merge_msg_secret_message_ts(old.message_ts, self.message_ts),
            secret: self.secret,
        }
    }
}

fn key(chat: &str, sender: &str, msg_id: &str) -> Bytes {
    joined(&[chat.as_bytes(), sender.as_bytes(), msg_id.as_bytes()])
}

impl Keys {
    /// Keys of the rows to remove so that `coming` rows fit.
    async fn crowded_out(&self, count: usize, coming: usize) -> Result<Vec<Bytes>, StoreError> {
        if count + coming <= ROWS_MAX {
            return Ok(Vec::new());
        }
        let mut rows = Vec::new();
        for (key, row) in self.table(SECRET).await? {
            rows.push((Row::read(&row)?.message_ts, key));
        }
        rows.sort_unstable();
        let surplus = (rows.len() + coming).saturating_sub(ROWS_MAX - ROWS_MAX / 4);
        Ok(rows.into_iter().take(surplus).map(|(_, key)| key).collect())
    }
}

#[async_trait]
impl MsgSecretStore for Keys {
    async fn put_msg_secrets(&self, entries: Vec<MsgSecretEntry>) -> LibraryResult<usize> {
        let stored = entries.len();
        // The newest of a batch that is larger than the table itself.
        let entries = entries.into_iter().skip(stored.saturating_sub(ROWS_MAX / 2));
        let mut known = self.secrets.lock().await;
        let mut count = match *known {
            Some(count) => count,
            None => self.table(SECRET).await.map_err(|error| self.library_error(error))?.len(),
        };
        let entries: Vec<_> = entries.map(|entry| (key(&entry.chat, &entry.sender, &entry.msg_id), entry)).collect();
        let keys: Vec<_> = entries.iter().map(|(key, _)| key.clone()).collect();
        let old = self.get_many(SECRET, &keys).await.map_err(|error| self.library_error(error))?;
        let mut fresh = Vec::with_capacity(entries.len());
        for ((key, entry), old) in entries.into_iter().zip(old) {
            let row = Row { expires_at: entry.expires_at, message_ts: entry.message_ts, secret: entry.secret };
            let row = match old {
                Some(old) => row.merged(Row::read(&old).map_err(|error| self.library_error(error))?),
                None => row,
            };
            fresh.push((key, row));
        }
        let surplus = self.crowded_out(count, fresh.len()).await.map_err(|error| self.library_error(error))?;
        count = (count + fresh.len()).saturating_sub(surplus.len());
        let mut changes: Vec<_> = surplus.into_iter().map(|key| Change::Delete { table: SECRET, key }).collect();
        changes.extend(fresh.into_iter().map(|(key, row)| put(SECRET, key, row.write())));
        self.write(changes).await.map_err(|error| self.library_error(error))?;
        *known = Some(count);
        Ok(stored)
    }

    async fn get_msg_secret(&self, chat: &str, sender: &str, msg_id: &str) -> LibraryResult<Option<Vec<u8>>> {
        Ok(self.get_msg_secret_with_ts(chat, sender, msg_id).await?.map(|(secret, _)| secret))
    }

    async fn get_msg_secret_with_ts(
        &self,
        chat: &str,
        sender: &str,
        msg_id: &str,
    ) -> LibraryResult<Option<(Vec<u8>, i64)>> {
        let row = self.get(SECRET, &key(chat, sender, msg_id)).await.map_err(|error| self.library_error(error))?;
        let row = row.map(|row| Row::read(&row)).transpose().map_err(|error| self.library_error(error))?;
        Ok(row.map(|row| (row.secret.to_vec(), row.message_ts)))
    }

    async fn delete_expired_msg_secrets(&self, cutoff_timestamp: i64) -> LibraryResult<u32> {
        let mut known = self.secrets.lock().await;
        let mut kept = 0;
        let mut expired = Vec::new();
        for (key, row) in self.table(SECRET).await.map_err(|error| self.library_error(error))? {
            let expires_at = Row::read(&row).map_err(|error| self.library_error(error))?.expires_at;
            if expires_at == 0 || expires_at > cutoff_timestamp {
                kept += 1;
            } else {
                expired.push(Change::Delete { table: SECRET, key });
            }
        }
        let count = expired.len() as u32;
        if count > 0 {
            self.write(expired).await.map_err(|error| self.library_error(error))?;
        }
        *known = Some(kept);
        Ok(count)
    }
}
