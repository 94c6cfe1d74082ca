//! Keeps the state of every tenant and publishes each change of a status to its readers.
//!
//! What it is for: [`Journal`] keeps and publishes statuses, [`Ownership`] decides which instance runs a tenant,
//! [`Commands`] keeps what users ask for, [`CredentialStore`] keeps credentials, [`Outbox`] keeps what webhooks still
//! have to deliver, [`Revocations`] keeps which tokens are refused, [`Tenants`] lists and erases tenants for an operator,
//! and [`ClientVersions`] keeps the version of WhatsApp's web client, which belongs to no tenant.
//!
//! What it guarantees: a status is checked, numbered, saved and published in one step. An owner writes only with its
//! [`Lease`], which the store compares in the step that writes. Everything that belongs to a tenant is encrypted at
//! rest.
//!
//! What it must not do: know HTTP or the WhatsApp library.
//!
//! Where to start reading: the traits below, then `hub` and `subscription`, then one backend: [`embedded`] or
//! [`redis`].

pub mod crypt;
pub mod embedded;
mod takeover;
mod hub;
mod idle;
mod lease;
mod limits;
mod migration;
mod notifications;
mod outbox;
mod record;
pub mod redis;
mod client_version;
mod desired_state;
mod revocation;
mod subscription;
mod tenants;

use std::{collections::HashMap, fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;

pub use client_version::{ClientVersion, ClientVersions};
pub use desired_state::DesiredState;
pub use hub::Memo;
pub use idle::FORGET_AFTER;
pub use lease::Lease;
pub use limits::{Limited, Limits, Usage};
pub use migration::Migration;
pub use outbox::{BATCH_MAX, Delivery, Outbox, OutboxEntry, VISIBILITY_TIMEOUT, Waiting};
pub use revocation::{Revocations, Revoked};
pub use subscription::{Subscription, Update};
pub use tenants::Tenants;

use crate::{
    events::{Event, EventId, PhoneNumber, Shown, Status},
    tenant::TenantId,
};

/// How long a message to a tenant's owner is kept: the owner receives it in a moment, or its sender has given up.
pub const MESSAGE_KEPT_FOR: Duration = Duration::from_secs(60);

/// How many messages wait for one owner.
pub const MESSAGES_MAX: usize = 8;

/// A tenant's events, saved and live. A tenant's status changes only here, in [`Commands::submit`], in
/// [`Ownership::acquire`] and in the recovery of Redis. Each of them numbers, saves and publishes the event in one step:
/// *saving is publishing*.
#[async_trait]
pub trait Journal: Send + Sync + 'static {
    /// Atomic: checks the fence, then numbers, saves and publishes the event; or nothing happens.
    ///
    /// A status equal to the newest one is not appended again: the newest event is returned.
    async fn append(&self, lease: &Lease, status: Status) -> Result<Appended, StoreError>;

    /// The only way to end a session. In one step it appends the terminal status, marks the desired state `fulfils` as
    /// fulfilled if it is still the newest, and releases the lease.
    ///
    /// A newer [`DesiredState::Run`] is not lost: the same step appends `connecting`/`starting`, and notifies the
    /// instances that the tenant can be acquired.
    async fn finish(&self, lease: Lease, status: Status, fulfils: Generation) -> Result<Arc<Event>, StoreError>;

    /// `None`: the tenant never had a session here.
    async fn latest(&self, tenant: &TenantId) -> Result<Option<Shown>, StoreError>;

    /// What a reader is shown: while the store cannot be read, the last known status, marked stale, and no error.
    async fn present(&self, tenant: &TenantId) -> Result<Option<Shown>, StoreError> {
        self.latest(tenant).await
    }

    /// The events that a reader has missed since `after`, then the live ones: in order, and each once.
    ///
    /// Without an id, or with one that is not in this journal's history, the subscription begins with the newest event,
    /// if there is one. With a known id it begins with the event that follows. While the status is stale, an
    /// [`Update::Refresh`] takes the newest event's place at the end of the backlog: as an event it would claim a live
    /// owner. A reader that returns with the newest id also receives one when the status is no longer stale, or where
    /// another instance may have shown it as stale. A temporary failure of the store is no error: the subscription then
    /// begins with a stale refresh and catches up by itself.
    async fn subscribe(&self, tenant: &TenantId, after: Option<EventId>) -> Subscription;
}

