use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use super::record::{Owner, Record};
use crate::{
    clock::Timestamp,
    events::{Cursor, Event, EventId, JournalId, Shown},
    store::{
        StoreError, Update,
        redis::{
            Shared,
            client::failure::Failure,
            encryption::sealed::{Seals, parse_stream_id, stream_id},
            schema,
            script::{Call, READ},
        },
    },
    tenant::TenantId,
};

/// A tenant as one script read it. The default is a tenant without a record.
#[derive(Default)]
pub struct Reading {
    pub record: Record,
    /// Its owner is alive.
    pub is_owned: bool,
    /// The events after the requested cursor, if that one is still in the history. Otherwise the newest event alone, or, for
    /// [`Shared::read_on`], all events behind the cursor.
    pub events: Vec<Arc<Event>>,
    /// The event at the requested cursor, if the history still has it.
    pub follows: Option<EventId>,
}

type Entry = (String, Vec<u8>, Vec<u8>, String);
/// The answer of [`READ`]: the record's fields, whether the requested cursor is in the history, entries of the history, and
/// whether there are credentials.
pub type ReadAnswer = (HashMap<String, Vec<u8>>, u8, Vec<Entry>, bool);

impl Shared {
    pub async fn read(&self, tenant: &TenantId, after: Option<EventId>) -> Result<Reading, StoreError> {
        let (journal, after) = (after.map(|after| after.journal), after.map(|after| after.cursor));
        self.look(tenant, journal, after, false).await
    }

    /// For readers at different cursors, none before this one. If this one has left the history, those of some readers may still
    /// be in it.
    pub async fn read_on(&self, tenant: &TenantId, from: Option<Cursor>) -> Result<Reading, StoreError> {
        self.look(tenant, None, from, true).await
    }

    /// With a journal, `after` is known only if its entry is an event of that journal.
    async fn look(
        &self,
        tenant: &TenantId,
        journal: Option<JournalId>,
        after: Option<Cursor>,
        on: bool,
    ) -> Result<Reading, StoreError> {
        self.tasks.check_open()?;
        let call = Call::on(&READ, tenant).arg(after.map_or(String::new(), stream_id)).arg(u8::from(on));
        let answer: ReadAnswer = self.connections.call(&call).await?;
        self.reading_of(tenant, journal, answer).await
    }

    pub async fn reading_of(
        &self,
        tenant: &TenantId,
        journal: Option<JournalId>,
        answer: ReadAnswer,
    ) -> Result<Reading, StoreError> {
        let unread = |row: &str, error: &StoreError| self.unread.report(tenant, row, error);
        let mut reading = Reading::of(answer, journal, &self.seals(tenant), self.clock.now(), unread)?;
        if let Some(newest) = &reading.record.newest {
            self.connections.saw(newest.cursor.epoch);
        }
        if let Some(owner) = &reading.record.owner {
            reading.is_owned = self.is_alive(owner).await?;
        }
        Ok(reading)
    }

    async fn is_alive(&self, owner: &Owner) -> Result<bool, StoreError> {
        if self.membership.is_here(&owner.incarnation) {
            return Ok(self.leases.is_ours(owner.nonce));
        }
        Ok(!self.expired([owner.incarnation.as_str()]).await?.contains(&owner.incarnation))
    }

    /// Returns those that have expired.
    pub async fn expired(&self, incarnations: impl IntoIterator<Item = &str>) -> Result<HashSet<String>, Failure> {
        let names: Vec<&str> = incarnations.into_iter().collect();
        if names.is_empty() {
            return Ok(HashSet::new());
        }
        let mut pipeline = redis::pipe();
        for name in &names {
            pipeline.cmd("EXISTS").arg(schema::heartbeat(name));
        }
        let alive: Vec<bool> = self.connections.query(&pipeline).await?;
        Ok(names.iter().zip(alive).filter(|(_, alive)| !alive).map(|(name, _)| (*name).to_owned()).collect())
    }
}

impl Reading {
    /// `is_owned` is not known yet. `unread` is called with the name of each row that cannot be read, and the reason.
    pub fn of(
        (fields, known, entries, credentials): ReadAnswer,
        journal: Option<JournalId>,
        seals: &Seals,
        now: Timestamp,
        unread: impl Fn(&str, &StoreError),
    ) -> Result<Self, StoreError> {
        let mut skip = usize::from(known == 1);
        let (mut events, mut newest, mut follows) = (Vec::new(), None, None);
        let last = entries.len().checked_sub(1);
        for (at, (id, kept, code, coded)) in entries.iter().enumerate() {
            let sealed = if code.is_empty() { kept } else { code };
            let event = Arc::new(match seals.open_event(id, sealed) {
                Ok(event) => event,
                Err(error) => {
                    unread(id, &error);
                    // An error would refuse all commands of the tenant, also those that need no event.
                    let cursor = parse_stream_id(id).ok_or_else(|| Failure::Nonsense(id.clone()))?;
                    Event::unread(cursor, now)
                }
            });
            let is_read = event.journal != JournalId::NONE;
            if at < skip && is_read {
                follows = Some(event.id());
            }
            if at < skip && journal.is_some_and(|journal| journal != event.journal) {
                // Another journal has an event at this cursor: the reader begins with the newest event.
                skip = entries.len() - 1;
            }
            if !is_read && Some(at) != last {
                continue;
            }
            // An event whose codes have expired is left out, unless it is the newest one.
            if coded == "1" && code.is_empty() && Some(at) != last {
                continue;
            }
            if Some(at) == last {
                newest = Some(event.clone());
            }
            if at >= skip {
                events.push(event);
            }
        }
        let record = Record::parse(&fields, newest, credentials, seals, unread)?;
        Ok(Self { record, is_owned: false, events, follows })
    }

    pub fn shown(&self) -> Option<Shown> {
        self.record.facts(self.is_owned).shown()
    }

    /// The updates with which a stream begins, and the newest event that the reader has seen then.
    pub fn backlog(mut self) -> (Vec<Update>, Option<Cursor>) {
        let Some(present) = self.shown() else { return (Vec::new(), None) };
        let seen = Some(present.event.cursor);
        if present.stale {
            // As an event it would say that its owner lives.
            self.events.pop();
        }
        let mut updates: Vec<_> = self.events.into_iter().map(Update::Event).collect();
        if present.stale || updates.is_empty() {
            updates.push(Update::Refresh(present));
        }
        (updates, seen)
    }
}
