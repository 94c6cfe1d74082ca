use std::{
    any::Any,
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    task::{Context, Poll, Waker},
};

use super::Update;
use crate::{
    events::{EventId, News, PairResult, Status},
    telemetry::{metrics, words::READER_BEHIND},
    tenant::TenantId,
};

/// How many updates a reader may fall behind before its subscription ends. A status changes a few times a minute, so
/// this is minutes of a stalled network.
const BEHIND_MAX: usize = 16;

/// Delivers updates to the readers in this process, by tenant. Every backend publishes here.
#[derive(Default)]
pub struct Hub(Mutex<Channels>);

#[derive(Default)]
struct Channels {
    /// Invariant: each has at least one listener, so tenants without readers cost nothing.
    open: HashMap<TenantId, Vec<Arc<Inbox>>>,
    closed: bool,
}

/// What a listener receives at once.
#[derive(Clone)]
pub enum Published {
    One(Update, Arc<Memo>),
    Missed(Arc<Missed>),
}

/// The events of a time in which the store could not be read, read in one step. They are published as one, so that a
/// reader with an id of its own can look for it among all of them: cursors of two journals cannot be compared.
pub struct Missed {
    /// The event before the first of them, if the store still has it.
    pub follows: Option<EventId>,
    pub updates: Vec<Update>,
}

/// A value that one reader computes from a publication and the other readers reuse. Dropped with the last reader. The
/// hub does not know its type.
#[derive(Default)]
pub struct Memo(OnceLock<Box<dyn Any + Send + Sync>>);

impl Memo {
    /// `None` if another type was kept here first.
    pub fn get_or_init<T: Any + Send + Sync>(&self, make: impl FnOnce() -> T) -> Option<&T> {
        self.0.get_or_init(|| Box::new(make())).downcast_ref()
    }
}

/// One reader of a tenant's updates. Dropping it ends the subscription.
pub struct Listener {
    hub: Arc<Hub>,
    tenant: TenantId,
    inbox: Arc<Inbox>,
}

/// Updates that were published and that one listener has not received yet. An empty inbox holds no buffer: most readers
/// wait, and a buffer for each would be most of their memory.
#[derive(Default)]
struct Inbox(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    updates: VecDeque<Published>,
    /// No update follows those that wait.
    ended: bool,
    reader: Option<Waker>,
}

impl Inbox {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the waker of a waiting reader. Wake it only after every lock is released.
    fn push(&self, published: Published) -> Option<Waker> {
        let mut waiting = self.waiting();
        if waiting.ended {
            return None;
        }
        if waiting.updates.len() < BEHIND_MAX {
            waiting.updates.push_back(published);
        } else {
            metrics().slow_readers.add(READER_BEHIND);
            // After a gap, this reader must not receive later updates.
            waiting.updates = VecDeque::new();
            waiting.ended = true;
        }
        waiting.reader.take()
    }

    fn end(&self) -> Option<Waker> {
        let mut waiting = self.waiting();
        waiting.ended = true;
        waiting.reader.take()
    }

    fn poll_next(&self, cx: &mut Context<'_>) -> Poll<Option<Published>> {
        let mut waiting = self.waiting();
        if let Some(published) = waiting.updates.pop_front() {
            if waiting.updates.is_empty() {
                waiting.updates = VecDeque::new();
            }
            return Poll::Ready(Some(published));
        }
        if waiting.ended {
            return Poll::Ready(None);
        }
        if !waiting.reader.as_ref().is_some_and(|reader| reader.will_wake(cx.waker())) {
            waiting.reader = Some(cx.waker().clone());
        }
        Poll::Pending
    }
}

impl Hub {
    /// Adds a listener. It receives everything that is published after this returns.
    pub fn join(self: &Arc<Self>, tenant: &TenantId) -> Listener {
        let inbox = Arc::new(Inbox::default());
        let mut channels = self.channels();
        if channels.closed {
            inbox.end();
        } else {
            channels.open.entry(tenant.clone()).or_insert_with(|| Vec::with_capacity(1)).push(inbox.clone());
        }
        drop(channels);
        Listener { hub: self.clone(), tenant: tenant.clone(), inbox }
    }

    /// Never waits: a reader that is too slow loses its subscription. Writes one log line, however many readers there
    /// are: with a line for each of them, logging took half of the time of a fan-out.
    pub fn publish(&self, tenant: &TenantId, update: Update) {
        let streams = self.send(tenant, &Published::One(update.clone(), Arc::default()));
        log_emitted(tenant, &update, streams);
    }

    pub fn publish_missed(&self, tenant: &TenantId, missed: Missed) {
        let missed = Arc::new(missed);
        let streams = self.send(tenant, &Published::Missed(missed.clone()));
        for update in &missed.updates {
            log_emitted(tenant, update, streams);
        }
    }

    /// Returns the number of listeners.
    fn send(&self, tenant: &TenantId, published: &Published) -> usize {
        let (count, readers) = match self.channels().open.get(tenant) {
            None => return 0,
            Some(inboxes) => {
                let readers: Vec<Waker> = inboxes.iter().filter_map(|inbox| inbox.push(published.clone())).collect();
                (inboxes.len(), readers)
            }
        };
        readers.into_iter().for_each(Waker::wake);
        count
    }

    pub fn listeners(&self, tenant: &TenantId) -> usize {
        self.channels().open.get(tenant).map_or(0, Vec::len)
    }

