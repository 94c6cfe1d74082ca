//! The tenants that have readers on this instance, and what those have received. Publishes each event to them once and in order,
//! whether it came as a message, was read, or both.
//!
//! Where to start reading: `listener` brings the messages, `publish` below decides.

pub mod listener;
pub mod reconcile;
mod watched;

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{sync::watch, time::Instant};

pub use self::watched::{Based, ReadFrom};

use self::watched::{Delivered, Message, MessageOrder, NOWHERE, Reader, Watched};
use super::journal::read::Reading;
use crate::{
    clock::Timestamp,
    events::{Cursor, Event, EventId, Shown, Status},
    store::{
        Update,
        hub::{Hub, Listener, Missed},
    },
    tenant::TenantId,
};

/// How long a channel stays subscribed after its last reader, who is likely to come back. Shorter than a QR code lives: without
/// readers the session must not open another window.
const LINGER: Duration = Duration::from_secs(10);
/// A new session is acquired at once, as a rule. A page must not show the status as stale for that moment.
const ACQUIRED_WITHIN: Duration = Duration::from_secs(1);

/// The tenants that have readers here, and the newest event that those have received.
pub struct Watchers {
    hub: Arc<Hub>,
    /// The run of the server that commands go to. An earlier run may have lost its last second, so its events are not published
    /// here once this has changed.
    server: watch::Receiver<String>,
    /// Boxed: the table has room for twice as many as it holds.
    watched: Mutex<HashMap<TenantId, Box<Watched>>>,
    /// The connection that receives messages is down: readers do not wait for it.
    not_delivering: AtomicBool,
}

/// A stream's place in the hub, and the run whose events are published there until it is [`Based::Gone`].
pub struct Joined {
    pub live: Listener,
    server: String,
}

impl Watchers {
    pub fn new(hub: Arc<Hub>, server: watch::Receiver<String>) -> Self {
        Self { hub, server, watched: Mutex::default(), not_delivering: AtomicBool::new(false) }
    }

    pub fn join(&self, tenant: &TenantId) -> Joined {
        // Under the lock no event of an earlier run can be published between the two.
        let _publishing = self.lock();
        Joined { live: self.hub.join(tenant), server: self.server() }
    }

    /// Read it before and after a reading: if it is the same, the reading is of this run.
    pub fn server(&self) -> String {
        self.server.borrow().clone()
    }

    fn is_gone(&self, server: &str) -> bool {
        *self.server.borrow() != server
    }

    /// One of the `heard` subscriptions at Redis is ours. It stands for any number of readers, or for none.
    pub fn listeners(&self, tenant: &TenantId, heard: usize) -> usize {
        let ours = self.lock().get(tenant).is_some_and(|watched| watched.listening);
        self.hub.listeners(tenant) + heard.saturating_sub(usize::from(ours))
    }

    /// The connection is made: from here on readers order their channels. Call [`Self::tenants`] after this to find the tenants
    /// whose readers came before.
    pub fn connected(&self) {
        self.not_delivering.store(false, Ordering::SeqCst);
    }

    pub fn is_delivering(&self) -> bool {
        !self.not_delivering.load(Ordering::SeqCst)
    }

    /// All tenants that are watched.
    pub fn tenants(&self) -> Vec<TenantId> {
        self.lock().keys().cloned().collect()
    }

    pub fn is_watched(&self, tenant: &TenantId) -> bool {
        self.lock().contains_key(tenant)
    }

    pub fn is_listening(&self, tenant: &TenantId) -> bool {
        self.lock().entry(tenant.clone()).or_default().listening
    }

    pub fn listening(&self, tenants: &[TenantId]) {
        let mut watched = self.lock();
        for tenant in tenants {
            watched.entry(tenant.clone()).or_default().listening = true;
        }
    }

    /// No message arrives any more: marks all statuses as stale.
    pub fn not_delivering(&self) {
        self.not_delivering.store(true, Ordering::SeqCst);
        for (tenant, watched) in self.lock().iter_mut() {
            watched.listening = false;
            self.mark_stale(tenant, watched);
        }
    }

