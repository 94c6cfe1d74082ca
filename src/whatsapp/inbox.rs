use std::sync::Arc;

use tokio::sync::mpsc::{Sender, error::TrySendError};
use tracing::error;
use whatsapp_rust::types::events::{Event, EventHandler, EventInterest};

use super::{termination::Termination, translate::interest};
use crate::{events::PairRefusal, session::End};

/// What a link can hear before its driver reads it: some twenty are a busy pairing.
pub(super) const EVENTS_MAX: usize = 64;

pub(super) enum InboxEvent {
    Event(Arc<Event>),
    Unreachable,
    /// The library dials anew: whatever connection there was is gone.
    Redials,
    CodeRefused(PairRefusal),
    PasskeyRefused,
    /// The library will not dial again.
    LoopEnded,
}

/// Where the library's tasks leave what happened. Never waits for the reader: a full inbox ends the link, because what
/// was dropped might have been its end.
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