/// Which instance runs a tenant, by leases.
#[async_trait]
pub trait Ownership: Send + Sync + 'static {
    /// Acquires the lease of a tenant that has an unfulfilled desired state and no live owner; `None` otherwise.
    ///
    /// The same step appends a status. If the newest one is `connected`, or `connecting` with an account, it appends
    /// `connecting`/`resuming`. If the newest one is `qr_pending`, or there is none, it appends
    /// `connecting`/`starting`. A `connecting` without an account stays, and so does `disconnected` if the tenant is to
    /// be unlinked or its credentials cannot be read. If nothing is appended, readers receive a refresh: the status is
    /// not stale any more.
    async fn acquire(&self, tenant: &TenantId) -> Result<Option<Lease>, StoreError>;

    /// Up to `max` tenants with an unfulfilled desired state and no live owner.
    async fn orphaned(&self, max: usize) -> Result<Vec<TenantId>, StoreError>;

    /// Hands over: the desired state stays, the instances are notified, and one of them acquires the tenant. Appends
    /// nothing.
    async fn release(&self, lease: Lease) -> Result<(), StoreError>;

    /// Counts a crash of the session in the tenant's record, so that the next owner knows of it. Returns how many fell
    /// into the window, this one included.
    async fn crashed(&self, lease: &Lease, window: Duration) -> Result<usize, StoreError>;

    /// Waits until tenants may have lost their owners: call [`Self::orphaned`] then. Cancel safe. One caller at a time.
    async fn rescan(&self);

    /// How long to leave an orphaned tenant to instances with fewer sessions. Zero: acquire it now.
    fn acquire_delay(&self, tenant: &TenantId) -> Duration;

    /// Whether any live instance reports room for another session.
    fn has_room(&self) -> bool;
}

/// What users ask for: the desired state of each tenant's session, and messages to the owner that runs it.
#[async_trait]
pub trait Commands: Send + Sync + 'static {
    /// Saves what the user wants, durably and with a rising number, and notifies the instances that can act on it.
    ///
    /// Options that the request leaves open stay as the one before said, see [`DesiredState::Run`].
    ///
    /// [`DesiredState::Run`] for a disconnected tenant appends `connecting`/`starting` in the same step, so that every
    /// later read returns it. [`DesiredState::Unlink`] for a tenant with nothing to unlink (disconnected and without
    /// credentials) counts as fulfilled at once and changes nothing.
    ///
    /// [`StoreError::Limited`]: the tenant has used up its limit, see [`Usage`], and nothing was saved. What the
    /// request uses is counted in the same step, over all instances.
    async fn request(&self, tenant: &TenantId, desired: DesiredState) -> Result<Generation, StoreError> {
        Ok(self.submit(tenant, desired, false).await?.number)
    }

    /// As [`Self::request`]. With `may_acquire` the same step also acquires the lease if the tenant has no live owner: the
    /// caller has reserved a slot for the session. Then no instance is notified.
    async fn submit(
        &self,
        tenant: &TenantId,
        desired: DesiredState,
        may_acquire: bool,
    ) -> Result<Submitted, StoreError>;

    /// What a session begins with, read at once: the status and the desired state.
    async fn beginning(&self, tenant: &TenantId) -> Result<Beginning, StoreError>;

    /// The newest desired state that is not fulfilled.
    async fn current(&self, tenant: &TenantId) -> Result<Option<(Generation, DesiredState)>, StoreError>;

    /// Sends a message to the tenant's current owner, encrypted, and notifies it. The message is kept for
    /// [`MESSAGE_KEPT_FOR`] at most, and for the current owner alone: without one, or after a takeover, it is dropped.
    /// If there are more than [`MESSAGES_MAX`], the oldest is dropped. Not durable.
    async fn send(&self, tenant: &TenantId, words: Bytes) -> Result<(), StoreError>;

    /// Takes the messages to this owner, oldest first. Each is returned once, and not again after an error.
    async fn receive(&self, lease: &Lease) -> Result<Vec<Bytes>, StoreError>;

    /// Counts a pairing code for this number, over all tenants and instances. False: the limit is used up, and no code
    /// may be requested now. The store keeps a keyed hash of the number.
    async fn count_code(&self, number: &PhoneNumber) -> Result<bool, StoreError>;

    /// Waits for tenants whose desired state, owner or messages changed. Each is returned once, however often it
    /// changed. Cancel safe. One caller at a time.
    async fn notified(&self) -> Vec<TenantId>;
}