    /// The owner has expired, and no message reports that.
    pub fn mark_stale_owned_by(&self, incarnation: &str) {
        for (tenant, watched) in self.lock().iter_mut() {
            if watched.owner.as_deref() == Some(incarnation) {
                self.mark_stale(tenant, watched);
            }
        }
    }

    /// No instance has acquired the tenant in time.
    pub fn mark_stale_unowned(&self, now: Instant) {
        for (tenant, watched) in self.lock().iter_mut() {
            if watched.unowned_since.is_some_and(|since| now.duration_since(since) >= ACQUIRED_WITHIN) {
                self.mark_stale(tenant, watched);
            }
        }
    }

    fn mark_stale(&self, tenant: &TenantId, watched: &mut Watched) {
        let was_hidden = watched.unowned_since.take().is_some();
        let Some(shown) = watched.shown.as_mut().filter(|shown| was_hidden || !shown.stale) else { return };
        shown.stale = true;
        self.hub.publish(tenant, Update::Refresh(shown.clone()));
    }

    /// The incarnations whose death makes a status stale that readers here have seen.
    pub fn owners(&self) -> HashSet<String> {
        self.lock().values().filter_map(|watched| watched.owner.clone()).collect()
    }

    pub fn owned_by(&self, incarnations: &HashSet<String>) -> Vec<TenantId> {
        self.tenants_where(|watched| watched.owner.as_ref().is_some_and(|owner| incarnations.contains(owner)))
    }

    /// The incarnations that own a pairing, as far as readers here know.
    pub fn owners_of_pairings(&self) -> BTreeSet<String> {
        self.lock().values().filter_map(|watched| watched.paired_by().cloned()).collect()
    }

    /// Tenants in a pairing with one of these incarnations.
    pub fn pairing_with(&self, incarnations: &[String]) -> Vec<TenantId> {
        self.tenants_where(|watched| watched.paired_by().is_some_and(|owner| incarnations.contains(owner)))
    }

    fn tenants_where(&self, is_one: impl Fn(&Watched) -> bool) -> Vec<TenantId> {
        self.lock().iter().filter(|(_, watched)| is_one(watched)).map(|(tenant, _)| tenant.clone()).collect()
    }

    pub fn owner_of_pairing(&self, tenant: &TenantId) -> Option<String> {
        self.lock().get(tenant)?.paired_by().cloned()
    }

    /// Readers here have seen a session, and the store has no record of the tenant.
    pub fn misses(&self, tenant: &TenantId, reading: &Reading) -> bool {
        let known =
            |shown: &Shown| shown.event.cursor != NOWHERE && !matches!(shown.event.status, Status::Disconnected { .. });
        let watched = self.lock();
        reading.record.newest.is_none()
            && reading.record.is_missing()
            && watched.get(tenant).and_then(|watched| watched.shown.as_ref()).is_some_and(known)
    }

    /// The store has another event or owner than readers here know, and no task reads it yet.
    pub fn differs(&self, tenant: &TenantId, newest: Option<Cursor>, owner: Option<&str>) -> bool {
        let watched = self.lock();
        watched.get(tenant).is_some_and(|watched| {
            watched.reader == Reader::None && (watched.delivered != newest.into() || watched.owner.as_deref() != owner)
        })
    }

    /// Removes and returns the tenants that have had no readers for a while.
    pub fn deserted(&self) -> Vec<TenantId> {
        let mut watched = self.lock();
        let mut deserted = Vec::new();
        watched.retain(|tenant, watched| {
            if self.hub.listeners(tenant) > 0 {
                watched.deserted = None;
                return true;
            }
            let keep = watched.deserted.get_or_insert_with(Instant::now).elapsed() < LINGER;
            if !keep {
                deserted.push(tenant.clone());
            }
            keep
        });
        deserted
    }

