//! The tables of the file and the format of their rows.

use std::ops::Range;

use redb::TableDefinition;
use serde::{Deserialize, Serialize};

use zeroize::Zeroizing;

use crate::store::takeover::starting;
use crate::{
    clock::Timestamp,
    events::{Cursor, Event, Status},
    store::{
        DesiredState, StoreError,
        crypt::{self, RowLocation, TenantKeys},
    },
    tenant::TenantId,
};

// A table's name stands in the file. It may not change, although two of them are not today's words.

/// Rows of no tenant: [`FORMAT_ROW`], [`EPOCH_ROW`], [`KEY_CHECK_ROW`], [`CLIENT_VERSION_ROW`], [`IDLE_TIME_ROW`].
pub const META: TableDefinition<&str, &[u8]> = TableDefinition::new("meta");
/// By tenant: [`KeptEvent`], sealed.
pub const JOURNAL: TableDefinition<&str, &[u8]> = TableDefinition::new("journal");
/// By tenant: [`KeptDesired`], sealed.
pub const DESIRED_STATES: TableDefinition<&str, &[u8]> = TableDefinition::new("wishes");
/// By tenant, table and the row's keyed hash: key and value, sealed.
pub const CREDENTIALS: TableDefinition<(&str, &str, &[u8]), &[u8]> = TableDefinition::new("vault");

/// By a tenant's public reference: the second until which its tokens are revoked. Not sealed, since it tells neither a name
/// nor a status, and has to be read without the name.
pub const REVOCATIONS: TableDefinition<&str, i64> = TableDefinition::new("revocations");

pub const FORMAT_ROW: &str = "format";
pub const EPOCH_ROW: &str = "epoch";
/// Key check value: a sealed word that opens only with the right key.
pub const KEY_CHECK_ROW: &str = "proof";
/// A [`crate::store::ClientVersion`].
pub const CLIENT_VERSION_ROW: &str = "release";
/// An [`super::idle::IdleTime`].
pub const IDLE_TIME_ROW: &str = "idle-time";

const JOURNAL_LOCATION: RowLocation<'static> = RowLocation { table: "journal", row: b"" };
const DESIRED_LOCATION: RowLocation<'static> = RowLocation { table: "wish", row: b"" };
pub const KEY_CHECK_LOCATION: RowLocation<'static> = RowLocation { table: "proof", row: b"" };

/// A tenant's newest event as the file keeps it.
#[derive(Serialize, Deserialize)]
pub struct KeptEvent {
    pub event: Event,
    /// The event offered codes to pair with, which are never written to the disk. Its status was replaced, so its
    /// cursor must not be used again: a reader saw something else under it.
    pub replaced: bool,
    /// The back end does not know it yet.
    #[serde(rename = "untold", default)]
    pub pending_webhook: Option<PendingWebhook>,
}

/// What identifies an outbox entry to the back end, the same at every try.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub struct PendingWebhook {
    pub cursor: Cursor,
    pub at: Timestamp,
}

/// A tenant's newest desired state as the file keeps it.
#[derive(Serialize, Deserialize)]
pub struct KeptDesired {
    pub number: u64,
    pub unsettled: Option<DesiredState>,
    /// See [`super::record::Record::idle_since`]. Removed with the next desired state: every end of an idle time begins
    /// with one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_since: Option<u64>,
}

impl KeptEvent {
    /// A restart ends a pairing under way, so "starting" is its true status afterwards.
    pub fn of(event: &Event, pending_webhook: Option<PendingWebhook>) -> Self {
        let status = match &event.status {
            Status::QrPending { .. } => starting(),
            other @ (Status::Disconnected { .. } | Status::Connecting { .. } | Status::Connected { .. }) => {
                other.clone()
            }
        };
        let replaced = matches!(event.status, Status::QrPending { .. });
        Self {
            event: Event {
                journal: event.journal,
                cursor: event.cursor,
                at: event.at,
                since: event.since,
                status,
                news: event.news,
            },
            replaced,
            pending_webhook,
        }
    }

    pub fn seal(&self, keys: &TenantKeys) -> Vec<u8> {
        seal_json(keys, JOURNAL_LOCATION, self)
    }

    pub fn open(keys: &TenantKeys, sealed: &[u8]) -> Result<Self, StoreError> {
        crypt::parse(keys.open(JOURNAL_LOCATION, sealed))
    }

    /// The same row after the back end received its event. Only that field changes: words of a later version stay.
    pub fn acknowledged(keys: &TenantKeys, sealed: &[u8]) -> Result<Vec<u8>, StoreError> {
        // Anything but an object is damaged.
        let mut row: serde_json::Map<String, serde_json::Value> = crypt::parse(keys.open(JOURNAL_LOCATION, sealed))?;
        row.insert("untold".to_owned(), serde_json::Value::Null);
        Ok(seal_json(keys, JOURNAL_LOCATION, &row))
    }
}

/// The same row under another key. `None`: it does not open with the old one.
pub fn reencrypt_event(old: &TenantKeys, new: &TenantKeys, sealed: &[u8]) -> Option<Vec<u8>> {
    reencrypt_row(old, new, JOURNAL_LOCATION, sealed)
}

