//! How a session begins: it reads the current status and the desired state.

use std::sync::Arc;

use super::{Next, Session, SessionContext};
use crate::{
    events::{ConnectingReason, Status},
    link_options::LinkOptions,
    session::{
        failures::Failures,
        figures::Figures,
        machine,
        mailbox::Mailbox,
        status_publisher::{PublishOutcome, StatusPublisher},
    },
    store::{Beginning, DesiredState, Generation, Lease},
};

impl Session {
    /// `Err`: the session ended before its first link.
    pub(super) async fn begin(lease: Lease, mailbox: Arc<Mailbox>, context: Arc<SessionContext>) -> Result<Self, Next> {
        let starting = Status::connecting(ConnectingReason::Starting, None);
        let mut session = Self {
            publisher: StatusPublisher::new(context.stores.journal.clone(), lease.clone(), starting.clone()),
            failures: Failures::default(),
            figures: Figures::default(),
            desired: Generation(0),
            phone: None,
            options: LinkOptions::default(),
            opened_through: None,
            linked_as: None,
            windows: 1,
            paired: false,
            code_asked_at: None,
            codes_requested: 0,
            answered: None,
            reread_at: None,
            time_limit_ends: None,
            lease,
            mailbox,
            context,
        };
        let stores = session.context.stores.clone();
        let tenant = session.lease.tenant().clone();
        // Read before the first link: an end without the generation would fulfil no request, and the session would
        // start again for ever.
        let Beginning { shown, desired } = session.read_beginning().await?;
        session.figures = Figures::begin(shown.as_ref());
        let status = shown.map_or(starting, |shown| shown.event.status.clone());
        session.desired = desired.as_ref().map_or(Generation(0), |(no, _)| *no);
        if let Some((_, DesiredState::Run { options, .. })) = &desired {
            session.options = options.clone();
        }
        session.paired = status.account().is_some() || status == Status::connecting(ConnectingReason::Scanned, None);
        session.publisher = StatusPublisher::new(stores.journal.clone(), session.lease.clone(), status.clone());
        // Without credentials there is nothing to tell WhatsApp. A link would be opened only to be closed, and past the
        // proxy, whose name went with the request.
        if matches!(desired, Some((_, DesiredState::Unlink)))
            && matches!(stores.credentials.holds(&tenant).await, Ok(false))
        {
            let ended = match status {
                // A second request while the unlink was under way, which has ended with the status already.
                Status::Disconnected { .. } => status,
                Status::Connecting { .. } | Status::QrPending { .. } | Status::Connected { .. } => {
                    machine::unlinked(session.paired, true)
                }
            };
            return Err(session.finish(ended).await);
        }
        if let Some(status) = machine::inherited(&status)
            && session.publisher.publish(status).await == PublishOutcome::Fenced
        {
            return Err(Next::Over);
        }
        Ok(session)
    }

    /// Credentials that could not be read are readable now. Without the account the status would count as a pairing,
    /// which ends when WhatsApp cannot be reached.
    pub(super) async fn publish_resuming(&mut self) -> PublishOutcome {
        let Status::Disconnected { .. } = self.publisher.status() else { return PublishOutcome::Pending };
        // Whether the proxy works again is not known yet.
        if self.waits_for_proxy() {
            return PublishOutcome::Pending;
        }
        // Without an account: the unreadable credentials are gone, and this link offers codes.
        self.publisher.publish(self.resumed()).await
    }

    async fn read_beginning(&self) -> Result<Beginning, Next> {
        loop {
            match self.context.stores.commands.beginning(self.lease.tenant()).await {
                Ok(beginning) => return Ok(beginning),
                // Also where a row is damaged: without it the session would link any account, and past the proxy.
                Err(error) => {
                    if !self.wait_before_retry(error, "status or desired state could not be read, retrying").await {
                        return Err(if self.context.stop.is_cancelled() { self.hand_over().await } else { Next::Over });
                    }
                }
            }
        }
    }
}