    /// For a stream that has joined the hub and then read for itself. With the first reading the publishing begins.
    pub fn based(&self, tenant: &TenantId, reading: &Reading, joined: &Joined) -> Based {
        let mut all = self.lock();
        if self.is_gone(&joined.server) {
            return Based::Gone;
        }
        let Some(watched) = all.get_mut(tenant) else { return Based::Well };
        let newest = reading.record.newest.as_ref().map(|newest| newest.cursor);
        if !matches!(watched.delivered, Delivered::Unknown | Delivered::Assumed(_)) {
            if newest < watched.began {
                return Based::Overtaken;
            }
            // It has read events that the others have not received. A reading under way may be older, and is repeated.
            return if newest > watched.delivered.cursor() && watched.suspect() { Based::Behind } else { Based::Well };
        }
        let is_stale_start = watched.reader == Reader::Task;
        if is_stale_start && newest.is_none() {
            return Based::Well;
        }
        watched.begin(newest);
        watched.know(reading);
        if let Some(shown) = watched.shown.clone().filter(|_| is_stale_start) {
            if watched.delivered.cursor() == newest {
                // Readers that began stale wait for the task, which will read nothing newer.
                self.hub.publish(tenant, Update::Refresh(shown));
            }
            return Based::Well;
        }
        if self.read_on(tenant, watched) { Based::Behind } else { Based::Well }
    }

    /// The last known status, stale: the store cannot be read.
    pub fn known(&self, tenant: &TenantId, now: Timestamp) -> Shown {
        let shown = self.lock().get(tenant).and_then(|watched| watched.shown.clone());
        let event = shown.map_or_else(|| Arc::new(unknown(now)), |shown| shown.event);
        Shown { event, stale: true }
    }

    /// Begins a stream while the store cannot be read, with the last known status, stale. Later it receives the events after its
    /// own cursor; others do not receive again what they have seen. True: the caller has to catch up.
    pub fn join_stale(&self, tenant: &TenantId, after: Option<EventId>, now: Timestamp) -> (Update, Listener, bool) {
        let mut all = self.lock();
        let watched = all.entry(tenant.clone()).or_default();
        if let Some(EventId { cursor: after, .. }) = after {
            watched.assume(after);
        }
        let shown = watched.shown.get_or_insert_with(|| Shown { event: Arc::new(unknown(now)), stale: true });
        // A reader that did not see the status as stale may also receive the refresh that ends that.
        shown.stale = true;
        let doubt = Update::Refresh(shown.clone());
        // A reading under way may be older than what this reader has seen elsewhere.
        watched.doubted += 1;
        let reads = watched.reader == Reader::Task;
        watched.reader = Reader::Task;
        // Joined last: an event that is published before would hide the events between its cursor and that event.
        (doubt, self.hub.join(tenant), !reads)
    }

    /// An event that was published in this run. True: it does not follow the last one, and the caller has to read the tenant.
    pub fn receive(
        &self,
        server: &str,
        tenant: &TenantId,
        previous: Option<Cursor>,
        event: Event,
        owner: Option<String>,
    ) -> bool {
        let mut all = self.lock();
        if self.is_gone(server) {
            return false;
        }
        let Some(watched) = all.get_mut(tenant) else { return false };
        let message = Message { previous, event: Arc::new(event), owner };
        if watched.reader != Reader::None {
            watched.wait(server, message);
            return false;
        }
        match watched.order_of(&message) {
            MessageOrder::Next => self.publish(tenant, watched, message),
            MessageOrder::Known => {}
            MessageOrder::Later => return watched.suspect(),
        }
        false
    }

    fn publish(&self, tenant: &TenantId, watched: &mut Watched, Message { event, owner, .. }: Message) {
        watched.deliver(Some(event.cursor));
        let stale = owner.is_none() && !matches!(event.status, Status::Disconnected { .. });
        watched.shown = Some(Shown { event: event.clone(), stale });
        watched.unowned_since = stale.then(Instant::now);
        watched.owner = owner;
        self.hub.publish(tenant, Update::Event(event));
    }

