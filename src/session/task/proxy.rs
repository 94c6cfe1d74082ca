//! What a session does while its proxy makes no connection to WhatsApp. A link that has an account goes on redialling,
//! and the page shows the reason meanwhile. A pairing ends after a time.

use std::ops::ControlFlow;

use tokio::time::Instant;
use tracing::{error, warn};

use super::{LinkExit, Next, Session};
use crate::{
    events::{Account, ConnectingReason, EndReason, PhoneNumber, Status},
    session::End,
    store::DesiredState,
};

impl Session {
    /// The link goes on redialling through the proxy.
    pub(super) async fn proxy_failed(&mut self) -> ControlFlow<LinkExit> {
        warn!(tenant = %self.lease.tenant(), "the proxy makes no connection to whatsapp, redialling through it");
        let outcome = self.publisher.publish(self.waiting_for_proxy()).await;
        // Without this a pairing whose user has left would redial for ever.
        let settings = &self.context.settings;
        self.time_limit_ends = (!self.paired).then(|| Instant::now() + settings.pairing_without_code_max);
        self.unless_fenced(outcome)
    }

    fn waiting_for_proxy(&self) -> Status {
        Status::ended(EndReason::ProxyFailed).expecting(self.options.expected_number())
    }

    pub(super) fn waits_for_proxy(&self) -> bool {
        matches!(self.publisher.status(), Status::Disconnected { reason: EndReason::ProxyFailed, .. })
    }

    /// The status from which a link goes on that a failed proxy had interrupted.
    pub(super) fn resumed(&self) -> Status {
        // An account that is about to be refused is not shown.
        match self.linked_as.clone().filter(|phone| !self.options.refuses(phone)) {
            Some(phone) => {
                let account = Account { phone, name: None, platform: None };
                Status::connecting(ConnectingReason::Resuming, Some(account))
            }
            None => Status::connecting(ConnectingReason::Starting, None),
        }
    }

    /// The link's proxy is not configured here. The operator may add it, or another instance may have it; until then the
    /// session retries at growing intervals. Nothing is ever connected past the proxy.
    pub(super) async fn unknown_proxy(&mut self, resumes: Option<PhoneNumber>) -> Next {
        self.paired |= resumes.is_some();
        self.linked_as = resumes;
        match self.context.stores.commands.current(self.lease.tenant()).await {
            Ok(Some((no, DesiredState::Unlink))) => {
                self.desired = no;
                return self.unlink(None).await;
            }
            Ok(Some((no, _))) => self.desired = no,
            Ok(None) | Err(_) => {}
        }
        error!(tenant = %self.lease.tenant(), "the link's proxy is not in TAUTAN_WHATSAPP_PROXIES_FILE, not connecting");
        if !self.paired {
            return self.end(End::ProxyFailed).await;
        }
        let pause = self.failures.unreadable();
        self.wait(self.waiting_for_proxy(), pause, false).await
    }

    /// Reads what the next link has to be. A failure is logged by whatever needs the store next.
    pub(super) async fn read_options(&mut self) {
        if let Ok(Some((_, DesiredState::Run { options, .. }))) =
            self.context.stores.commands.current(self.lease.tenant()).await
        {
            self.options = options;
        }
    }

    /// Whether the next link would take another way than this one, which has no connection that could be lost, or that
    /// the user asks for another try.
    pub(super) fn is_to_reopen(&self, asked_again: bool) -> bool {
        let is_idle = match self.publisher.status() {
            Status::Disconnected { .. } | Status::QrPending { .. } => true,
            Status::Connecting { reason, .. } => {
                !matches!(reason, ConnectingReason::Scanned | ConnectingReason::PasskeyRequired)
            }
            Status::Connected { .. } => false,
        };
        is_idle && self.options.proxy != self.opened_through || asked_again && self.waits_for_proxy()
    }
}
