use std::sync::Arc;

use tokio::sync::mpsc::{Sender, error::TrySendError};
use tracing::error;
use whatsapp_rust::types::events::{Event, EventHandler, EventInterest};

use super::{termination::Termination, translate::interest};
use crate::{events::PairRefusal, session::End};

/// How many events may wait for the driver. A busy pairing has some twenty.
pub(super) const EVENTS_MAX: usize = 64;

pub(super) enum InboxEvent {
    Event(Arc<Event>),
    Unreachable,
    /// The proxy makes no connection to WhatsApp.
    ProxyFailed,
    /// The library reconnects: the connection before has ended.
    Redials,
    CodeRefused(PairRefusal),
    PasskeyRefused,
    /// The library will not reconnect.
    LoopEnded,
}

/// Receives events from the library's tasks. Never waits for the reader: a full inbox ends the link, because the
/// dropped event might be the one that ends it.
#[derive(Clone)]
pub(super) struct Inbox {
    events: Sender<InboxEvent>,
    termination: Arc<Termination>,
}

impl Inbox {
    pub fn new(events: Sender<InboxEvent>, termination: Arc<Termination>) -> Self {
        Self { events, termination }
    }

    pub fn push(&self, event: InboxEvent) {
        match self.events.try_send(event) {
            // Closed: the link has ended.
            Ok(()) | Err(TrySendError::Closed(_)) => {}
            Err(TrySendError::Full(_)) => {
                error!("a WhatsApp link is not read any more: it is closed");
                self.termination.terminate(End::Internal);
            }
        }
    }
}

impl EventHandler for Inbox {
    fn handle_event(&self, event: Arc<Event>) {
        self.push(InboxEvent::Event(event));
    }

    fn interest(&self) -> EventInterest {
        interest()
    }
}
