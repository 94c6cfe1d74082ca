use std::{
    collections::HashMap,
    error::Error,
    fmt,
    sync::{Arc, PoisonError},
};

use redb::{ReadableTable as _, WriteTransaction};

use super::{
    Shared,
    idle::IdleTime,
    record::Record,
    rows::{
        CREDENTIALS, DESIRED_STATES, EPOCH_ROW, IDLE_TIME_ROW, JOURNAL, KeptDesired, KeptEvent, META, PendingWebhook,
        REVOCATIONS, Span, seal_row,
    },
};
use crate::store::takeover::starting;
use crate::{
    clock::Timestamp,
    events::{Cursor, Event, EventId, JournalId, Shown, Status},
    store::{Change, DesiredState, Generation, Lease, StoreError, Update},
    telemetry::metrics,
    tenant::{TenantId, TenantRef},
};

/// The result of a step.
pub type Step<T> = Result<T, Stop>;

pub enum Stop {
    /// The step was refused and has written nothing.
    Refused(StoreError),
    /// The disk failed: the transaction must be dropped.
    Failed(Failure),
}

/// An epoch is a time in milliseconds of 41 bits, so 20 more fit. The fences of one epoch reach into the next one's
/// only if a process gives more than a million leases in each millisecond that it lives.
const LEASES_BITS: u32 = 20;

/// A failure of the disk. Shared, because every step of a batch gets it.
#[derive(Clone, Debug)]
pub struct Failure(Arc<redb::Error>);

/// Steps that take effect together: one transaction, and the changes of memory and publications that follow its commit.
pub struct Batch<'a> {
    shared: &'a Shared,
    /// Leases given so far in this epoch.
    leases: &'a mut u32,
    transaction: Option<WriteTransaction>,
    changed: HashMap<TenantId, Record>,
    effects: Vec<Effect>,
}

/// Effects of the batch after its commit, in this order.
enum Effect {
    Event(TenantId, Arc<Event>),
    Refresh(TenantId),
    /// Older events than the newest go.
    KeepNewestEvent(TenantId),
    Forgotten(TenantId),
    IdleTime(IdleTime),
    Revoked(TenantRef, i64),
    Notify(TenantId),
    End(Lease),
}

impl<'a> Batch<'a> {
    pub fn new(shared: &'a Shared, leases: &'a mut u32) -> Self {
        Self { shared, leases, transaction: None, changed: HashMap::new(), effects: Vec::new() }
    }

    /// The tenant's record after the earlier steps of this batch.
    pub fn record(&mut self, tenant: &TenantId) -> &mut Record {
        self.changed.entry(tenant.clone()).or_insert_with(|| {
            let memory = self.shared.memory.lock().unwrap_or_else(PoisonError::into_inner);
            memory.record(tenant).cloned().unwrap_or_else(|| memory.blank())
        })
    }

    pub fn check(&mut self, lease: &Lease) -> Step<()> {
        let owner = &self.record(lease.tenant()).owner;
        let ours = owner.as_ref().is_some_and(|owner| owner.is_by(lease));
        ours.then_some(()).ok_or(Stop::Refused(StoreError::Fenced))
    }

    /// Appends a status, unless the newest event has the same.
    pub fn append_status(&mut self, tenant: &TenantId, status: Status) -> Step<Arc<Event>> {
        let (epoch, at) = (self.shared.disk.epoch(), self.shared.clock.now());
        let asked = self.shared.outbox.is_asked();
        let record = self.record(tenant);
        let newest = record.newest.as_ref();
        if let Some(newest) = newest.filter(|newest| newest.status == status) {
            return Ok(newest.clone());
        }
        let cursor = Cursor { epoch, sequence: record.sequence + 1 };
        let journal = newest.map_or_else(|| JournalId::new(rand::random()), |newest| newest.journal);
        let id = EventId { journal, cursor };
        let event = Arc::new(Event::after(newest.map(|newest| &**newest), id, at, status));
        if event.is_news_after(newest.map(|newest| &**newest)) {
            let pending_webhook = PendingWebhook { cursor, at };
            record.pending_webhook = asked.then_some(pending_webhook);
        }
        let kept = KeptEvent::of(&event, record.pending_webhook);
        // Codes come every 20 seconds and are never written: they need no transaction.
        if !(kept.replaced && record.kept_as_starting) {
            let sealed = kept.seal(&self.shared.keys(tenant));
            self.put(JOURNAL, tenant, &sealed)?;
        }
        let record = self.record(tenant);
        record.sequence = cursor.sequence;
        record.newest = Some(event.clone());
        record.unread = None;
        record.kept_as_starting = kept.event.status == starting();
        record.doubted = false;
        self.effects.push(Effect::Event(tenant.clone(), event.clone()));
        Ok(event)
    }