/// Like [`reencrypt_event`].
pub fn reencrypt_desired(old: &TenantKeys, new: &TenantKeys, sealed: &[u8]) -> Option<Vec<u8>> {
    reencrypt_row(old, new, DESIRED_LOCATION, sealed)
}

/// Encrypts it again without parsing it: a word of a later version would be lost.
fn reencrypt_row(old: &TenantKeys, new: &TenantKeys, location: RowLocation<'_>, sealed: &[u8]) -> Option<Vec<u8>> {
    Some(new.seal(location, &old.open(location, sealed)?))
}

impl KeptDesired {
    pub fn seal(&self, keys: &TenantKeys) -> Vec<u8> {
        seal_json(keys, DESIRED_LOCATION, self)
    }

    pub fn open(keys: &TenantKeys, sealed: &[u8]) -> Result<Self, StoreError> {
        crypt::parse(keys.open(DESIRED_LOCATION, sealed))
    }
}

fn seal_json(keys: &TenantKeys, location: RowLocation<'_>, row: &impl Serialize) -> Vec<u8> {
    let json = serde_json::to_vec(row).expect("these types have string keys and no failing serializer");
    keys.seal(location, &json)
}

/// A credential's key and value in one: the key's length, the key, the value.
pub fn seal_row(keys: &TenantKeys, table: &str, key: &[u8], value: &[u8]) -> ([u8; 32], Vec<u8>) {
    let name = keys.row(table, key);
    let length = u32::try_from(key.len()).expect("a row's key is short").to_le_bytes();
    let plain = Zeroizing::new([&length, key, value].concat());
    (name, keys.seal(RowLocation { table, row: &name }, &plain))
}

/// `None`: sealed with another key, or for another location.
pub fn open_row(keys: &TenantKeys, table: &str, name: &[u8], sealed: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let plain = keys.open(RowLocation { table, row: name }, sealed)?;
    let (length, rest) = plain.split_first_chunk::<4>()?;
    let (key, value) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    Some((key.to_vec(), value.to_vec()))
}

/// The credentials of a tenant, all or those of one table, as a range of [`CREDENTIALS`]'s keys.
pub struct Span<'a> {
    from: (&'a str, &'a str),
    end: String,
}

impl<'a> Span<'a> {
    pub fn of_tenant(tenant: &'a TenantId) -> Self {
        Self { from: (tenant.as_str(), ""), end: after(tenant.as_str()) }
    }

    pub fn of_table(tenant: &'a TenantId, table: &'a str) -> Self {
        Self { from: (tenant.as_str(), table), end: after(table) }
    }

    pub fn keys(&self) -> Range<(&str, &str, &[u8])> {
        let (tenant, table) = self.from;
        let end = if table.is_empty() { (self.end.as_str(), "") } else { (tenant, self.end.as_str()) };
        (tenant, table, [].as_slice())..(end.0, end.1, [].as_slice())
    }
}

/// The next text in sort order: no text sorts between one and the same with a zero byte appended.
pub fn after(text: &str) -> String {
    format!("{text}\0")
}

#[cfg(test)]
mod fuzz;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        events::{Account, EventId, JournalId, PairCode, PairingId, PhoneNumber, QrCode},
        store::crypt::MasterKey,
    };

    fn id() -> EventId {
        EventId { journal: JournalId::new(7), cursor: Cursor { epoch: 1, sequence: 1 } }
    }

    #[test]
    fn account_saved_before_platforms_existed_is_read() {
        let at = Timestamp::UNIX_EPOCH;
        let phone = PhoneNumber::parse("6281234567890").unwrap();
        let status = Status::Connected { account: Account { phone, name: None, platform: None } };
        let event = Event::after(None, id(), at, status);
        let json = serde_json::to_string(&KeptEvent::of(&event, None)).unwrap();
        let before = json.replace(",\"platform\":null", "");
        assert_ne!(before, json);
        let keys = TenantKeys::new(&MasterKey::from([7; 32]), &TenantId::parse("a").unwrap());
        let kept = KeptEvent::open(&keys, &keys.seal(JOURNAL_LOCATION, before.as_bytes())).unwrap();
        assert_eq!(kept.event, event);
    }

    #[test]
    fn codes_to_pair_with_are_not_even_sealed() {
        let at = Timestamp::UNIX_EPOCH;
        let phone = PhoneNumber::parse("6281234567890").unwrap();
        let pair = PairCode { code: "ABCD-1234".into(), phone, expires_at: at, lifetime: None };
        let qr = QrCode::new("2@qr-secret".into(), at, 1, 6, PairingId::new(1)).unwrap();
        let status = Status::QrPending { qr, pair: Some(pair) };
        let kept = KeptEvent::of(&Event::after(None, id(), at, status), None);
        let json = serde_json::to_string(&kept).unwrap();
        assert_eq!(kept.event.status, starting());
        assert!(kept.replaced);
        for secret in ["qr-secret", "ABCD-1234", "6281234567890", "qr_pending"] {
            assert!(!json.contains(secret), "{json}");
        }
    }
}
