use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{failures::log_retry, figures::CountedStatus};
use crate::{
    clock::until,
    events::Status,
    store::{Journal, Lease, StoreError},
};

const RETRY_AFTER: Duration = Duration::from_millis(500);

/// Appends a session's status to the journal. While the store is away it keeps only the newest status and retries: a
/// status is whole, so earlier ones are not needed.
pub(super) struct StatusPublisher {
    journal: Arc<dyn Journal>,
    lease: Lease,
    /// The newest status, saved or not.
    status: Status,
    counted: CountedStatus,
    retry_at: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PublishOutcome {
    Published {
        listeners: usize,
    },
    /// The store is away: the status is saved as soon as it is back.
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
        Self { journal, lease, counted: CountedStatus::of(&status), status, retry_at: None }
    }

    pub fn status(&self) -> &Status {
        &self.status
    }

    pub async fn publish(&mut self, status: Status) -> PublishOutcome {
        self.counted = CountedStatus::of(&status);
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
                log_retry(self.lease.tenant(), &error, "status could not be saved, retrying");
                self.retry_at = Some(Instant::now() + RETRY_AFTER);
                PublishOutcome::Pending
            }
        }
    }
}
