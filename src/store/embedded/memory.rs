use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use super::{disk::Found, idle::IdleTime, record::Record, rows::KeptDesired};
use crate::{
    clock::Timestamp,
    events::{Cursor, Event, EventId},
    store::{DesiredState, Generation, Update, Waiting},
    tenant::TenantId,
};

/// Events that a tenant's readers can catch up with. A pairing makes about ten.
const HISTORY_MAX: usize = 32;
/// Events that are kept beside each tenant's newest, all tenants together: about 8 MB. Beyond it the oldest of all goes,
/// and a reader that asks for it begins with the current status.
const HISTORIES_MAX: usize = 16_384;

/// The state that readers see. Only the writer changes it, after a commit.
pub struct Memory {
    tenants: HashMap<TenantId, Known>,
    /// Every event of this epoch that may still be in a history, oldest first.
    ages: VecDeque<(TenantId, Cursor)>,
    /// The highest sequence of this epoch in the journal of a forgotten tenant. Without it, an open subscription would take
    /// events of the tenant's next journal for events that it has seen.
    forgotten: u64,
    pub idle_time: IdleTime,
}

#[derive(Default)]
struct Known {
    record: Record,
    /// Invariant: in order, and the last is the record's newest event.
    history: VecDeque<Arc<Event>>,
}

impl Memory {
    pub fn new(found: Found, epoch: u64, now: Timestamp) -> Self {
        let (tenants, ages, idle_time) = (HashMap::new(), VecDeque::new(), found.idle_time);
        let mut memory = Self { tenants, ages, forgotten: 0, idle_time };
        for (tenant, kept) in found.events {
            let known = memory.tenants.entry(tenant).or_default();
            let event = known.record.resume(kept, epoch);
            known.history.push_back(event);
        }
        for (tenant, KeptDesired { number, unsettled, idle_since }) in found.desired {
            let record = &mut memory.tenants.entry(tenant).or_default().record;
            record.generation = number;
            record.idle_since = idle_since;
            record.desired = unsettled.map(|desired| (Generation(number), desired));
        }
        for tenant in &found.unread_desired {
            let record = &mut memory.tenants.entry(tenant.clone()).or_default().record;
            // Without this, the user's "disconnect" would leave the row alone, and it would start a session again when a
            // later version reads it.
            record.desired = Some((Generation(0), DesiredState::Unknown(serde_json::Value::Null)));
        }
        for tenant in found.unread_events.into_iter().chain(found.unread_desired) {
            memory.tenants.entry(tenant).or_default().record.unread = Some(Arc::new(Event::unreadable(now)));
        }
        memory
    }

    pub fn record(&self, tenant: &TenantId) -> Option<&Record> {
        self.tenants.get(tenant).map(|known| &known.record)
    }

    /// The record that an unknown tenant begins with.
    pub fn blank(&self) -> Record {
        Record { sequence: self.forgotten, ..Record::default() }
    }

    /// A blank record is not kept. Without this, requests for many unknown tenants would fill the memory.
    pub fn replace(&mut self, tenant: TenantId, record: Record) {
        if record.is_blank() {
            self.tenants.remove(&tenant);
            self.forgotten = self.forgotten.max(record.sequence);
        } else {
            self.tenants.entry(tenant).or_default().record = record;
        }
    }

    /// Takes all events but the newest out of the history.
    pub fn keep_newest_event(&mut self, tenant: &TenantId) {
        if let Some(Known { history, .. }) = self.tenants.get_mut(tenant) {
            history.drain(..history.len().saturating_sub(1));
            history.shrink_to_fit();
        }
    }

    /// Takes the events of a journal that is over out of the history.
    pub fn end_journal(&mut self, tenant: &TenantId) {
        if let Some(known) = self.tenants.get_mut(tenant) {
            known.history.clear();
        }
    }

    /// Tenants to be looked at by [`super::idle`]: they are idle, and have been for `after` or have just begun to be.
    pub fn idle(&self, counted: u64, after: u64) -> Vec<TenantId> {
        let due = |record: &Record| record.idle_since.is_none_or(|since| counted.saturating_sub(since) >= after);
        let idle = self.tenants.iter().filter(|(_, known)| known.record.is_idle() && due(&known.record));
        idle.map(|(tenant, _)| tenant.clone()).collect()
    }