    /// Ends every subscription once it has read what was published, and each that is made from now on.
    pub fn close(&self) {
        let mut channels = self.channels();
        channels.closed = true;
        let inboxes = channels.open.drain().flat_map(|(_, inboxes)| inboxes);
        let readers: Vec<Waker> = inboxes.filter_map(|inbox| inbox.end()).collect();
        drop(channels);
        readers.into_iter().for_each(Waker::wake);
    }

    fn leave(&self, tenant: &TenantId, inbox: &Arc<Inbox>) {
        let mut channels = self.channels();
        let Some(inboxes) = channels.open.get_mut(tenant) else { return };
        if let Some(place) = inboxes.iter().position(|other| Arc::ptr_eq(other, inbox)) {
            inboxes.swap_remove(place);
        }
        if inboxes.is_empty() {
            channels.open.remove(tenant);
        }
    }

    fn channels(&self) -> MutexGuard<'_, Channels> {
        // Nothing between lock and unlock can leave the map half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Logs an event even if no stream receives it: operators look for codes that were saved and sent to no page. A refresh
/// only repeats the current status, and is logged if a stream receives it.
pub fn log_emitted(tenant: &TenantId, update: &Update, streams: usize) {
    let event = match update {
        Update::Event(event) => event,
        Update::Refresh(shown) if streams > 0 => {
            let status = shown.status().word().as_str();
            tracing::info!(%tenant, status, stale = shown.stale, streams, "connection status emitted to tenant");
            return;
        }
        Update::Refresh(_) => return,
    };
    let (status, News { status: is_news, qr: code, pair }) = (event.status.word().as_str(), event.news);
    match &event.status {
        Status::QrPending { qr, .. } if code => {
            tracing::info!(%tenant, status, attempt = qr.attempt, pair, streams, "qr code emitted to tenant");
        }
        Status::QrPending { pair: Some(asked), .. } if pair => match &asked.code {
            PairResult::Code(_) => tracing::info!(%tenant, status, streams, "pair code emitted to tenant"),
            PairResult::Refused { refused } => {
                tracing::info!(%tenant, status, reason = refused.as_str(), streams, "pair code was refused");
            }
        },
        Status::Connecting { passkey: Some(_), .. } if code => {
            tracing::info!(%tenant, status, streams, "passkey asked of tenant");
        }
        _ if is_news => tracing::info!(%tenant, status, streams, "connection status emitted to tenant"),
        _ => {}
    }
}

impl Listener {
    /// `None`: fell behind, or the hub closed.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Published>> {
        self.inbox.poll_next(cx)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.hub.leave(&self.tenant, &self.inbox);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        clock::Timestamp,
        events::{Cursor, EndReason, Event, EventId, JournalId},
    };

    fn tenant(name: &str) -> TenantId {
        TenantId::parse(name).unwrap()
    }

    fn update(sequence: u64) -> Update {
        let status = Status::ended(EndReason::Cancelled);
        let id = EventId { journal: JournalId::new(7), cursor: Cursor { epoch: 1, sequence } };
        Update::Event(Arc::new(Event::after(None, id, Timestamp::UNIX_EPOCH, status)))
    }

    async fn sequence(listener: &mut Listener) -> Option<u64> {
        match std::future::poll_fn(|cx| listener.poll_next(cx)).await? {
            Published::One(Update::Event(event), _) => Some(event.cursor.sequence),
            Published::One(Update::Refresh(_), _) | Published::Missed(_) => None,
        }
    }

    #[tokio::test]
    async fn update_reaches_only_the_listeners_of_its_tenant() {
        let hub = Arc::new(Hub::default());
        let (mut one, mut two, mut other) = (hub.join(&tenant("a")), hub.join(&tenant("a")), hub.join(&tenant("b")));
        hub.publish(&tenant("a"), update(1));
        hub.publish(&tenant("b"), update(2));
        assert_eq!(sequence(&mut one).await, Some(1));
        assert_eq!(sequence(&mut two).await, Some(1));
        assert_eq!(sequence(&mut other).await, Some(2));
    }

    #[tokio::test]
    async fn entry_of_a_tenant_is_removed_with_its_last_listener() {
        let hub = Arc::new(Hub::default());
        let (one, two) = (hub.join(&tenant("a")), hub.join(&tenant("a")));
        assert_eq!(hub.listeners(&tenant("a")), 2);
        drop(one);
        assert_eq!(hub.listeners(&tenant("a")), 1);
        drop(two);
        assert_eq!(hub.listeners(&tenant("a")), 0);
        assert!(hub.channels().open.is_empty());
    }

    #[tokio::test]
    async fn slow_listener_ends_and_does_not_block_others() {
        let hub = Arc::new(Hub::default());
        let (mut slow, mut quick) = (hub.join(&tenant("a")), hub.join(&tenant("a")));
        for number in 0..=BEHIND_MAX as u64 {
            hub.publish(&tenant("a"), update(number));
            assert_eq!(sequence(&mut quick).await, Some(number));
        }
        assert!(sequence(&mut slow).await.is_none());
    }

    #[tokio::test]
    async fn closed_hub_ends_listeners_after_published_updates() {
        let hub = Arc::new(Hub::default());
        let mut early = hub.join(&tenant("a"));
        hub.publish(&tenant("a"), update(1));
        hub.close();
        assert_eq!(sequence(&mut early).await, Some(1));
        assert!(sequence(&mut early).await.is_none());
        assert!(sequence(&mut hub.join(&tenant("a"))).await.is_none());
    }
}
