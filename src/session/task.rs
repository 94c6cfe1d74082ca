//! Runs one session from its lease to its end: opens links, publishes what they report, and does what the user asks
//! for.

mod first;
mod last;
mod proxy;
mod requests;

use std::{ops::ControlFlow, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures::FutureExt as _;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use super::{
    ConnectError, Connector, End, Link, Settings, Signal,
    failures::{Failures, log_retry},
    figures::Figures,
    machine,
    mailbox::Mailbox,
    status_publisher::{PublishOutcome, StatusPublisher},
};
use crate::{
    clock::{SharedClock, until},
    events::{ConnectingReason, PairingId, Passkey, PhoneNumber, Status},
    link_options::{LinkOptions, ProxyName},
    store::{DesiredState, Generation, Lease, StoreError, Stores},
};

/// The pause between two tries after a failure of the store.
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// What every session of this instance works with.
pub(super) struct SessionContext {
    pub stores: Stores,
    pub connector: Arc<dyn Connector>,
    pub clock: SharedClock,
    pub settings: Settings,
    /// Cancelled when this instance stops: sessions are handed over, not ended.
    pub stop: CancellationToken,
}

/// Runs a session until it is finished, handed over or lost. A panic inside a link is a crash of this session only.
pub(super) async fn run(lease: Lease, mailbox: Arc<Mailbox>, context: Arc<SessionContext>) {
    // Where several instances share the work, this line is how an operator finds the one that runs the session.
    info!(tenant = %lease.tenant(), "session started");
    let Ok(mut session) = Session::begin(lease, mailbox, context).await else { return };
    while let Next::Again = session.link_without_panic().await {
        session.read_options().await;
    }
}

/// A session's memory across its links.
struct Session {
    lease: Lease,
    mailbox: Arc<Mailbox>,
    context: Arc<SessionContext>,
    publisher: StatusPublisher,
    failures: Failures,
    figures: Figures,
    /// The newest desired state that this session has read: its end marks this one as fulfilled.
    desired: Generation,
    phone: Option<PhoneNumber>,
    /// What the link has to be, as far as it was read.
    options: LinkOptions,
    /// The proxy that the current link was opened with.
    opened_through: Option<ProxyName>,
    /// The number whose credentials the link uses. The status does not have it after an end that kept the credentials.
    linked_as: Option<PhoneNumber>,
    /// Windows of codes opened since the user last asked.
    windows: u32,
    /// The account accepted this device, as far as is known.
    paired: bool,
    /// When a pairing code was requested that has not come.
    code_asked_at: Option<Instant>,
    /// Codes that were requested for one request of the user, or for one window.
    codes_requested: u32,
    /// The passkey question that was answered last.
    answered: Option<Passkey>,
    /// When to read the desired state again after a failed read.
    reread_at: Option<Instant>,
    /// When the time limit of the current status ends.
    time_limit_ends: Option<Instant>,
}

enum Next {
    /// Another link of the same session.
    Again,
    /// Nothing is left to do here: finished, handed over, or the lease is lost.
    Over,
}

/// Why the session leaves its link.
enum LinkExit {
    Stopped,
    LeaseLost,
    Unlink,
    /// The request expects another account.
    OtherAccount,
    /// Another link is to take its place.
    Reopen,
    Ended(End),
}

impl Session {
    async fn link_without_panic(&mut self) -> Next {
        match AssertUnwindSafe(self.one_link()).catch_unwind().await {
            Ok(next) => next,
            Err(_) => {
                error!(tenant = %self.lease.tenant(), "session panicked");
                self.end(End::Internal).await
            }
        }
    }

    async fn one_link(&mut self) -> Next {
        self.opened_through = self.options.proxy.clone();
        let mut link = match self.context.connector.open(&self.lease, &self.options).await {
            Ok(link) => link,
            Err(ConnectError::Store(StoreError::Fenced)) => return Next::Over,
            Err(ConnectError::UnknownProxy { resumes }) => return self.unknown_proxy(resumes).await,
            Err(ConnectError::Store(StoreError::Unreadable | StoreError::Damaged(_))) => {
                return self.unreadable().await;
            }
            Err(error) => {
                warn!(tenant = %self.lease.tenant(), %error, "link could not be opened");
                let passing = matches!(error, ConnectError::Store(StoreError::Unavailable(_)));
                return self.end(if passing { End::StoreFailed } else { End::Internal }).await;
            }
        };
        // The status of an ended session has no account, and what the next end erases depends on whether there is one.
        self.linked_as = link.resumes();
        self.figures.opened(self.linked_as.is_none());
        self.code_asked_at = None;
        self.paired |= self.linked_as.is_some();
        if self.publish_resuming().await == PublishOutcome::Fenced {
            link.close().await;
            return Next::Over;
        }
        self.restart_time_limit();
        match self.serve_link(&mut *link).await {
            LinkExit::Stopped => {
                link.close().await;
                self.hand_over().await
            }
            LinkExit::LeaseLost => {
                link.close().await;
                Next::Over
            }
            LinkExit::Unlink => self.unlink(Some(link)).await,
            LinkExit::OtherAccount => self.refuse_account(link).await,
            LinkExit::Reopen => {
                link.close().await;
                Next::Again
            }
            LinkExit::Ended(end) => {
                link.close().await;
                self.end(end).await
            }
        }
    }

    async fn serve_link(&mut self, link: &mut dyn Link) -> LinkExit {
        // Reads the desired state first: a notification from before this loop is not lost.
        let mut flow = self.apply_desired_state(link).await;
        if flow.is_continue() && self.linked_as.is_none() && self.publisher.status().account().is_some() {
            // Only an unlink erases credentials, and the process that erased them died before it published the end. It
            // was the phone's unlink, since the user asked for none. A code would be of no use on a page that shows an
            // account.
            warn!(tenant = %self.lease.tenant(), "credentials of the linked account are gone");
            flow = ControlFlow::Break(LinkExit::Ended(End::UnlinkedByPhone));
        }
        loop {
            if let ControlFlow::Break(exit) = flow {
                return exit;
            }
            flow = tokio::select! {
                biased;
                () = self.context.stop.cancelled() => ControlFlow::Break(LinkExit::Stopped),
                () = self.lease.lost().cancelled() => ControlFlow::Break(LinkExit::LeaseLost),
                () = self.mailbox.notified() => self.apply_desired_state(link).await,
                () = self.publisher.retry_due() => {
                    let outcome = self.publisher.retry().await;
                    self.unless_fenced(outcome)
                }
                () = until(self.time_limit_ends) => self.overdue().await,
                signal = link.next() => self.handle_signal(signal, link).await,
                // Last: a desired state that can never be read must not keep the link's signals from being handled.
                () = until(self.reread_at) => self.apply_desired_state(link).await,
            };
        }
    }

    async fn handle_signal(&mut self, signal: Option<Signal>, link: &mut dyn Link) -> ControlFlow<LinkExit> {
        let signal = match signal {
            Some(Signal::Ended(end)) => return ControlFlow::Break(LinkExit::Ended(end)),
            None => return ControlFlow::Break(LinkExit::Ended(End::Internal)),
            Some(Signal::ProxyFailed) => return self.proxy_failed().await,
            Some(signal) => signal,
        };
        if signal == Signal::PairCodeVoid {
            return self.replace_pair_code(link).await;
        }
        if let Signal::Connected { account } = &signal {
            self.check_account(&account.phone, link).await?;
        }
        let before = self.publisher.status().word();
        let (now, fresh) = (self.context.clock.now(), PairingId::new(rand::random()));
        let from = if self.waits_for_proxy() { self.resumed() } else { self.publisher.status().clone() };
        let Some(status) = machine::advance(&from, &signal, now, fresh) else {
            return ControlFlow::Continue(());
        };
        self.figures.count_signal(&signal, now);
        self.paired |= matches!(signal, Signal::Scanned | Signal::Connected { .. });
        if matches!(signal, Signal::Connected { .. }) {
            self.failures.store_works();
        }
        if matches!(signal, Signal::Connected { .. } | Signal::Qr { .. }) {
            self.failures.logged_in();
        }
        if matches!(signal, Signal::PairCode { .. } | Signal::PairCodeRefused { .. }) {
            self.code_asked_at = None;
        }
        let outcome = self.publisher.publish(status).await;
        self.restart_time_limit();
        match (&signal, self.publisher.status()) {
            (Signal::Qr { attempt, .. }, Status::QrPending { pair, .. }) => {
                debug!(tenant = %self.lease.tenant(), attempt, listeners = outcome.listeners(), "qr code generated");
                if pair.is_none() && !self.code_is_coming() {
                    let flow = self.request_pair_code(link).await;
                    if flow.is_break() {
                        return flow;
                    }
                }
            }
            (Signal::Connected { .. }, _) => info!(tenant = %self.lease.tenant(), "whatsapp connected"),
            (_, status) if status.word() != before => {
                debug!(tenant = %self.lease.tenant(), status = status.word().as_str(), "connection status changed");
            }
            _ => {}
        }
        self.unless_fenced(outcome)
    }

    async fn overdue(&mut self) -> ControlFlow<LinkExit> {
        self.time_limit_ends = None;
        if self.waits_for_proxy() {
            return ControlFlow::Break(LinkExit::Ended(End::ProxyFailed));
        }
        match machine::overdue(self.publisher.status()) {
            machine::Overdue::Publish(status) => {
                let outcome = self.publisher.publish(status).await;
                self.restart_time_limit();
                self.unless_fenced(outcome)
            }
            machine::Overdue::End(end) => {
                warn!(tenant = %self.lease.tenant(), status = ?self.publisher.status(), "status did not move on");
                ControlFlow::Break(LinkExit::Ended(end))
            }
            machine::Overdue::Nothing => ControlFlow::Continue(()),
        }
    }

    pub(super) fn restart_time_limit(&mut self) {
        let time_limit = machine::time_limit(self.publisher.status(), self.context.clock.now(), &self.context.settings);
        self.time_limit_ends = time_limit.map(|time_limit| Instant::now() + time_limit);
    }

    fn unless_fenced(&self, outcome: PublishOutcome) -> ControlFlow<LinkExit> {
        match outcome {
            PublishOutcome::Fenced => ControlFlow::Break(LinkExit::LeaseLost),
            PublishOutcome::Published { .. } | PublishOutcome::Pending => ControlFlow::Continue(()),
        }
    }

    /// Decides what follows a link's end: another link, or the session's end.
    async fn end(&mut self, end: End) -> Next {
        let settings = self.context.settings.clone();
        let again = match end {
            End::LeaseLost => return Next::Over,
            End::Unreadable => return self.unreadable().await,
            End::CodesUsedUp if self.windows < settings.qr_windows => {
                // Published first: the result says whether a stream is open.
                let outcome = self.publisher.publish(Status::connecting(ConnectingReason::Starting, None)).await;
                self.windows += 1;
                (outcome.listeners() > 0).then_some(Duration::ZERO)
            }
            End::Replaced => self.failures.replaced(Instant::now()).then_some(settings.replaced_pause),
            End::StoreFailed => Some(self.failures.store_failed()),
            End::Internal | End::PairingCutShort => {
                // Nothing is left of an unfinished pairing, so the next link offers codes.
                self.paired &= end != End::PairingCutShort;
                match self.context.stores.ownership.crashed(&self.lease, settings.crash_window).await {
                    Err(StoreError::Fenced) => return Next::Over,
                    kept => {
                        let kept = kept.unwrap_or(0);
                        self.failures.crashed(Instant::now(), kept, settings.crashes_max, settings.crash_window)
                    }
                }
            }
            End::RateLimited => self.failures.throttled(self.paired, settings.throttled_pause),
            End::ClientOutdated { renewed } if renewed && self.failures.renewed() => Some(Duration::ZERO),
            End::CodesUsedUp
            | End::UnlinkedByPhone
            | End::Banned { .. }
            | End::AccountLocked
            | End::ClientOutdated { .. }
            | End::PairingFailed
            | End::AccountChanged
            | End::PasskeyTimeout
            | End::ProxyFailed => None,
        };
        if let Some(pause) = again {
            return self.pause(pause, end).await;
        }
        if machine::erases(end, self.paired) && !self.erase().await {
            return Next::Over;
        }
        match machine::ended(end) {
            Some(status) => {
                self.figures.ended(&status);
                self.finish(status).await
            }
            None => Next::Over,
        }
    }

    async fn pause(&mut self, pause: Duration, end: End) -> Next {
        // An unfinished pairing has linked no account: a page that shows one would not show the next code.
        let account = self.publisher.status().account().filter(|_| end != End::PairingCutShort).cloned();
        let reason = match end {
            End::RateLimited => ConnectingReason::WhatsappUnreachable,
            _ if account.is_some() || self.paired => ConnectingReason::Reconnecting,
            _ => ConnectingReason::Starting,
        };
        self.wait(Status::connecting(reason, account), pause, end == End::RateLimited).await
    }

    /// Publishes the status and begins another link after the pause, or as soon as the user requests something. With
    /// `to_unlink_only` only an unlink ends the pause: WhatsApp has asked for it.
    pub(super) async fn wait(&mut self, status: Status, pause: Duration, to_unlink_only: bool) -> Next {
        if self.publisher.publish(status).await == PublishOutcome::Fenced {
            return Next::Over;
        }
        let over = Instant::now() + pause;
        let mut ask_again = None;
        loop {
            tokio::select! {
                biased;
                () = self.context.stop.cancelled() => return self.hand_over().await,
                () = self.lease.lost().cancelled() => return Next::Over,
                // The user requested something, which the next link reads. While WhatsApp asks us to wait, only an
                // unlink is worth a dial.
                () = self.mailbox.notified() => {
                    if !to_unlink_only {
                        return Next::Again;
                    }
                    ask_again = Some(Instant::now());
                }
                () = until(ask_again) => match self.is_to_unlink().await {
                    Ok(true) => return Next::Again,
                    Ok(false) => ask_again = None,
                    Err(error) => {
                        log_retry(self.lease.tenant(), &error, "desired state could not be read, retrying");
                        ask_again = Some(Instant::now() + RETRY_AFTER);
                    }
                },
                () = self.publisher.retry_due() => {
                    if self.publisher.retry().await == PublishOutcome::Fenced {
                        return Next::Over;
                    }
                }
                () = sleep_until(over) => return Next::Again,
            }
        }
    }

    async fn is_to_unlink(&self) -> Result<bool, StoreError> {
        Ok(matches!(self.context.stores.commands.current(self.lease.tenant()).await?, Some((_, DesiredState::Unlink))))
    }
}

#[cfg(test)]
mod tests;