    /// Publishes the messages that waited, up to the first one before which an event was missed.
    fn publish_waiting(&self, tenant: &TenantId, watched: &mut Watched) {
        let mut waiting = std::mem::take(&mut watched.waiting);
        // One of an earlier run may be of an event that is lost.
        let is_of_this_run = |(server, _): &(String, Message)| !self.is_gone(server);
        while let Some((_, message)) =
            waiting.pop_front_if(|waits| is_of_this_run(waits) && watched.order_of(&waits.1) != MessageOrder::Later)
        {
            if watched.order_of(&message) == MessageOrder::Next {
                self.publish(tenant, watched, message);
            }
        }
        watched.waiting = waiting;
    }

    /// The reading is done. True: a task has to read again.
    fn read_on(&self, tenant: &TenantId, watched: &mut Watched) -> bool {
        self.publish_waiting(tenant, watched);
        watched.again |= !std::mem::take(&mut watched.waiting).is_empty();
        watched.read_on()
    }

    /// True: the caller has to read the tenant. False: it is being read, or not watched.
    pub fn suspect(&self, tenant: &TenantId) -> bool {
        let mut all = self.lock();
        all.get_mut(tenant).is_some_and(|watched| watched.suspect())
    }

    /// Where the next reading begins.
    pub fn read_from(&self, tenant: &TenantId) -> ReadFrom {
        self.lock().get(tenant).map_or(ReadFrom { cursor: None, doubted: 0 }, |watched| watched.read_from())
    }

    /// Publishes what was read after `from` in this run. True: the caller has to read again.
    pub fn caught_up(&self, server: &str, tenant: &TenantId, from: ReadFrom, reading: Reading, now: Timestamp) -> bool {
        let mut all = self.lock();
        let Some(watched) = all.get_mut(tenant) else { return false };
        // A stream that came meanwhile may begin at another cursor.
        if self.is_gone(server) || watched.read_from() != from {
            return true;
        }
        let newest = reading.record.newest.as_ref().map(|newest| newest.cursor);
        // Before the reading: that may have come after an unlink, which removes the events before it.
        watched.give_up_assumption(&reading);
        self.publish_waiting(tenant, watched);
        if watched.read_from() != from && newest != watched.delivered.cursor() {
            // Behind: another reading begins where the messages ended. Ahead: nothing that is newer was read.
            return newest > watched.delivered.cursor() || self.read_on(tenant, watched);
        }
        let ReadFrom { cursor: from, .. } = watched.read_from();
        let known = watched.shown.clone();
        watched.know(&reading);
        if matches!(watched.delivered, Delivered::Unknown | Delivered::Assumed(_)) {
            // With an assumption, this publishes all events after it. Without one it publishes the newest event alone.
            watched.began = from.map_or(newest, |from| newest.min(Some(from)));
        }
        let moved = newest.is_some() && from != newest;
        watched.deliver(newest);
        if moved {
            watched.unowned_since = None;
            let follows = reading.follows;
            self.hub.publish_missed(tenant, Missed { follows, updates: reading.backlog().0 });
            let ended = |shown: &Shown| matches!(shown.event.status, Status::Disconnected { .. });
            if let Some(shown) = watched.shown.clone().filter(|shown| newest < from && ended(shown)) {
                // Redis has lost events that readers have seen, and those readers drop an older event. If the session goes on,
                // its owner appends the status again.
                self.hub.publish(tenant, Update::Refresh(shown));
            }
        } else if let Some(shown) = &watched.shown {
            if known.is_none_or(|known| known.stale != shown.stale) {
                self.hub.publish(tenant, Update::Refresh(shown.clone()));
            }
        } else if known.is_some() {
            // The tenant has no record: it was never linked, or it was forgotten.
            let event = Arc::new(Event::never_linked(now));
            self.hub.publish(tenant, Update::Refresh(Shown { event, stale: false }));
        }
        self.read_on(tenant, watched)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<TenantId, Box<Watched>>> {
        // Nothing between lock and unlock can leave the map half changed.
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The status of a tenant that could not be read yet; always shown as stale.
fn unknown(now: Timestamp) -> Event {
    Event::unread(NOWHERE, now)
}

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests;
