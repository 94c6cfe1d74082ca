//! Encrypts what leaves this process with the tenant's own key: events, desired states, messages and rows.

use std::time::Duration;

use serde::{Serialize, de::DeserializeOwned};
use zeroize::Zeroizing;

use crate::{
    clock::Timestamp,
    events::{Cursor, Event, EventId, QrCode, Status},
    store::{
        DesiredState, StoreError,
        crypt::{self, MasterKeys, Ring, RowLocation},
        redis::script::Call,
    },
    tenant::TenantId,
};

const OWNER_MESSAGE_PLACE: RowLocation<'static> = RowLocation { table: "message", row: b"" };
/// The most time for which a code is kept, also if a clock is wrong.
const CODE_AGE_MAX: Duration = Duration::from_secs(600);
const NO_OWNER: &str = "-";
/// The text of a code that has expired.
const EXPIRED: &str = "expired";

pub struct Seals {
    ring: Ring,
    tenant: TenantId,
    /// Whether changes of the status go to the outbox.
    keeps_outbox: bool,
}

/// An event on its way into Redis.
pub struct Outgoing {
    id: String,
    kept: Vec<u8>,
    code: Option<(Vec<u8>, u64)>,
    message: Vec<u8>,
    /// For the outbox: the tenant, the event's id, and its time in ms.
    outbox: Option<(TenantId, EventId, i64)>,
}

#[cfg(test)]
impl Outgoing {
    pub fn into_message(self) -> Vec<u8> {
        self.message
    }
}

/// A message on a tenant's channel.
pub enum Message {
    /// Read the record again: whether the status is stale may have changed.
    Refresh,
    Event {
        previous: Option<Cursor>,
        event: Box<Event>,
        /// The owner's incarnation, if there is one.
        owner: Option<String>,
    },
}

impl Seals {
    pub fn new(master: &MasterKeys, tenant: &TenantId, keeps_outbox: bool) -> Self {
        Self { ring: master.tenant(tenant), tenant: tenant.clone(), keeps_outbox }
    }

    /// The history keeps an event without its codes to pair with. The whole event is kept beside it until the codes expire.
    pub fn outgoing(&self, previous: Option<&Event>, event: &Event, owner: Option<&str>) -> Outgoing {
        let id = stream_id(event.cursor);
        let whole = self.seal(&id, event);
        let header = format!(
            "{} {id} {}\n",
            previous.map_or(NO_OWNER.into(), |previous| stream_id(previous.cursor)),
            owner.unwrap_or(NO_OWNER)
        );
        let message = [header.as_bytes(), &whole].concat();
        let news = self.keeps_outbox && event.is_news_after(previous);
        let outbox = news.then(|| (self.tenant.clone(), event.id(), event.at.as_millisecond()));
        match without_codes(event) {
            None => Outgoing { id, kept: whole, code: None, message, outbox },
            Some((bare, expires_at)) => {
                let left = Duration::try_from(expires_at.duration_since(event.at)).unwrap_or(Duration::ZERO);
                let ttl_ms = left.clamp(Duration::from_millis(1), CODE_AGE_MAX).as_millis() as u64;
                Outgoing { kept: self.seal(&id, &bare), id, code: Some((whole, ttl_ms)), message, outbox }
            }
        }
    }

    pub fn open_event(&self, id: &str, sealed: &[u8]) -> Result<Event, StoreError> {
        self.open(event_place(id), sealed)
    }

    pub fn open_message(&self, payload: &[u8]) -> Option<Message> {
        if payload == b"refresh" {
            return Some(Message::Refresh);
        }
        let end = payload.iter().position(|&byte| byte == b'\n')?;
        let mut words = std::str::from_utf8(&payload[..end]).ok()?.split(' ');
        let (previous, id, owner) = (words.next()?, words.next()?, words.next()?);
        let previous = if previous == NO_OWNER { None } else { Some(parse_stream_id(previous)?) };
        let event = Box::new(self.open_event(id, &payload[end + 1..]).ok()?);
        Some(Message::Event { previous, event, owner: (owner != NO_OWNER).then(|| owner.to_owned()) })
    }

