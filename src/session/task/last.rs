//! How a session ends: unlink, erase, finish, hand over.

use tokio::time::sleep;
use tracing::{error, info, warn};

use super::{Next, RETRY_AFTER, Session};
use crate::{
    events::{EndReason, Status},
    session::{Link, failures::log_retry, machine},
    store::{DesiredState, StoreError},
};

impl Session {
    /// Keeps credentials that cannot be read now, and the desired state: the right key, or the version that wrote them,
    /// may be deployed at any time. Until then the page shows the reason, and the session retries at growing intervals.
    /// An unlink erases them without telling WhatsApp, which would need them.
    pub(super) async fn unreadable(&mut self) -> Next {
        match self.context.stores.commands.current(self.lease.tenant()).await {
            Ok(Some((no, DesiredState::Unlink))) => {
                self.desired = no;
                // Credentials are saved only for a device that was paired.
                self.paired = true;
                self.unlink(None).await
            }
            desired => {
                if let Ok(Some((no, _))) = desired {
                    self.desired = no;
                }
                let pause = self.failures.unreadable();
                error!(
                    tenant = %self.lease.tenant(),
                    retry_in_s = pause.as_secs(),
                    "credentials cannot be read: sealed with another key, or written by another version"
                );
                self.wait(Status::ended(EndReason::CredentialsUnreadable), pause, false).await
            }
        }
    }

    pub(super) async fn unlink(&mut self, link: Option<Box<dyn Link>>) -> Next {
        let remote = match link {
            Some(link) => self.send_unlink(link).await,
            None => false,
        };
        if !self.erase().await {
            return Next::Over;
        }
        let status = machine::unlinked(self.paired, remote);
        self.figures.ended(&status);
        self.finish(status).await
    }

    /// Removes this device from an account that the request does not expect.
    pub(super) async fn refuse_account(&mut self, link: Box<dyn Link>) -> Next {
        warn!(tenant = %self.lease.tenant(), "another account than the expected one was linked, removing the device from it");
        let remote = self.send_unlink(link).await;
        if !self.erase().await {
            return Next::Over;
        }
        self.finish(machine::account_refused(remote)).await
    }

    async fn send_unlink(&self, link: Box<dyn Link>) -> bool {
        let sent = link.unlink().await;
        if let Err(error) = &sent {
            warn!(tenant = %self.lease.tenant(), %error, "unlink could not be sent to whatsapp");
        }
        sent.is_ok()
    }

    /// False: the lease is lost, or this instance stops before the store answers.
    pub(super) async fn erase(&mut self) -> bool {
        while let Err(error) = self.context.stores.credentials.erase(&self.lease).await {
            if !self.wait_before_retry(error, "credentials could not be erased, retrying").await {
                return false;
            }
        }
        true
    }

    pub(super) async fn finish(&mut self, status: Status) -> Next {
        let status = status.expecting(self.options.expected_number());
        loop {
            match self.context.stores.journal.finish(self.lease.clone(), status.clone(), self.desired).await {
                Ok(_) => {
                    info!(tenant = %self.lease.tenant(), ?status, "session ended");
                    return Next::Over;
                }
                Err(error) => {
                    if !self.wait_before_retry(error, "final status could not be saved, retrying").await {
                        return Next::Over;
                    }
                }
            }
        }
    }

    pub(super) async fn hand_over(&self) -> Next {
        if let Err(error) = self.context.stores.ownership.release(self.lease.clone()).await {
            warn!(tenant = %self.lease.tenant(), %error, "lease could not be released, it expires by itself");
        }
        Next::Over
    }

    pub(super) async fn wait_before_retry(&self, error: StoreError, doing: &'static str) -> bool {
        if let StoreError::Fenced = error {
            return false;
        }
        log_retry(self.lease.tenant(), &error, doing);
        tokio::select! {
            () = self.context.stop.cancelled() => false,
            () = self.lease.lost().cancelled() => false,
            () = sleep(RETRY_AFTER) => true,
        }
    }
}