/// A tenant's credentials: rows of bytes in named tables, encrypted with a key of the tenant's own.
#[async_trait]
pub trait CredentialStore: Send + Sync + 'static {
    /// `None`: there is no such row. [`StoreError::Unreadable`]: it is encrypted with a key that is not configured.
    async fn get(&self, tenant: &TenantId, table: &'static str, key: &[u8]) -> Result<Option<Bytes>, StoreError>;

    /// The rows with these keys, in the keys' order. For each [`PAGE_ROWS`] of them the store is asked once.
    async fn get_many(
        &self,
        tenant: &TenantId,
        table: &'static str,
        keys: &[Bytes],
    ) -> Result<Vec<Option<Bytes>>, StoreError>;

    /// Some [`PAGE_ROWS`] rows of a table, in no order; `None` asks for its first page. Every row that stands in the table
    /// from the first page to the last is on one of them, perhaps on several: a later page has the later value. An account
    /// with 100,000 contacts has tables that should not be in memory at once.
    async fn page(&self, tenant: &TenantId, table: &'static str, after: Option<Bookmark>) -> Result<Page, StoreError>;

    /// Every row of a table, in no order and all in memory: for tables that have a bound.
    async fn table(&self, tenant: &TenantId, table: &'static str) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
        let mut rows = HashMap::new();
        let mut after = None;
        loop {
            let page = self.page(tenant, table, after).await?;
            rows.extend(page.rows);
            after = Some(match page.next {
                Some(next) => next,
                None => return Ok(rows.into_iter().collect()),
            });
        }
    }

    /// Whether the tenant has any row.
    async fn holds(&self, tenant: &TenantId) -> Result<bool, StoreError>;

    /// All changes or none, under the lease's fence, durable when it returns.
    async fn write(&self, lease: &Lease, changes: Vec<Change>) -> Result<(), StoreError>;

    /// Removes every row of the tenant.
    async fn erase(&self, lease: &Lease) -> Result<(), StoreError>;
}

/// Rows that one answer of the store holds, more or less: Redis takes the number for a hint.
pub const PAGE_ROWS: usize = 256;

/// A part of a table.
pub struct Page {
    /// Keys and values.
    pub rows: Vec<(Bytes, Bytes)>,
    /// Where the next one begins. `None`: this was the last.
    pub next: Option<Bookmark>,
}

/// A place in a table, for the backend that gave it.
#[derive(Clone)]
pub struct Bookmark(Vec<u8>);

/// The traits of one backend, so that a module is given only those it needs. Made by [`crate::app`].
#[derive(Clone)]
pub struct Stores {
    /// Statuses, saved and live.
    pub journal: Arc<dyn Journal>,
    /// Which instance runs a tenant.
    pub ownership: Arc<dyn Ownership>,
    /// What users ask for.
    pub commands: Arc<dyn Commands>,
    /// Credentials.
    pub credentials: Arc<dyn CredentialStore>,
    /// The version of WhatsApp's web client.
    pub client_versions: Arc<dyn ClientVersions>,
    /// Which tokens are refused.
    pub revocations: Arc<dyn Revocations>,
    /// All tenants.
    pub tenants: Arc<dyn Tenants>,
}

impl Stores {
    /// All traits of one backend.
    pub(crate) fn of<S>(store: Arc<S>) -> Self
    where
        S: Journal + Ownership + Commands + CredentialStore + ClientVersions + Revocations + Tenants,
    {
        Self {
            journal: store.clone(),
            ownership: store.clone(),
            commands: store.clone(),
            credentials: store.clone(),
            client_versions: store.clone(),
            revocations: store.clone(),
            tenants: store,
        }
    }
}

/// The result of [`Journal::append`].
#[derive(Clone, Debug)]
pub struct Appended {
    /// The new event, or the newest one if it had the same status.
    pub event: Arc<Event>,
    /// How many streams were open when it was published.
    pub listeners: usize,
}

/// The result of [`Commands::submit`].
#[derive(Debug)]
pub struct Submitted {
    /// The number of the request.
    pub number: Generation,
    /// The lease, if the same step acquired it.
    pub lease: Option<Lease>,
    /// The current status after the request; `None`: the tenant has no record.
    pub shown: Option<Shown>,
}

/// The result of [`Commands::beginning`]. The default is a tenant without a record.
#[derive(Debug, Default)]
pub struct Beginning {
    /// As [`Journal::latest`].
    pub shown: Option<Shown>,
    /// As [`Commands::current`].
    pub desired: Option<(Generation, DesiredState)>,
}

/// The number of a desired state: it rises with every [`Commands::request`] of a tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Generation(pub u64);

/// One change of a tenant's credentials.
#[derive(Clone)]
pub enum Change {
    /// Writes a row.
    Put {
        /// The table's name.
        table: &'static str,
        /// The row's key.
        key: Bytes,
        /// The row's value.
        value: Bytes,
    },
    /// Removes a row.
    Delete {
        /// The table's name.
        table: &'static str,
        /// The row's key.
        key: Bytes,
    },
    /// Removes every row of the table.
    Clear {
        /// The table's name.
        table: &'static str,
    },
}

impl fmt::Debug for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Put { table, .. } => write!(f, "Put({table}, …)"),
            Self::Delete { table, .. } => write!(f, "Delete({table}, …)"),
            Self::Clear { table } => write!(f, "Clear({table})"),
        }
    }
}

/// Why the store did not do a step.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another instance owns the tenant, or none: the caller stops at once and publishes nothing more.
    #[error("the lease is lost")]
    Fenced,
    /// A temporary failure: retry.
    #[error("the store cannot be reached")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The request exceeds a limit of its tenant: nothing was saved. Retry after `wait`.
    #[error("the tenant has asked for it too often")]
    Limited {
        /// The limit.
        limited: Limited,
        /// The time until the request is allowed again.
        wait: Duration,
    },
    /// The row is encrypted with a key that is not configured.
    #[error("a stored row does not open with the configured key")]
    Unreadable,
    /// The store holds what this version cannot have written.
    #[error("the store is damaged")]
    Damaged(#[source] Box<dyn std::error::Error + Send + Sync>),
}
