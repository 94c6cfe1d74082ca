//! The first things a session does: it learns what is shown and what is wanted.

use std::sync::Arc;

use tracing::error;

use super::{Next, Session, Surroundings};
use crate::{
    events::{Account, ConnectingReason, Status},
    session::{
        bell::Bell,
        machine,
        teller::{Teller, Told},
        trouble::Trouble,
    },
    store::{Lease, StoreError, Wish, WishNo},
};

impl Session {
    /// `Err`: it was over before its first link.
    pub(super) async fn begin(lease: Lease, nudge: Arc<Bell>, around: Arc<Surroundings>) -> Result<Self, Next> {
        let starting = Status::connecting(ConnectingReason::Starting, None);
        let mut session = Self {
            teller: Teller::new(around.stores.journal.clone(), lease.clone(), starting.clone()),
            trouble: Trouble::default(),
            wish: WishNo(0),
            phone: None,
            linked_as: None,
            windows: 1,
            paired: false,
            code_asked_at: None,
            answered: None,
            heed_at: None,
            patience_ends: None,
            lease,
            nudge,
            around,
        };
        let stores = session.around.stores.clone();
        let tenant = session.lease.tenant().clone();
        let shown = session.learn(|| stores.journal.latest(&tenant)).await?;
        let status = shown.map_or(starting, |shown| shown.event.status.clone());
        // Known before the first link: an end that comes before the wish was read would settle none, and begin anew for
        // ever.
        let wish = session.learn(|| stores.roster.wish(&tenant)).await?;
        session.wish = wish.as_ref().map_or(WishNo(0), |(no, _)| *no);
        session.paired = status.account().is_some() || status == Status::connecting(ConnectingReason::Scanned, None);
        session.teller = Teller::new(stores.journal.clone(), session.lease.clone(), status.clone());
        if matches!((&status, &wish), (Status::Disconnected { .. }, Some((_, Wish::Unlink))))
            && matches!(stores.vault.holds(&tenant).await, Ok(false))
        {
            // Asked for again while the unlink was under way, which has ended it as told.
            return Err(session.finish(status).await);
        }
        if let Some(status) = machine::inherited(&status)
            && session.teller.tell(status).await == Told::Fenced
        {
            return Err(Next::Over);
        }
        Ok(session)
    }

    /// Credentials that could not be read can be now. Without the account the status would count as a pairing, and be
    /// given up when WhatsApp cannot be reached.
    pub(super) async fn says_resuming(&mut self) -> Told {
        let Status::Disconnected { .. } = self.teller.status() else { return Told::Later };
        let status = match self.linked_as.clone() {
            Some(phone) => {
                let account = Account { phone, name: None, platform: None };
                Status::connecting(ConnectingReason::Resuming, Some(account))
            }
            // They were unreadable, and are gone: a code will come.
            None => Status::connecting(ConnectingReason::Starting, None),
        };
        self.teller.tell(status).await
    }

    async fn learn<T, F>(&self, ask: impl Fn() -> F) -> Result<Option<T>, Next>
    where
        F: Future<Output = Result<Option<T>, StoreError>>,
    {
        loop {
            match ask().await {
                Ok(known) => return Ok(known),
                // It will not open in a moment either, and much of a session goes without.
                Err(error @ (StoreError::Unreadable | StoreError::Damaged(_))) => {
                    error!(tenant = %self.lease.tenant(), %error, "what the session was about cannot be read");
                    return Ok(None);
                }
                Err(error) => {
                    if !self.outlast(error, "what the session was about could not be read, trying again").await {
                        return Err(if self.around.stop.is_cancelled() { self.hand_over().await } else { Next::Over });
                    }
                }
            }
        }
    }
}