    pub fn remember(&mut self, tenant: &TenantId, event: Arc<Event>) {
        self.ages.push_back((tenant.clone(), event.cursor));
        let history = &mut self.tenants.entry(tenant.clone()).or_default().history;
        history.push_back(event);
        if history.len() > HISTORY_MAX {
            history.pop_front();
        }
        if self.ages.len() > HISTORIES_MAX {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        let Some((tenant, cursor)) = self.ages.pop_front() else { return };
        let Some(known) = self.tenants.get_mut(&tenant) else { return };
        while known.history.len() > 1 && known.history.front().is_some_and(|oldest| oldest.cursor <= cursor) {
            known.history.pop_front();
        }
        known.history.shrink_to_fit();
    }

    /// The backlog of a reader that has seen `after`, and the newest event that the reader has seen then.
    pub fn backlog(&self, tenant: &TenantId, after: Option<EventId>) -> (Vec<Update>, Option<Cursor>) {
        let Some(Known { record, history }) = self.tenants.get(tenant) else { return (Vec::new(), None) };
        let seen = record.newest.as_ref().map(|newest| newest.cursor);
        let Some(present) = record.shown() else { return (Vec::new(), None) };
        if record.unread.is_some() {
            return (vec![Update::Refresh(present)], seen);
        }
        let place = after.and_then(|after| history.iter().position(|event| event.id() == after));
        let first = place.map_or(history.len() - 1, |place| place + 1);
        let mut updates: Vec<_> = history.range(first..).cloned().map(Update::Event).collect();
        if present.stale {
            // An event would mean a live owner, and there is none.
            updates.pop();
            updates.push(Update::Refresh(present));
        } else if updates.is_empty() && record.doubted {
            updates.push(Update::Refresh(present));
        }
        (updates, seen)
    }

    pub fn pending_webhooks(&self) -> impl Iterator<Item = &TenantId> {
        self.tenants.iter().filter(|(_, known)| known.record.pending_webhook.is_some()).map(|(tenant, _)| tenant)
    }

    pub fn tenants(&self) -> Vec<TenantId> {
        self.tenants.keys().cloned().collect()
    }

    pub fn pending_count(&self) -> Waiting {
        let pending = self.tenants.values().filter_map(|known| known.record.pending_webhook);
        pending.fold(Waiting::default(), |waiting, pending| Waiting {
            tenants: waiting.tenants + 1,
            oldest: Some(waiting.oldest.map_or(pending.at, |oldest| oldest.min(pending.at))),
        })
    }

    pub fn wanted(&self) -> Vec<TenantId> {
        let wanted = self.tenants.iter().filter(|(_, known)| known.record.desired.is_some());
        wanted.map(|(tenant, _)| tenant.clone()).collect()
    }

    pub fn orphaned(&self, max: usize) -> Vec<TenantId> {
        let waiting = self.tenants.iter().filter(|(_, known)| known.record.facts().is_orphaned());
        waiting.take(max).map(|(tenant, _)| tenant.clone()).collect()
    }

    /// The file may lack what was written last: each tenant's next event is written, even if its status is the same.
    pub fn distrust_file(&mut self) {
        self.tenants.values_mut().for_each(|known| known.record.kept_as_starting = false);
    }

    pub fn end_leases(&mut self) {
        for known in self.tenants.values_mut() {
            known.record.owner.take().into_iter().for_each(|owner| owner.end());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::{EndReason, JournalId, Status};

    fn tenant(number: usize) -> TenantId {
        TenantId::parse(&number.to_string()).unwrap()
    }

    fn id(sequence: u64) -> EventId {
        EventId { journal: JournalId::new(7), cursor: Cursor { epoch: 1, sequence } }
    }

    fn remember(memory: &mut Memory, tenant: &TenantId, sequence: u64) {
        let status = Status::ended(EndReason::Cancelled);
        let event = Arc::new(Event::after(None, id(sequence), Timestamp::UNIX_EPOCH, status));
        memory.replace(tenant.clone(), Record { newest: Some(event.clone()), ..Record::default() });
        memory.remember(tenant, event);
    }

    #[test]
    fn histories_are_bounded_per_tenant_and_in_total() {
        const TENANTS: usize = 1_000;
        let mut memory = Memory::new(Found::default(), 1, Timestamp::UNIX_EPOCH);
        for sequence in 1..=40 {
            (0..TENANTS).for_each(|number| remember(&mut memory, &tenant(number), sequence));
        }
        let lengths: Vec<_> = memory.tenants.values().map(|known| known.history.len()).collect();
        assert!(lengths.iter().all(|&length| (1..=HISTORY_MAX).contains(&length)));
        assert!(lengths.iter().sum::<usize>() <= HISTORIES_MAX + TENANTS);
        assert!(memory.ages.len() <= HISTORIES_MAX);
    }

    #[test]
    fn idle_tenant_keeps_its_newest_event_while_others_are_busy() {
        let mut memory = Memory::new(Found::default(), 1, Timestamp::UNIX_EPOCH);
        (1..=3).for_each(|sequence| remember(&mut memory, &tenant(0), sequence));
        (0..2 * HISTORIES_MAX as u64).for_each(|sequence| remember(&mut memory, &tenant(1), sequence));
        let (updates, seen) = memory.backlog(&tenant(0), Some(id(1)));
        assert_eq!(updates.len(), 1, "begins with the present");
        assert_eq!(seen, Some(id(3).cursor));
    }
}
