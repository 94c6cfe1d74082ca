use std::sync::Arc;

use super::rows::KeptEvent;
use crate::{
    events::{ConnectingReason, Cursor, Event, Shown, Status},
    store::{Wish, WishNo, lease::Claim},
};

/// All that is known of a tenant, but its credentials and its older events. The rules that need no I/O are here.
#[derive(Clone, Default)]
pub struct Record {
    pub newest: Option<Arc<Event>>,
    /// Of the newest event of this epoch; 0: there is none yet.
    pub sequence: u64,
    /// The newest wish, while it is not settled.
    pub wish: Option<(WishNo, Wish)>,
    /// The number of the newest wish, settled or not.
    pub wishes: u64,
    pub owner: Option<Claim>,
    /// The file says `connecting`/`starting`, which stands for a QR code too: the next one needs no write.
    pub kept_as_starting: bool,
    /// A reader may have been told that the newest event is stale, and has to be told when it is no more.
    pub doubted: bool,
}

impl Record {
    pub fn is_owned(&self) -> bool {
        self.owner.as_ref().is_some_and(Claim::is_held)
    }

    pub fn is_unattended(&self) -> bool {
        self.wish.is_some() && !self.is_owned()
    }

    pub fn is_disconnected(&self) -> bool {
        self.newest.as_ref().is_none_or(|newest| matches!(newest.status, Status::Disconnected { .. }))
    }

    /// The status needs somebody who stands behind it, and there is nobody.
    pub fn is_stale(&self) -> bool {
        !self.is_disconnected() && !self.is_owned()
    }

    pub fn shown(&self) -> Option<Shown> {
        Some(Shown { event: self.newest.clone()?, stale: self.is_stale() })
    }

    /// What a new owner says first. `None`: the newest event is true as it stands.
    pub fn greeting(&self) -> Option<Status> {
        let resuming = |account| Some(Status::connecting(ConnectingReason::Resuming, Some(account)));
        match (self.newest.as_deref().map(|newest| &newest.status), &self.wish) {
            (Some(Status::Connected { account } | Status::Connecting { account: Some(account), .. }), _) => {
                resuming(account.clone())
            }
            (Some(Status::Connecting { account: None, .. }), _) => None,
            (Some(Status::QrPending { .. }) | None, _) => Some(starting()),
            (Some(Status::Disconnected { .. }), Some((_, Wish::Run { .. }))) => Some(starting()),
            // Credentials that outlived their session are about to be wiped: the page knows all there is to know.
            (Some(Status::Disconnected { .. }), Some((_, Wish::Unlink)) | None) => None,
        }
    }

    /// Takes up what the file knew. A status that may stand for codes to pair with gets a cursor of the new epoch: under
    /// its old one a reader has seen something else, or has gone on to cursors that no write was needed for.
    pub fn resume(&mut self, KeptEvent { mut event, replaced }: KeptEvent, epoch: u64) -> Arc<Event> {
        self.kept_as_starting = event.status == starting();
        if replaced || self.kept_as_starting {
            self.sequence = 1;
            event.cursor = Cursor { epoch, sequence: self.sequence };
        }
        let event = Arc::new(event);
        self.newest = Some(event.clone());
        self.doubted = self.is_stale();
        event
    }
}

pub fn starting() -> Status {
    Status::connecting(ConnectingReason::Starting, None)
}
