//! The last things a session does.

use tokio::time::sleep;
use tracing::{error, info, warn};

use super::{Next, RETRY_AFTER, Session};
use crate::{
    events::{EndReason, Status},
    session::{Link, machine},
    store::{DesiredState, StoreError},
};

impl Session {
    /// Credentials that cannot be read now are kept, and so is what the user wants: the right key, or the version that
    /// wrote them, may be deployed at any time. Until then the page says so, and they are tried again at growing
    /// intervals. They cannot be used to tell WhatsApp of an unlink, which wipes them.
    pub(super) async fn unreadable(&mut self) -> Next {
        match self.context.stores.commands.current(self.lease.tenant()).await {
            Ok(Some((no, DesiredState::Unlink))) => {
                self.desired = no;
                // Whatever they are, they were kept for a device.
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
            Some(link) => match link.unlink().await {
                Ok(()) => true,
                Err(error) => {
                    warn!(tenant = %self.lease.tenant(), %error, "whatsapp was not told of the unlink");
                    false
                }
            },
            None => false,
        };
        if !self.erase().await {
            return Next::Over;
        }
        self.finish(machine::unlinked(self.paired, remote)).await
    }

    /// False: the lease is gone, or this instance is going before the store answered.
    pub(super) async fn erase(&mut self) -> bool {
        while let Err(error) = self.context.stores.credentials.erase(&self.lease).await {
            if !self.wait_before_retry(error, "credentials could not be erased, trying again").await {
                return false;
            }
        }
        true
    }

    pub(super) async fn finish(&mut self, status: Status) -> Next {
        loop {
            match self.context.stores.journal.finish(self.lease.clone(), status.clone(), self.desired).await {
                Ok(_) => {
                    info!(tenant = %self.lease.tenant(), ?status, "session ended");
                    return Next::Over;
                }
                Err(error) => {
                    if !self.wait_before_retry(error, "the end could not be kept, trying again").await {
                        return Next::Over;
                    }
                }
            }
        }
    }

    pub(super) async fn hand_over(&self) -> Next {
        if let Err(error) = self.context.stores.ownership.release(self.lease.clone()).await {
            warn!(tenant = %self.lease.tenant(), %error, "lease could not be given back: it runs out by itself");
        }
        Next::Over
    }

    pub(super) async fn wait_before_retry(&self, error: StoreError, doing: &'static str) -> bool {
        if let StoreError::Fenced = error {
            return false;
        }
        warn!(tenant = %self.lease.tenant(), %error, "{doing}");
        tokio::select! {
            () = self.context.stop.cancelled() => false,
            () = self.lease.lost().cancelled() => false,
            () = sleep(RETRY_AFTER) => true,
        }
    }
}