    pub fn desired(&self, number: u64, desired: &DesiredState) -> Vec<u8> {
        let json = Zeroizing::new(json(desired));
        self.ring.seal(desired_place(&number.to_be_bytes()), &json)
    }

    pub fn open_desired(&self, number: u64, sealed: &[u8]) -> Result<DesiredState, StoreError> {
        self.open(desired_place(&number.to_be_bytes()), sealed)
    }

    pub fn owner_message(&self, message: &[u8]) -> Vec<u8> {
        self.ring.seal(OWNER_MESSAGE_PLACE, message)
    }

    pub fn open_owner_message(&self, sealed: &[u8]) -> Option<Vec<u8>> {
        Some(self.ring.open(OWNER_MESSAGE_PLACE, sealed)?.to_vec())
    }

    /// The name of a credential.
    pub fn row_name(&self, table: &str, key: &[u8]) -> [u8; 32] {
        self.ring.row(table, key)
    }

    /// The name that it may still have while the key is being replaced.
    pub fn previous_row_name(&self, table: &str, key: &[u8]) -> Option<[u8; 32]> {
        self.ring.previous_row(table, key)
    }

    /// A credential's name, and its key and value in one row: the key's length, the key, the value.
    pub fn row(&self, table: &str, key: &[u8], value: &[u8]) -> ([u8; 32], Vec<u8>) {
        let name = self.ring.row(table, key);
        let length = u32::try_from(key.len()).expect("a row's key is short").to_le_bytes();
        let plain = Zeroizing::new([&length, key, value].concat());
        (name, self.ring.seal(RowLocation { table, row: &name }, &plain))
    }

    /// `None`: encrypted with another key, or for another place.
    pub fn open_row(&self, table: &str, name: &[u8], sealed: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
        let plain = self.ring.open(RowLocation { table, row: name }, sealed)?;
        let (key, value) = split_row(&plain)?;
        Some((key.to_vec(), value.to_vec()))
    }

    /// Encrypted again with the current key. `None` of these three: it was so already, or neither key opens it.
    pub fn event_anew(&self, id: &str, sealed: &[u8]) -> Option<Vec<u8>> {
        self.anew(event_place(id), sealed)
    }

    pub fn desired_anew(&self, number: u64, sealed: &[u8]) -> Option<Vec<u8>> {
        self.anew(desired_place(&number.to_be_bytes()), sealed)
    }

    /// With its new name.
    pub fn row_anew(&self, table: &str, name: &[u8], sealed: &[u8]) -> Option<([u8; 32], Vec<u8>)> {
        let plain = self.ring.open_previous(RowLocation { table, row: name }, sealed)?;
        let name = self.ring.row(table, split_row(&plain)?.0);
        Some((name, self.ring.seal(RowLocation { table, row: &name }, &plain)))
    }

    fn anew(&self, place: RowLocation<'_>, sealed: &[u8]) -> Option<Vec<u8>> {
        Some(self.ring.seal(place, &self.ring.open_previous(place, sealed)?))
    }

    fn seal(&self, id: &str, event: &Event) -> Vec<u8> {
        self.ring.seal(event_place(id), &Zeroizing::new(json(event)))
    }

    fn open<T: DeserializeOwned>(&self, place: RowLocation<'_>, sealed: &[u8]) -> Result<T, StoreError> {
        crypt::parse(self.ring.open(place, sealed))
    }
}

fn event_place(id: &str) -> RowLocation<'_> {
    RowLocation { table: "event", row: id.as_bytes() }
}

fn desired_place(number: &[u8]) -> RowLocation<'_> {
    RowLocation { table: "desired", row: number }
}

/// Key and value.
fn split_row(plain: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = plain.split_first_chunk::<4>()?;
    rest.split_at_checked(u32::from_le_bytes(*length) as usize)
}

fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("these types have string keys and no failing serializer")
}

