use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;

use super::{
    rows::{KeptEvent, PendingWebhook},
    used::Used,
};
use crate::{
    clock::Timestamp,
    events::{Cursor, Event, Shown},
    store::{DesiredState, Generation, lease::WeakLease, record::Facts, takeover::starting},
};

/// All that is known of a tenant, but its credentials and its older events.
#[derive(Clone, Default)]
pub struct Record {
    pub newest: Option<Arc<Event>>,
    /// The sequence of the newest event of this epoch; 0: there is none yet.
    pub sequence: u64,
    /// The event that the back end does not know yet.
    pub pending_webhook: Option<PendingWebhook>,
    /// The newest desired state, until it is fulfilled.
    pub desired: Option<(Generation, DesiredState)>,
    /// The number of the newest desired state, fulfilled or not.
    pub generation: u64,
    pub owner: Option<WeakLease>,
    /// Since when it may be forgotten, in the time that [`super::idle::IdleTime`] counts. `None`: it could not be
    /// forgotten at the last check.
    pub idle_since: Option<u64>,
    /// The newest event or the desired state in the file cannot be read, and readers are shown this status. A desired
    /// state that cannot be read starts no session, so only the user's next request replaces it. An event that cannot be
    /// read is replaced by the next one, as any other is: the file holds only the newest. A session does not need it, since
    /// the credentials name the account.
    pub unread: Option<Arc<Event>>,
    /// The file says `connecting`/`starting`, which stands for a QR code too: the next one needs no write.
    pub kept_as_starting: bool,
    /// When the session crashed lately.
    pub crashes: Vec<Timestamp>,
    /// A reader may have seen the newest event as stale, and needs a refresh when it no longer is.
    pub doubted: bool,
    /// Messages that the owner has not received yet, with their time. In memory alone.
    pub messages: VecDeque<(Timestamp, Bytes)>,
    pub used: Used,
}

impl Record {
    pub fn is_owned(&self) -> bool {
        self.owner.as_ref().is_some_and(WeakLease::is_held)
    }

    pub fn facts(&self) -> Facts<'_> {
        Facts { newest: self.newest.as_ref(), desired: self.desired.as_ref(), is_owned: self.is_owned() }
    }

    /// What readers are shown.
    pub fn shown(&self) -> Option<Shown> {
        match &self.unread {
            Some(event) => Some(Shown { event: event.clone(), stale: false }),
            None => self.facts().shown(),
        }
    }

    /// Whether it may be forgotten once it has been so for long enough, unless there are credentials.
    pub fn is_idle(&self) -> bool {
        self.desired.is_none() && !self.is_owned() && self.unread.is_none()
    }

    /// Says nothing that an unknown tenant's would not say.
    pub fn is_blank(&self) -> bool {
        let nothing_happened = self.newest.is_none() && self.generation == 0 && self.owner.is_none();
        nothing_happened
            && self.unread.is_none()
            && self.crashes.is_empty()
            && self.messages.is_empty()
            && self.used.is_empty()
    }

    /// Restores what the file knew. A status that may stand for codes to pair with gets a cursor of the new epoch:
    /// under its old one a reader has seen something else, or has gone on to cursors that needed no write. The back end
    /// may know something else too, and is sent the status again.
    pub fn resume(&mut self, KeptEvent { mut event, replaced, pending_webhook }: KeptEvent, epoch: u64) -> Arc<Event> {
        self.kept_as_starting = event.status == starting();
        self.pending_webhook = pending_webhook;
        if replaced || self.kept_as_starting {
            self.sequence = 1;
            event.cursor = Cursor { epoch, sequence: self.sequence };
            self.pending_webhook = Some(PendingWebhook { cursor: event.cursor, at: event.at });
        }
        let event = Arc::new(event);
        self.newest = Some(event.clone());
        self.doubted = self.facts().is_stale();
        event
    }
}