    /// The back end knows this event now. If the file says "starting" nothing is written: after a restart the status is
    /// sent again anyway.
    pub fn ack(&mut self, tenant: &TenantId, cursor: Cursor) -> Step<()> {
        let record = self.record(tenant);
        if record.pending_webhook.is_none_or(|pending_webhook| pending_webhook.cursor != cursor) {
            return Ok(());
        }
        record.pending_webhook = None;
        if record.kept_as_starting {
            return Ok(());
        }
        let kept = self.transaction()?.open_table(JOURNAL)?.get(tenant.as_str())?.map(|row| row.value().to_vec());
        let Some(kept) = kept else { return Ok(()) };
        let acknowledged = KeptEvent::acknowledged(&self.shared.keys(tenant), &kept).map_err(Stop::Refused)?;
        self.put(JOURNAL, tenant, &acknowledged)
    }

    /// Sends readers a refresh with the status after the batch.
    pub fn remind(&mut self, tenant: &TenantId) {
        self.effects.push(Effect::Refresh(tenant.clone()));
    }

    pub fn notify(&mut self, tenant: &TenantId) {
        self.effects.push(Effect::Notify(tenant.clone()));
    }

    /// The link was given up: what names its account is not kept.
    pub fn keep_newest_event(&mut self, tenant: &TenantId) {
        self.effects.push(Effect::KeepNewestEvent(tenant.clone()));
    }

    pub fn set_desired(&mut self, tenant: &TenantId, number: Generation, unsettled: Option<DesiredState>) -> Step<()> {
        self.put_desired(tenant, KeptDesired { number: number.0, unsettled, idle_since: None })
    }

    /// Begins the tenant's idle time. It has no desired state.
    pub fn begin_idle(&mut self, tenant: &TenantId, now: u64) -> Step<()> {
        let number = self.record(tenant).generation;
        self.put_desired(tenant, KeptDesired { number, unsettled: None, idle_since: Some(now) })
    }

    fn put_desired(&mut self, tenant: &TenantId, kept: KeptDesired) -> Step<()> {
        let sealed = kept.seal(&self.shared.keys(tenant));
        self.put(DESIRED_STATES, tenant, &sealed)?;
        let record = self.record(tenant);
        record.generation = kept.number;
        record.unread = None;
        record.desired = kept.unsettled.map(|desired| (Generation(kept.number), desired));
        record.idle_since = kept.idle_since;
        Ok(())
    }

    pub fn count_idle_time(&mut self, now: Timestamp) -> Step<IdleTime> {
        let before = self.shared.memory.lock().unwrap_or_else(PoisonError::into_inner).idle_time;
        let time = before.at(now);
        self.keep_meta(IDLE_TIME_ROW, &time.to_row())?;
        self.effects.push(Effect::IdleTime(time));
        Ok(time)
    }

    /// Removes all that is kept of the tenant. What follows in the same batch begins a new journal.
    pub fn forget(&mut self, tenant: &TenantId) -> Step<()> {
        self.erase(tenant)?;
        for table in [JOURNAL, DESIRED_STATES] {
            self.transaction()?.open_table(table)?.remove(tenant.as_str())?;
        }
        let record = self.record(tenant);
        *record = Record { sequence: record.sequence, ..Record::default() };
        self.effects.push(Effect::Forgotten(tenant.clone()));
        Ok(())
    }

    /// Returns the second until which the tenant's tokens are revoked. A clock that was set back does not move it back.
    pub fn revoke(&mut self, tenant: TenantRef, now: i64) -> Step<i64> {
        let mut revocations = self.transaction()?.open_table(REVOCATIONS)?;
        let name = tenant.to_string();
        let kept = revocations.get(name.as_str())?.map(|until| until.value());
        let until = kept.map_or(now, |kept| kept.max(now));
        revocations.insert(name.as_str(), until)?;
        drop(revocations);
        self.effects.push(Effect::Revoked(tenant, until));
        Ok(until)
    }

    pub fn give(&mut self, tenant: &TenantId) -> Lease {
        *self.leases += 1;
        let fence = (self.shared.disk.epoch() << LEASES_BITS) + u64::from(*self.leases);
        let lease = Lease::new(tenant.clone(), fence, rand::random());
        let record = self.record(tenant);
        record.owner = Some(lease.downgrade());
        record.messages.clear();
        lease
    }

    pub fn take_back(&mut self, lease: Lease) {
        let record = self.record(lease.tenant());
        record.owner = None;
        record.messages.clear();
        self.effects.push(Effect::End(lease));
    }

    pub fn has_credentials(&mut self, tenant: &TenantId) -> Step<bool> {
        let credentials = self.transaction()?.open_table(CREDENTIALS)?;
        Ok(credentials.range(Span::of_tenant(tenant).keys())?.next().transpose()?.is_some())
    }

    pub fn change(&mut self, tenant: &TenantId, changes: &[Change]) -> Step<()> {
        let keys = self.shared.keys(tenant);
        let mut credentials = self.transaction()?.open_table(CREDENTIALS)?;
        for change in changes {
            match change {
                Change::Put { table, key, value } => {
                    let (name, sealed) = seal_row(&keys, table, key, value);
                    credentials.insert((tenant.as_str(), *table, name.as_slice()), sealed.as_slice())?;
                }
                Change::Delete { table, key } => {
                    credentials.remove((tenant.as_str(), *table, keys.row(table, key).as_slice()))?;
                }
                Change::Clear { table } => credentials.retain_in(Span::of_table(tenant, table).keys(), |_, _| false)?,
            }
        }
        Ok(())
    }

