use std::{sync::Arc, time::Duration};

use tokio::time::Instant;
use tracing::warn;

use crate::{
    clock::until,
    events::Status,
    store::{Journal, Lease, StoreError},
};

const RETRY_AFTER: Duration = Duration::from_millis(500);

/// Tells the journal a session's status, and keeps the newest while the store is away: what was to be said meanwhile is
/// merged into it, since a status is whole.
pub(super) struct StatusPublisher {
    journal: Arc<dyn Journal>,
    lease: Lease,
    /// The newest status, said or not.
    status: Status,
    retry_at: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PublishOutcome {
    Published {
        listeners: usize,
    },
    /// The store is away: it is said as soon as it is back.
    Pending,
    Fenced,
}

impl PublishOutcome {
    pub fn listeners(self) -> usize {
        match self {
            Self::Published { listeners } => listeners,
            Self::Pending | Self::Fenced => 0,
        }
    }
}

impl StatusPublisher {
    pub fn new(journal: Arc<dyn Journal>, lease: Lease, status: Status) -> Self {
        Self { journal, lease, status, retry_at: None }
    }

    pub fn status(&self) -> &Status {
        &self.status
    }

    pub async fn publish(&mut self, status: Status) -> PublishOutcome {
        self.status = status;
        self.retry().await
    }

    pub async fn retry_due(&self) {
        until(self.retry_at).await;
    }

    pub async fn retry(&mut self) -> PublishOutcome {
        match self.journal.append(&self.lease, self.status.clone()).await {
            Ok(appended) => {
                self.retry_at = None;
                PublishOutcome::Published { listeners: appended.listeners }
            }
            Err(StoreError::Fenced) => PublishOutcome::Fenced,
            Err(error) => {
                warn!(tenant = %self.lease.tenant(), %error, "status could not be kept, trying again");
                self.retry_at = Some(Instant::now() + RETRY_AFTER);
                PublishOutcome::Pending
            }
        }
    }
}
