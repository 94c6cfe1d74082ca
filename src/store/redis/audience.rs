mod watched;

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{oneshot, watch},
    time::{Instant, timeout},
};

pub use self::watched::ReadFrom;

use self::watched::{Reader, Told, Watched};
use super::{Shared, reading::Reading, record::is_pairing};
use crate::{
    clock::Timestamp,
    events::{Cursor, Event, EventId, Shown, Status},
    store::{
        Update,
        hub::{Hub, Listener, Missed},
    },
    tenant::TenantId,
};

/// A channel stays subscribed for so long after its last reader, who is likely to come back. Shorter than a QR code
/// lives, or nobody would seem to be somebody when the next window is to be opened.
const LINGER: Duration = Duration::from_secs(10);
/// Who wants to be linked is taken up at once, as a rule, and a page is not to flicker for that moment.
const TAKEN_UP_WITHIN: Duration = Duration::from_secs(1);
/// A reader does not wait longer for its channel, and begins with a stale notice.
const LISTEN_TIME_MAX: Duration = Duration::from_millis(500);

/// The tenants that have readers here, and how far those have been told.
pub struct Audience {
    hub: Arc<Hub>,
    /// The run of the server that commands go to. What an earlier one said may never have been, for it may have lost its
    /// last second: once this is another one, nothing of that is told.
    server: watch::Receiver<String>,
    /// Boxed: a table has room for twice as many as it holds.
    watched: Mutex<HashMap<TenantId, Box<Watched>>>,
    /// The connection that listens is down: nobody waits for it.
    not_delivering: AtomicBool,
}

/// Asks the listener for a tenant's channel; answered once what is published there arrives.
pub type Order = (TenantId, oneshot::Sender<()>);

/// What becomes of a stream's own reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Based {
    Well,
    /// Something arrived meanwhile: the caller has to catch up.
    Behind,
    /// Telling began with another one's, who read later and was quicker. What is between the two is told to nobody: it has
    /// to read again.
    Overtaken,
    /// It has joined, or read, at a server that is no more, and has to do both again.
    Gone,
}

/// A place in the hub, and the server that all which is told there comes from, until it is [`Based::Gone`].
pub struct Joined {
    pub live: Listener,
    server: String,
}

impl Audience {
    pub fn new(hub: Arc<Hub>, server: watch::Receiver<String>) -> Self {
        Self { hub, server, watched: Mutex::default(), not_delivering: AtomicBool::new(false) }
    }

    pub fn join(&self, tenant: &TenantId) -> Joined {
        // Nobody who tells what an earlier server said is between looking and telling.
        let _telling = self.lock();
        Joined { live: self.hub.join(tenant), server: self.server() }
    }

    /// Noted before something is read: what is read comes from there if it is still so afterwards.
    pub fn server(&self) -> String {
        self.server.borrow().clone()
    }

    fn is_gone(&self, server: &str) -> bool {
        *self.server.borrow() != server
    }

    /// Of `heard` subscriptions at Redis one is ours, which stands for any number of readers, or for none.
    pub fn listeners(&self, tenant: &TenantId, heard: usize) -> usize {
        let ours = self.lock().get(tenant).is_some_and(|watched| watched.listening);
        self.hub.listeners(tenant) + heard.saturating_sub(usize::from(ours))
    }

    /// The connection is made: from here on readers order their channels. Those who did not are found by
    /// [`Self::tenants`], asked after this: they were watched before they looked.
    pub fn hears(&self) {
        self.not_delivering.store(false, Ordering::SeqCst);
    }

    /// All that are watched.
    pub fn tenants(&self) -> Vec<TenantId> {
        self.lock().keys().cloned().collect()
    }

    pub fn is_watched(&self, tenant: &TenantId) -> bool {
        self.lock().contains_key(tenant)
    }

    fn is_listening(&self, tenant: &TenantId) -> bool {
        self.lock().entry(tenant.clone()).or_default().listening
    }

    pub fn listening(&self, tenants: &[TenantId]) {
        let mut watched = self.lock();
        for tenant in tenants {
            watched.entry(tenant.clone()).or_default().listening = true;
        }
    }

    /// Nothing arrives any more: readers are told that what they know may be out of date.
    pub fn not_delivering(&self) {
        self.not_delivering.store(true, Ordering::SeqCst);
        for (tenant, watched) in self.lock().iter_mut() {
            watched.listening = false;
            self.doubt(tenant, watched);
        }
    }

    /// The owner is gone and nobody could say so.
    pub fn doubt_owned_by(&self, incarnation: &str) {
        for (tenant, watched) in self.lock().iter_mut() {
            if watched.owner.as_deref() == Some(incarnation) {
                self.doubt(tenant, watched);
            }
        }
    }