    pub fn erase(&mut self, tenant: &TenantId) -> Step<()> {
        let mut credentials = self.transaction()?.open_table(CREDENTIALS)?;
        Ok(credentials.retain_in(Span::of_tenant(tenant).keys(), |_, _| false)?)
    }

    /// Begun by the first step that needs it: a batch of QR codes never touches the disk.
    fn transaction(&mut self) -> Result<&mut WriteTransaction, Failure> {
        match &mut self.transaction {
            Some(begun) => Ok(begun),
            none => Ok(none.insert(self.shared.disk.begin()?)),
        }
    }

    pub fn keep_meta(&mut self, row: &'static str, value: &[u8]) -> Step<()> {
        self.transaction()?.open_table(META)?.insert(row, value)?;
        Ok(())
    }

    /// Writes the changes that were collected so far.
    pub fn probe(&mut self) -> Result<(), Failure> {
        let epoch = self.shared.disk.epoch().to_le_bytes();
        let mut meta = self.transaction()?.open_table(META).map_err(redb::Error::from)?;
        meta.insert(EPOCH_ROW, epoch.as_slice()).map_err(redb::Error::from)?;
        Ok(())
    }

    fn put(&mut self, table: SealedByTenant, tenant: &TenantId, sealed: &[u8]) -> Step<()> {
        self.transaction()?.open_table(table)?.insert(tenant.as_str(), sealed)?;
        Ok(())
    }

    /// The transaction to commit, if there is one, and what follows the commit.
    pub fn finish(self) -> (Option<WriteTransaction>, Outcome<'a>) {
        let Self { shared, transaction, changed, effects, .. } = self;
        (transaction, Outcome { shared, changed, effects })
    }
}

type SealedByTenant = redb::TableDefinition<'static, &'static str, &'static [u8]>;

/// The effects of a committed batch that callers and readers see.
pub struct Outcome<'a> {
    shared: &'a Shared,
    changed: HashMap<TenantId, Record>,
    effects: Vec<Effect>,
}

impl Outcome<'_> {
    /// Memory is changed and published under one lock, which `subscribe` takes too, so a new reader sees each event
    /// once.
    pub fn apply(self) {
        let mut later = Vec::new();
        let mut memory = self.shared.memory.lock().unwrap_or_else(PoisonError::into_inner);
        for (tenant, mut record) in self.changed {
            record.doubted |= record.facts().is_stale();
            match record.pending_webhook {
                Some(_) => self.shared.outbox.add(&tenant),
                None => self.shared.outbox.remove(&tenant),
            }
            memory.replace(tenant, record);
        }
        for effect in self.effects {
            match effect {
                Effect::Event(tenant, event) => {
                    metrics().events_published.increment(1);
                    memory.remember(&tenant, event.clone());
                    self.shared.hub.publish(&tenant, Update::Event(event));
                }
                Effect::Refresh(tenant) => {
                    if let Some(shown) = memory.record(&tenant).and_then(Record::shown) {
                        self.shared.hub.publish(&tenant, Update::Refresh(shown));
                    }
                }
                Effect::KeepNewestEvent(tenant) => memory.keep_newest_event(&tenant),
                Effect::Forgotten(tenant) => {
                    memory.end_journal(&tenant);
                    let event = Arc::new(Event::never_linked(self.shared.clock.now()));
                    self.shared.hub.publish(&tenant, Update::Refresh(Shown { event, stale: false }));
                }
                Effect::IdleTime(time) => memory.idle_time = time,
                Effect::Revoked(tenant, until) => self.shared.disk.revoked.learn([(tenant, until)]),
                Effect::Notify(_) | Effect::End(_) => later.push(effect),
            }
        }
        drop(memory);
        for effect in later {
            match effect {
                Effect::Notify(tenant) => self.shared.notifications.add(tenant),
                Effect::End(lease) => lease.lost().cancel(),
                Effect::Event(..)
                | Effect::Refresh(_)
                | Effect::KeepNewestEvent(_)
                | Effect::Forgotten(_)
                | Effect::IdleTime(_)
                | Effect::Revoked(..) => {}
            }
        }
    }
}

impl Failure {
    pub fn is_damage(&self) -> bool {
        matches!(*self.0, redb::Error::Corrupted(_))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the store's file failed")
    }
}

impl Error for Failure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.0)
    }
}

impl From<redb::Error> for Failure {
    fn from(error: redb::Error) -> Self {
        Self(Arc::new(error))
    }
}

impl From<redb::StorageError> for Stop {
    fn from(error: redb::StorageError) -> Self {
        Self::Failed(redb::Error::from(error).into())
    }
}

impl From<redb::TableError> for Stop {
    fn from(error: redb::TableError) -> Self {
        Self::Failed(redb::Error::from(error).into())
    }
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}