/// The event without its codes, and when they expire. `None`: it has no codes. The event keeps its status word and its
/// cursor; its code is one that has always been expired, so no reader shows it.
fn without_codes(event: &Event) -> Option<(Event, Timestamp)> {
    let Status::QrPending { qr, pair } = &event.status else { return None };
    let expires_at = pair.iter().map(|pair| pair.ends(event.at)).fold(qr.ends(event.at), Timestamp::max);
    let expired = QrCode::new(EXPIRED.into(), event.at, qr.attempt, qr.attempts_max, qr.pairing).expect("it is short");
    Some((Event { status: Status::QrPending { qr: expired, pair: None }, ..event.clone() }, expires_at))
}

/// The id of the entry in the stream: two numbers, ordered as cursors are.
pub fn stream_id(cursor: Cursor) -> String {
    format!("{}-{}", cursor.epoch, cursor.sequence)
}

pub fn parse_stream_id(id: &str) -> Option<Cursor> {
    let (epoch, sequence) = id.split_once('-')?;
    Some(Cursor { epoch: epoch.parse().ok()?, sequence: sequence.parse().ok()? })
}

/// The seven arguments that `publish_event` in `scripts/event.lua` reads.
pub fn with_event(call: Call, event: Option<&Outgoing>) -> Call {
    match event {
        None => call.arg("").arg("").arg("").arg("").arg("").arg("").arg(""),
        Some(Outgoing { id, kept, code, message, outbox }) => {
            let (code, ttl_ms) = code.as_ref().map_or((&[][..], 0), |(code, ttl_ms)| (code.as_slice(), *ttl_ms));
            let call = call.arg(id).arg(kept).arg(code).arg(ttl_ms).arg(message);
            match outbox {
                None => call.arg("").arg(""),
                Some((tenant, id, at_ms)) => call.arg(id.to_string()).arg(*at_ms).with_outbox_entry_of(tenant.clone()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        events::{Account, JournalId, PairingId, PhoneNumber},
        store::crypt::MasterKey,
    };

    /// The code was given before the clock was set back by an hour, its record is written after.
    #[test]
    fn code_is_kept_no_longer_than_its_lifetime() {
        let keys = MasterKeys { current: MasterKey::from([7; 32]), previous: None };
        let seals = Seals::new(&keys, &TenantId::parse("a").unwrap(), false);
        let (hour, minute) = (Duration::from_secs(3_600), Duration::from_secs(60));
        let given_at = Timestamp::UNIX_EPOCH + hour;
        let qr = QrCode::new("2@x".into(), given_at + minute, 1, 6, PairingId::new(1)).unwrap().given_for(minute);
        let id = EventId { journal: JournalId::new(7), cursor: Cursor { epoch: 1, sequence: 1 } };
        let ttl = |at| {
            let event = Event::after(None, id, at, Status::QrPending { qr: qr.clone(), pair: None });
            seals.outgoing(None, &event, None).code.unwrap().1
        };
        assert_eq!(ttl(given_at), 60_000);
        assert_eq!(ttl(given_at - hour), 60_000);
    }

    #[test]
    fn account_without_platform_is_read() {
        let keys = MasterKeys { current: MasterKey::from([7; 32]), previous: None };
        let seals = Seals::new(&keys, &TenantId::parse("a").unwrap(), false);
        let phone = PhoneNumber::parse("6281234567890").unwrap();
        let status = Status::Connected { account: Account { phone, name: None, platform: None } };
        let id = EventId { journal: JournalId::new(7), cursor: Cursor { epoch: 1, sequence: 1 } };
        let event = Event::after(None, id, Timestamp::UNIX_EPOCH, status);
        let json = serde_json::to_string(&event).unwrap();
        let before = json.replace(",\"platform\":null", "");
        assert_ne!(before, json);
        let id = stream_id(event.cursor);
        let opened = seals.open_event(&id, &seals.ring.seal(event_place(&id), before.as_bytes()));
        assert_eq!(opened.expect("it is read"), event);
    }
}
