use std::{collections::HashMap, sync::Arc};

use super::{connection::Live, schema::field, sealed::Seals, trouble::Trouble};
use crate::{
    clock::Timestamp,
    events::{ConnectingReason, Cursor, Event, EventId, JournalId, Status},
    store::{DesiredState, Generation, StoreError, record::Facts},
};

/// What Redis holds of a tenant, as it was read in one step. What is decided on it is written only if the record is still at
/// this version.
#[derive(Clone, Default)]
pub struct Record {
    /// Names the change that made it, so no two contents ever have the same; empty where there is no record. A number
    /// would be reached twice by a Redis that lost some changes.
    pub version: String,
    pub newest: Option<Arc<Event>>,
    /// The server's run in which the newest event was made.
    pub run: String,
    pub wish: Option<(Generation, DesiredState)>,
    pub wishes: u64,
    pub owner: Option<Owner>,
    /// A reader may have been told that the newest event is stale, and has to be told when it is no more.
    pub doubted: bool,
    pub credentials: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    pub incarnation: String,
    pub nonce: u128,
}

impl Record {
    /// `unread` is called with the name of a row that cannot be read, and why.
    pub fn parse(
        fields: &HashMap<String, Vec<u8>>,
        newest: Option<Arc<Event>>,
        credentials: bool,
        seals: &Seals,
        unread: impl Fn(&str, &StoreError),
    ) -> Result<Self, StoreError> {
        let text = |name: &str| fields.get(name).and_then(|value| std::str::from_utf8(value).ok());
        let number = |name: &str| match text(name) {
            Some(digits) => digits.parse().map_err(|_| Trouble::Nonsense(name.to_owned())),
            None => Ok(0_u64),
        };
        let wishes = number(field::WISHES)?;
        let opened = fields.get(field::WISH).map(|sealed| seals.open_wish(wishes, sealed));
        let wish = opened.map(|opened| {
            // An error would refuse all commands of the tenant, also the unlink that could end this.
            let wish = opened.unwrap_or_else(|error| {
                unread(&format!("wish {wishes}"), &error);
                DesiredState::Unknown(serde_json::Value::Null)
            });
            (Generation(wishes), wish)
        });
        let owner = match (text(field::OWNER_INCARNATION), text(field::OWNER_NONCE)) {
            (Some(incarnation), Some(nonce)) => {
                let nonce = parse_nonce(nonce).ok_or_else(|| Trouble::Nonsense(field::OWNER_NONCE.to_owned()))?;
                Some(Owner { incarnation: incarnation.to_owned(), nonce })
            }
            _ => None,
        };
        Ok(Self {
            version: text(field::VERSION).unwrap_or_default().to_owned(),
            newest,
            run: text(field::RUN).unwrap_or_default().to_owned(),
            wish,
            wishes,
            owner,
            doubted: text(field::DOUBTED) == Some("1"),
            credentials,
        })
    }

    /// There is none, not even one that says nothing.
    pub fn is_missing(&self) -> bool {
        self.version.is_empty()
    }

    pub fn facts(&self, is_owned: bool) -> Facts<'_> {
        Facts { newest: self.newest.as_ref(), desired: self.wish.as_ref(), is_owned }
    }

    pub fn is_pairing(&self) -> bool {
        self.newest.as_ref().is_some_and(|newest| is_pairing(&newest.status, self.credentials))
    }

    /// The event that says so, which is the newest from here on. `None`: the newest one says the same, in this run: one of
    /// an earlier run may be older than what readers have seen, and nothing else would tell them.
    pub fn say(&mut self, status: Status, at: Timestamp, live: &Live) -> Option<Arc<Event>> {
        let newest = self.newest.as_deref();
        // One that could not be read has no journal, and its id is not gone on with.
        let of_this_run = newest.filter(|newest| self.run == live.run && newest.journal != JournalId::NONE);
        if of_this_run.is_some_and(|newest| newest.status == status) {
            return None;
        }
        let id = match of_this_run.map(Event::id) {
            Some(EventId { journal, cursor: Cursor { epoch, sequence } }) => {
                EventId { journal, cursor: Cursor { epoch, sequence: sequence.saturating_add(1) } }
            }
            // After a restart of Redis the newest event may be an older one than readers have seen.
            None => {
                let above = newest.map_or(0, |newest| newest.cursor.epoch.saturating_add(1));
                let cursor = Cursor { epoch: live.fresh_epoch().max(above), sequence: 1 };
                EventId { journal: JournalId::new(rand::random()), cursor }
            }
        };
        let event = Arc::new(Event::after(newest, id, at, status));
        self.newest = Some(event.clone());
        self.run.clone_from(&live.run);
        self.doubted = false;
        Some(event)
    }
}

/// A link under way that nothing is lost with: no phone has answered yet. With credentials one may have, long ago.
pub fn is_pairing(status: &Status, credentials: bool) -> bool {
    match status {
        Status::QrPending { .. } => true,
        Status::Connecting { reason, account, .. } => {
            account.is_none()
                && !credentials
                && matches!(
                    reason,
                    ConnectingReason::Starting | ConnectingReason::WhatsappUnreachable | ConnectingReason::Moving
                )
        }
        Status::Disconnected { .. } | Status::Connected { .. } => false,
    }
}

pub fn parse_nonce(text: &str) -> Option<u128> {
    u128::from_str_radix(text, 16).ok()
}

pub fn nonce_text(nonce: u128) -> String {
    format!("{nonce:032x}")
}