    /// Nobody came to stand behind what was said.
    pub fn doubt_unattended(&self, now: Instant) {
        for (tenant, watched) in self.lock().iter_mut() {
            if watched.unattended.is_some_and(|since| now.duration_since(since) >= TAKEN_UP_WITHIN) {
                self.doubt(tenant, watched);
            }
        }
    }

    fn doubt(&self, tenant: &TenantId, watched: &mut Watched) {
        let untold = watched.unattended.take().is_some();
        let Some(shown) = watched.shown.as_mut().filter(|shown| untold || !shown.stale) else { return };
        shown.stale = true;
        self.hub.publish(tenant, Update::Refresh(shown.clone()));
    }

    /// Who is to be alive for what readers here were told to be true.
    pub fn owners(&self) -> HashSet<String> {
        self.lock().values().filter_map(|watched| watched.owner.clone()).collect()
    }

    pub fn owned_by(&self, incarnations: &HashSet<String>) -> Vec<TenantId> {
        let watched = self.lock();
        let owned =
            watched.iter().filter(|(_, watched)| watched.owner.as_ref().is_some_and(|o| incarnations.contains(o)));
        owned.map(|(tenant, _)| tenant.clone()).collect()
    }

    /// Tenants whose code these incarnations showed, as readers here know it.
    pub fn pairing_with(&self, incarnations: &[String]) -> Vec<TenantId> {
        let watched = self.lock();
        let pairing = watched.iter().filter(|(_, watched)| {
            watched.owner.as_ref().is_some_and(|owner| incarnations.contains(owner))
                && watched.shown.as_ref().is_some_and(|shown| is_pairing(&shown.event.status, false))
        });
        pairing.map(|(tenant, _)| tenant.clone()).collect()
    }

    /// Readers here know of a session, and the store of nothing at all: not even that there is nothing.
    pub fn misses(&self, tenant: &TenantId, reading: &Reading) -> bool {
        let known =
            |shown: &Shown| shown.event.cursor != NOWHERE && !matches!(shown.event.status, Status::Disconnected { .. });
        let watched = self.lock();
        reading.record.newest.is_none()
            && reading.record.is_missing()
            && watched.get(tenant).and_then(|watched| watched.shown.as_ref()).is_some_and(known)
    }

    /// The store says something else than readers here know, and nobody reads it yet.
    pub fn differs(&self, tenant: &TenantId, newest: Option<Cursor>, owner: Option<&str>) -> bool {
        let watched = self.lock();
        watched.get(tenant).is_some_and(|watched| {
            watched.reader == Reader::Nobody && (watched.told != newest.into() || watched.owner.as_deref() != owner)
        })
    }

    /// Channels without readers for a while, which are no more watched.
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

    /// A stream that has joined the hub has read for itself: the first one's reading is where telling begins.
    pub fn based(&self, tenant: &TenantId, reading: &Reading, joined: &Joined) -> Based {
        let mut all = self.lock();
        if self.is_gone(&joined.server) {
            return Based::Gone;
        }
        let Some(watched) = all.get_mut(tenant) else { return Based::Well };
        let newest = reading.record.newest.as_ref().map(|newest| newest.cursor);
        if !matches!(watched.told, Told::Unknown | Told::Claimed(_)) {
            if newest < watched.began {
                return Based::Overtaken;
            }
            // It has read what the others have not been told. A reading under way may be older, and is repeated.
            return if newest > watched.told.cursor() && watched.suspect() { Based::Behind } else { Based::Well };
        }
        let in_doubt = watched.reader == Reader::Task;
        if in_doubt && newest.is_none() {
            return Based::Well;
        }
        watched.begin(newest);
        watched.know(reading);
        if let Some(shown) = watched.shown.clone().filter(|_| in_doubt) {
            if watched.told.cursor() == newest {
                // Who began in doubt waits for what the task reads, which is no news any more.
                self.hub.publish(tenant, Update::Refresh(shown));
            }
            return Based::Well;
        }
        if watched.read_on() { Based::Behind } else { Based::Well }
    }

    /// What was known last, in doubt: nothing can be read.
    pub fn known(&self, tenant: &TenantId, now: Timestamp) -> Shown {
        let shown = self.lock().get(tenant).and_then(|watched| watched.shown.clone());
        let event = shown.map_or_else(|| Arc::new(unknown(now)), |shown| shown.event);
        Shown { event, stale: true }
    }

    /// How a stream begins while nothing can be read: with what was known last, in doubt. It is told from its own cursor
    /// on once that is possible, and others not again what they have seen. True: the caller has to catch up.
    pub fn doubted(&self, tenant: &TenantId, after: Option<EventId>, now: Timestamp) -> (Update, Listener, bool) {
        let mut all = self.lock();
        let watched = all.entry(tenant.clone()).or_default();
        if let Some(EventId { cursor: after, .. }) = after {
            watched.told = watched.told.claimed(after);
        }
        let shown = watched.shown.get_or_insert_with(|| Shown { event: Arc::new(unknown(now)), stale: true });
        // Whoever is not told of the doubt does not mind being told of its end.
        shown.stale = true;
        let doubt = Update::Refresh(shown.clone());
        // What is being read now may be older than what this reader has seen elsewhere.
        watched.doubted += 1;
        let reads = watched.reader == Reader::Task;
        watched.reader = Reader::Task;
        // From here on everything is told from its cursor on; what came before would hide what is between.
        (doubt, self.hub.join(tenant), !reads)
    }

