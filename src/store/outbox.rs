use std::{fmt, time::Duration};

use async_trait::async_trait;
use tokio::time::Instant;

use super::StoreError;
use crate::{
    clock::Timestamp,
    events::{EventId, StatusBody},
    tenant::TenantId,
};

/// How long a notice that was taken is left to its taker: longer than any delivery is allowed to last.
pub const VISIBILITY_TIMEOUT: Duration = Duration::from_secs(15);

/// What the back end has not been told yet: for each tenant the newest status alone, put here in the step that says it,
/// from the moment on at which somebody asked the store for its outbox. Nothing can be said through it.
#[async_trait]
pub trait Outbox: Send + Sync + 'static {
    /// Waits for a notice that is due and takes it: for [`VISIBILITY_TIMEOUT`] nobody else is given one of that tenant. One caller
    /// at a time. Not cancel safe: one that was just taken is due again after that time.
    async fn next(&self) -> OutboxEntry;

    /// It was delivered. What was said meanwhile stays, and is due at once. Changes nothing once the notice is not its
    /// taker's any more.
    async fn ack(&self, entry: &OutboxEntry) -> Result<(), StoreError>;

    /// It was not delivered, and is due again after `wait`, or what took its place is. Changes nothing once the notice
    /// is not its taker's any more.
    async fn nack(&self, entry: &OutboxEntry, wait: Duration) -> Result<(), StoreError>;
}

/// What the back end is to be told of a tenant. Has no place for a code to pair with.
#[derive(Clone)]
pub struct OutboxEntry {
    pub tenant: TenantId,
    /// Of the event that changed the status: the same for every try.
    pub id: EventId,
    /// When the status changed.
    pub at: Timestamp,
    pub status: StatusBody,
    /// How often it, or what it took the place of, was not delivered.
    pub tries: u32,
    /// Who sends later may be overtaken by who takes it next.
    pub until: Instant,
    pub(in crate::store) claim: u128,
    /// Where it stands in an index of those that are due.
    pub(in crate::store) listed: u64,
}

impl fmt::Debug for OutboxEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OutboxEntry({}, {}, {})", self.tenant, self.id, self.status.word())
    }
}
