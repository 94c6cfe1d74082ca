use std::{fmt, time::Duration};

use async_trait::async_trait;
use tokio::time::Instant;

use super::StoreError;
use crate::{
    clock::Timestamp,
    events::{EventId, StatusBody},
    tenant::TenantId,
};

/// How long an entry stays with the dispatcher that took it: longer than any delivery may last.
pub const VISIBILITY_TIMEOUT: Duration = Duration::from_secs(15);

/// Entries that one call takes or settles at most.
pub const BATCH_MAX: usize = 32;

/// The statuses that the back end does not know yet: for each tenant the newest one. The step that publishes a status
/// also puts it here, once a dispatcher has asked the store for its outbox. Statuses cannot be changed through it.
#[async_trait]
pub trait Outbox: Send + Sync + 'static {
    /// Waits for entries that are due and takes up to `max` of them, [`BATCH_MAX`] at most, each of another tenant: for
    /// [`VISIBILITY_TIMEOUT`] no other dispatcher gets one of these tenants. One caller at a time. Not cancel safe:
    /// entries that were just taken are due again after that time.
    async fn take(&self, max: usize) -> Vec<OutboxEntry>;

    /// Saves what became of up to [`BATCH_MAX`] entries. Changes nothing of an entry whose visibility timeout is over. A
    /// failure of one tenant's entry does not keep the others' from being saved.
    async fn settle(&self, settled: &[(OutboxEntry, Delivery)]) -> Result<(), StoreError>;

    /// What waits now, over all instances.
    async fn waiting(&self) -> Result<Waiting, StoreError>;
}

/// What became of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// The back end knows it. A newer status stays, and is due at once.
    Delivered,
    /// It, or the newer status in its place, is due again after this time.
    Again(Duration),
}

/// The statuses that the back end does not know yet, in figures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    /// How many tenants have an entry.
    pub tenants: usize,
    /// When the oldest one changed. With more than a thousand tenants on Redis: of the thousand that are due first.
    pub oldest: Option<Timestamp>,
}

/// A status that the back end does not know yet. It has no field for a code to pair with.
#[derive(Clone)]
pub struct OutboxEntry {
    /// The tenant whose status changed.
    pub tenant: TenantId,
    /// The id of the event that changed the status: the same for every delivery.
    pub id: EventId,
    /// When the status changed.
    pub at: Timestamp,
    /// The status to send.
    pub status: StatusBody,
    /// How often it, or the status that it replaced, was not delivered.
    pub tries: u32,
    /// Nothing may be sent after this: the next dispatcher may have taken the entry.
    pub until: Instant,
    pub(in crate::store) receipt: u128,
}

impl fmt::Debug for OutboxEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OutboxEntry({}, {}, {})", self.tenant, self.id, self.status.word())
    }
}