    /// An event that this server published. True: it does not follow what was told, and the tenant has to be read.
    pub fn hear(
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
        if watched.reader != Reader::Nobody {
            watched.again = true;
            return false;
        }
        if watched.told != Told::from(previous) {
            let known = watched.told.cursor();
            let old = known.is_some_and(|known| known.epoch == event.cursor.epoch && event.cursor <= known);
            return !old && watched.suspect();
        }
        let event = Arc::new(event);
        watched.told = Told::UpTo(event.cursor);
        let stale = owner.is_none() && !matches!(event.status, Status::Disconnected { .. });
        watched.shown = Some(Shown { event: event.clone(), stale });
        watched.unattended = stale.then(Instant::now);
        watched.owner = owner;
        self.hub.publish(tenant, Update::Event(event));
        false
    }

    /// True: the caller has to read the tenant; otherwise it is being read, or nobody watches it.
    pub fn suspect(&self, tenant: &TenantId) -> bool {
        let mut all = self.lock();
        all.get_mut(tenant).is_some_and(|watched| watched.suspect())
    }

    /// From where to read.
    pub fn read_from(&self, tenant: &TenantId) -> ReadFrom {
        self.lock().get(tenant).map_or(ReadFrom { cursor: None, doubted: 0 }, |watched| watched.read_from())
    }

    /// Tells what was read, at this server, of what follows `from`. True: it has to be read again.
    pub fn caught_up(&self, server: &str, tenant: &TenantId, from: ReadFrom, reading: Reading, now: Timestamp) -> bool {
        let mut all = self.lock();
        let Some(watched) = all.get_mut(tenant) else { return false };
        // Or a stream opened meanwhile, and begins elsewhere.
        if self.is_gone(server) || watched.read_from() != from {
            return true;
        }
        let ReadFrom { cursor: from, .. } = from;
        let known = watched.shown.clone();
        let newest = reading.record.newest.as_ref().map(|newest| newest.cursor);
        watched.know(&reading);
        if matches!(watched.told, Told::Unknown | Told::Claimed(_)) {
            // With a claim, this publishes all events after it. Without one it publishes the newest event alone.
            watched.began = from.map_or(newest, |from| newest.min(Some(from)));
        }
        let moved = newest.is_some() && from != newest;
        watched.told = newest.into();
        if moved {
            watched.unattended = None;
            let follows = reading.follows;
            self.hub.publish_missed(tenant, Missed { follows, updates: reading.backlog().0 });
            let ended = |shown: &Shown| matches!(shown.event.status, Status::Disconnected { .. });
            if let Some(shown) = watched.shown.clone().filter(|shown| newest < from && ended(shown)) {
                // Redis has lost what was told, and nobody who knows it takes an older event. Of what goes on somebody will
                // say where it stands.
                self.hub.publish(tenant, Update::Refresh(shown));
            }
        } else if let Some(shown) = &watched.shown {
            if known.is_none_or(|known| known.stale != shown.stale) {
                self.hub.publish(tenant, Update::Refresh(shown.clone()));
            }
        } else if known.is_some() {
            // Nothing is kept of it: it was never linked, or it was forgotten.
            let event = Arc::new(Event::never_linked(now));
            self.hub.publish(tenant, Update::Refresh(Shown { event, stale: false }));
        }
        watched.read_on()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<TenantId, Box<Watched>>> {
        // Nothing between lock and unlock can leave the map half changed.
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where nothing was ever told.
const NOWHERE: Cursor = Cursor { epoch: 0, sequence: 0 };

/// What is said of a tenant of whom nothing could be read yet; always with the notice that it is stale.
fn unknown(now: Timestamp) -> Event {
    Event::unread(NOWHERE, now)
}

impl Shared {
    /// Returns once what is published of the tenant arrives here. Where that takes too long it is caught up with later.
    pub async fn listen(&self, tenant: &TenantId) {
        if self.audience.is_listening(tenant)
            || self.health.is_away()
            || self.audience.not_delivering.load(Ordering::SeqCst)
        {
            return;
        }
        let (done, arrives) = oneshot::channel();
        let listening = async {
            // An error says that the store closes.
            if self.orders.send((tenant.clone(), done)).await.is_ok() {
                let _ = arrives.await;
            }
        };
        let _ = timeout(LISTEN_TIME_MAX, listening).await;
    }
}

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests;
