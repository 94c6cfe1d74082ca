use std::{collections::HashMap, sync::Arc};

use crate::{
    clock::Timestamp,
    events::{ConnectingReason, Cursor, Event, EventId, JournalId, Status},
    store::{
        DesiredState, Generation, StoreError,
        record::Facts,
        redis::{
            client::{connection::Live, failure::Failure},
            encryption::sealed::Seals,
            schema::field,
        },
    },
};

/// A tenant's record as one script read it. What is decided on it is written only if the record is still at this version.
#[derive(Clone, Default)]
pub struct Record {
    /// The name of the change that made the record, so two contents never have the same; empty if there is no record. A Redis
    /// that lost changes would reach a number a second time.
    pub version: String,
    pub newest: Option<Arc<Event>>,
    /// The run of the server in which the newest event was appended.
    pub run: String,
    pub desired: Option<(Generation, DesiredState)>,
    pub generation: u64,
    pub owner: Option<Owner>,
    /// How many incarnations had been registered when the tenant was last released.
    pub released_after: u64,
    /// A reader may have seen the newest event as stale, and needs a refresh when it is not.
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
            Some(digits) => digits.parse().map_err(|_| Failure::Nonsense(name.to_owned())),
            None => Ok(0_u64),
        };
        let generation = number(field::GENERATION)?;
        let opened = fields.get(field::DESIRED).map(|sealed| seals.open_desired(generation, sealed));
        let desired = opened.map(|opened| {
            // An error would refuse all commands of the tenant, also the unlink that could end this.
            let desired = opened.unwrap_or_else(|error| {
                unread(&format!("desired {generation}"), &error);
                DesiredState::Unknown(serde_json::Value::Null)
            });
            (Generation(generation), desired)
        });
        let owner = match (text(field::OWNER_INCARNATION), text(field::OWNER_NONCE)) {
            (Some(incarnation), Some(nonce)) => {
                let nonce = parse_nonce(nonce).ok_or_else(|| Failure::Nonsense(field::OWNER_NONCE.to_owned()))?;
                Some(Owner { incarnation: incarnation.to_owned(), nonce })
            }
            _ => None,
        };
        Ok(Self {
            version: text(field::VERSION).unwrap_or_default().to_owned(),
            newest,
            run: text(field::RUN).unwrap_or_default().to_owned(),
            desired,
            generation,
            owner,
            released_after: number(field::RELEASED_AFTER)?,
            doubted: text(field::DOUBTED) == Some("1"),
            credentials,
        })
    }

    /// There is no record.
    pub fn is_missing(&self) -> bool {
        self.version.is_empty()
    }

    pub fn facts(&self, is_owned: bool) -> Facts<'_> {
        Facts { newest: self.newest.as_ref(), desired: self.desired.as_ref(), is_owned }
    }

    pub fn is_pairing(&self) -> bool {
        self.newest.as_ref().is_some_and(|newest| is_pairing(&newest.status, self.credentials))
    }

    /// Makes an event of the status, which is the newest from here on. `None`: the newest event of this run has the same
    /// status. An event of an earlier run does not count: readers may have seen a newer one that Redis has lost.
    pub fn append(&mut self, status: Status, at: Timestamp, live: &Live) -> Option<Arc<Event>> {
        let newest = self.newest.as_deref();
        // An event that could not be read has no journal, so its sequence is not continued.
        let of_this_run = newest.filter(|newest| self.run == live.run && newest.journal != JournalId::NONE);
        if of_this_run.is_some_and(|newest| newest.status == status) {
            return None;
        }
        let id = match of_this_run.map(Event::id) {
            Some(EventId { journal, cursor: Cursor { epoch, sequence } }) => {
                EventId { journal, cursor: Cursor { epoch, sequence: sequence.saturating_add(1) } }
            }
            // After a restart of Redis readers may have seen newer events than the newest one.
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

/// Whether the link can be lost without harm: no phone has scanned a code. With credentials a phone may have, earlier.
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
