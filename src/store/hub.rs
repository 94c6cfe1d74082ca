use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::broadcast;

use super::Update;
use crate::{
    events::{EventId, News, PairAnswer, Status},
    tenant::TenantId,
};

/// How many updates a reader may fall behind before its subscription ends. A status changes a few times a minute, so
/// this is minutes of a stalled network; the room is reserved for each tenant that is listened to, about 1 KB.
const BEHIND_MAX: usize = 16;

/// Hands updates to the readers in this process, by tenant. Knows no backend: each of them publishes here.
#[derive(Default)]
pub struct Hub(Mutex<Channels>);

#[derive(Default)]
struct Channels {
    /// Invariant: each has at least one listener, so tenants that nobody watches cost nothing.
    open: HashMap<TenantId, broadcast::Sender<Published>>,
    closed: bool,
}

/// What a listener receives at once.
#[derive(Clone)]
pub enum Published {
    One(Update),
    Missed(Arc<Missed>),
}

/// What happened while the store could not be read, read in one step. It is published as one, so that a reader with an
/// id of its own can look for it among all of them: cursors of two journals cannot be compared.
pub struct Missed {
    /// The event before the first of them, if the store still has it.
    pub follows: Option<EventId>,
    pub updates: Vec<Update>,
}

/// A place in the audience of one tenant; leaving is dropping it.
pub struct Listener {
    hub: Arc<Hub>,
    tenant: TenantId,
    /// Always there but in `drop`, where it has to go before the rest.
    updates: Option<broadcast::Receiver<Published>>,
}

impl Hub {
    /// From the moment it returns, nothing published is missed.
    pub fn join(self: &Arc<Self>, tenant: &TenantId) -> Listener {
        let mut channels = self.channels();
        let updates = if channels.closed {
            broadcast::channel(1).1
        } else {
            let open = channels.open.entry(tenant.clone());
            open.or_insert_with(|| broadcast::Sender::new(BEHIND_MAX)).subscribe()
        };
        Listener { hub: self.clone(), tenant: tenant.clone(), updates: Some(updates) }
    }

    /// Never waits: a reader that is too slow loses its subscription, not the news. Writes one log line, however many
    /// readers there are: with a line for each of them, logging took half of the time of a fan-out.
    pub fn publish(&self, tenant: &TenantId, update: Update) {
        let streams = self.send(tenant, Published::One(update.clone()));
        log_emitted(tenant, &update, streams);
    }

    pub fn publish_missed(&self, tenant: &TenantId, missed: Missed) {
        let missed = Arc::new(missed);
        let streams = self.send(tenant, Published::Missed(missed.clone()));
        for update in &missed.updates {
            log_emitted(tenant, update, streams);
        }
    }

    fn send(&self, tenant: &TenantId, published: Published) -> usize {
        // An error says that the last reader is leaving just now.
        self.channels().open.get(tenant).map_or(0, |channel| channel.send(published).unwrap_or(0))
    }

    pub fn listeners(&self, tenant: &TenantId) -> usize {
        self.channels().open.get(tenant).map_or(0, broadcast::Sender::receiver_count)
    }

    /// Ends every subscription once it has read what was published, and each that is made from now on.
    pub fn close(&self) {
        let mut channels = self.channels();
        channels.closed = true;
        channels.open.clear();
    }

    fn leave(&self, tenant: &TenantId) {
        let mut channels = self.channels();
        if channels.open.get(tenant).is_some_and(|channel| channel.receiver_count() == 0) {
            channels.open.remove(tenant);
        }
    }

    fn channels(&self) -> MutexGuard<'_, Channels> {
        // Nothing between lock and unlock can leave the map half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Logs an event even if no stream gets it: a code that was kept and sent to no page is a fault that operators look for.
/// A notice only repeats the present, and is logged if a stream gets it.
pub fn log_emitted(tenant: &TenantId, update: &Update, streams: usize) {
    let event = match update {
        Update::Event(event) => event,
        Update::Notice(shown) if streams > 0 => {
            let status = shown.status().word().as_str();
            tracing::info!(%tenant, status, stale = shown.stale, streams, "connection status emitted to tenant");
            return;
        }
        Update::Notice(_) => return,
    };
    let (status, News { status: is_news, qr: code, pair }) = (event.status.word().as_str(), event.news);
    match &event.status {
        Status::QrPending { qr, .. } if code => {
            tracing::info!(%tenant, status, attempt = qr.attempt, pair, streams, "qr code emitted to tenant");
        }
        Status::QrPending { pair: Some(asked), .. } if pair => match &asked.code {
            PairAnswer::Code(_) => tracing::info!(%tenant, status, streams, "pair code emitted to tenant"),
            PairAnswer::Refused { refused } => {
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
    /// `None`: fell behind, or the hub closed. Cancel safe.
    pub async fn next(&mut self) -> Option<Published> {
        self.updates.as_mut()?.recv().await.ok()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        drop(self.updates.take());
        self.hub.leave(&self.tenant);
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

    fn sequence(published: Option<Published>) -> Option<u64> {
        match published? {
            Published::One(Update::Event(event)) => Some(event.cursor.sequence),
            Published::One(Update::Notice(_)) | Published::Missed(_) => None,
        }
    }

    #[tokio::test]
    async fn an_update_reaches_every_listener_of_its_tenant_and_no_other() {
        let hub = Arc::new(Hub::default());
        let (mut one, mut two, mut other) = (hub.join(&tenant("a")), hub.join(&tenant("a")), hub.join(&tenant("b")));
        hub.publish(&tenant("a"), update(1));
        hub.publish(&tenant("b"), update(2));
        assert_eq!(sequence(one.next().await), Some(1));
        assert_eq!(sequence(two.next().await), Some(1));
        assert_eq!(sequence(other.next().await), Some(2));
    }

    #[tokio::test]
    async fn the_last_listener_takes_the_tenants_entry_with_it() {
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
    async fn a_listener_that_falls_behind_ends_and_holds_nobody_up() {
        let hub = Arc::new(Hub::default());
        let (mut slow, mut quick) = (hub.join(&tenant("a")), hub.join(&tenant("a")));
        for number in 0..=BEHIND_MAX as u64 {
            hub.publish(&tenant("a"), update(number));
            assert_eq!(sequence(quick.next().await), Some(number));
        }
        assert!(slow.next().await.is_none());
    }

    #[tokio::test]
    async fn a_closed_hub_ends_every_listener_after_what_was_published() {
        let hub = Arc::new(Hub::default());
        let mut early = hub.join(&tenant("a"));
        hub.publish(&tenant("a"), update(1));
        hub.close();
        assert_eq!(sequence(early.next().await), Some(1));
        assert!(early.next().await.is_none());
        assert!(hub.join(&tenant("a")).next().await.is_none());
    }
}
