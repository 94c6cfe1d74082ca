//! What is kept, and told in the same step. Three traits over one backend, because their guarantees differ and so that
//! a room is handed only the face it needs: readers get [`Journal`], owners write through a [`Lease`]. What is nobody's
//! own, [`ClientVersions`], stands beside them.

pub mod crypt;
pub mod embedded;
mod takeover;
mod hub;
mod idle;
mod lease;
mod limits;
mod notifications;
mod outbox;
pub mod redis;
mod client_version;
mod subscription;

use std::{collections::HashMap, fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

pub use client_version::{ClientVersion, ClientVersions};
pub use hub::Memo;
pub use idle::FORGET_AFTER;
pub use lease::Lease;
pub use limits::{Limited, Limits, Usage};
pub use outbox::{Outbox, OutboxEntry, VISIBILITY_TIMEOUT};
pub use subscription::{Subscription, Update};

use crate::{
    events::{Event, EventId, PhoneNumber, Shown, Status},
    tenant::TenantId,
};

/// How long words for a tenant's owner wait for it: it has them in a moment, or whoever said them has given up.
pub const MESSAGE_KEPT_FOR: Duration = Duration::from_secs(60);

/// Words that wait for one owner.
pub const MESSAGES_MAX: usize = 8;

/// A tenant's events, kept and live. There is no way to change a tenant's status but through here and [`Roster`], and
/// each of them numbers, keeps and publishes the event in one step: *saving is telling*.
#[async_trait]
pub trait Journal: Send + Sync + 'static {
    /// Atomic: the fence is checked, the event numbered, kept and published, or nothing happened.
    ///
    /// A status equal to the newest one is not appended again: the newest event is answered.
    async fn append(&self, lease: &Lease, status: Status) -> Result<Appended, StoreError>;

    /// The only way to end a session: the terminal status is appended, the wish `settles` counts as fulfilled if it is
    /// still the newest, and the lease is given back, in one step.
    ///
    /// If a newer [`DesiredState::Run`] stands, it is not lost: `connecting`/`starting` follows in the same step and the tenant
    /// is nudged, wanted and free to be acquired.
    async fn finish(&self, lease: Lease, status: Status, fulfils: Generation) -> Result<Arc<Event>, StoreError>;

    /// `None`: the tenant never had a session here.
    async fn latest(&self, tenant: &TenantId) -> Result<Option<Shown>, StoreError>;

    /// As a reader is told it: while the store cannot be read that is what was known last, in doubt, and no error.
    async fn present(&self, tenant: &TenantId) -> Result<Option<Shown>, StoreError> {
        self.latest(tenant).await
    }

    /// What a reader has missed since `after`, then what comes, in order and none twice.
    ///
    /// Without an id, or with one that is not in this journal's history, the subscription begins with the present: the
    /// newest event, if there is one. With an id that is known, what follows it. While the present is stale an
    /// [`Update::Refresh`] ends the backlog in the newest event's place, known to the reader or not: as an event it would
    /// be a claim that nobody stands behind. A reader that returns with the newest id is told by a notice, too, that
    /// a staleness is over, or, where it may have been in doubt elsewhere, that there is none. Never fails for a
    /// passing trouble of the store: it then begins with a stale notice and catches up by itself.
    async fn subscribe(&self, tenant: &TenantId, after: Option<EventId>) -> Subscription;
}

/// Which instance runs a tenant, by leases.
#[async_trait]
pub trait Ownership: Send + Sync + 'static {
    /// Takes the right to run a tenant that has an unsettled wish and no living owner; `None` otherwise.
    ///
    /// Appends `connecting`/`resuming` in the same step where the newest status claims a link (`connected`, or
    /// `connecting` with an account), `connecting`/`starting` where it is `qr_pending` or there is none; a `connecting`
    /// without an account stands as it is, and so does `disconnected` where the wish is to unlink or the credentials could
    /// not be read. Where nothing is
    /// appended, readers are told by a notice that the status is vouched for again.
    async fn acquire(&self, tenant: &TenantId) -> Result<Option<Lease>, StoreError>;

    /// Up to `max` tenants with an unsettled wish and no living owner.
    async fn orphaned(&self, max: usize) -> Result<Vec<TenantId>, StoreError>;

    /// Hands over: the tenant is still wanted, and nudged, but nobody runs it. Appends nothing.
    async fn release(&self, lease: Lease) -> Result<(), StoreError>;

    /// Counts a crash of the session with the tenant, so that it is not forgotten with its owner. Answers how many fell
    /// into the window, this one included.
    async fn crashed(&self, lease: &Lease, window: Duration) -> Result<usize, StoreError>;

    /// Waits until wanted tenants may have lost their owners: [`Self::orphaned`] should be asked now. Cancel safe. One
    /// caller at a time.
    async fn rescan(&self);

    /// How long to leave a tenant that nobody owns to others, who have less to do. Zero: it is ours to take.
    fn claim_delay(&self, tenant: &TenantId) -> Duration;

    /// Whether any instance that lives has room for another session, as far as they say so.
    fn has_room(&self) -> bool;
}

/// What users ask for: the desired state of each tenant's session, and messages to the owner that runs it.
#[async_trait]
pub trait Commands: Send + Sync + 'static {
    /// Keeps what the user wants, durably and with a rising number, and nudges whoever can act on it.
    ///
    /// [`DesiredState::Run`] for a tenant that is disconnected appends `connecting`/`starting` in the same step, so that every
    /// later read says so. [`DesiredState::Unlink`] for a tenant with nothing to unlink (disconnected and without credentials) is
    /// settled at once and changes nothing.
    ///
    /// [`StoreError::Limited`]: its tenant has used up what it asks for, see [`Usage`], and nothing was kept. What it uses is
    /// counted in the same step, over all instances.
    async fn request(&self, tenant: &TenantId, desired: DesiredState) -> Result<Generation, StoreError>;

    /// The newest wish that is not settled.
    async fn current(&self, tenant: &TenantId) -> Result<Option<(Generation, DesiredState)>, StoreError>;

    /// Leaves words for whoever runs the tenant now, sealed like all that is a tenant's, and nudges it. They wait for
    /// [`MESSAGE_KEPT_FOR`] at most and are the present owner's alone: where there is none, or another one takes over, they are
    /// gone. Of more than [`MESSAGES_MAX`] the oldest gives way. Durable is nothing of it.
    async fn send(&self, tenant: &TenantId, words: Bytes) -> Result<(), StoreError>;

    /// Takes what was said to this owner, oldest first: nobody is ever given it again, not even after an error.
    async fn receive(&self, lease: &Lease) -> Result<Vec<Bytes>, StoreError>;

    /// Counts a pairing code for this number, over all tenants and instances. False: it has had as many as it may, and none
    /// may be asked for now. The store keeps a keyed hash of the number.
    async fn count_code(&self, number: &PhoneNumber) -> Result<bool, StoreError>;

    /// Waits for tenants whose wish or owner changed; each is named once however often it changed. Cancel safe. One
    /// caller at a time.
    async fn notified(&self) -> Vec<TenantId>;
}

/// A tenant's credentials: rows of bytes in named tables, sealed with a key of the tenant's own.
#[async_trait]
pub trait CredentialStore: Send + Sync + 'static {
    /// `None`: there is no such row. [`StoreError::Unreadable`]: there is one, sealed with a key we do not have.
    async fn get(&self, tenant: &TenantId, table: &'static str, key: &[u8]) -> Result<Option<Bytes>, StoreError>;

    /// The rows with these keys, in the keys' order. For each [`PAGE_ROWS`] of them the store is asked once.
    async fn get_many(
        &self,
        tenant: &TenantId,
        table: &'static str,
        keys: &[Bytes],
    ) -> Result<Vec<Option<Bytes>>, StoreError>;

    /// Some [`PAGE_ROWS`] rows of a table, in no order; `None` asks for its first page. Every row that stands in the table
    /// from the first page to the last is on one of them, perhaps on two. An account with 100,000 contacts has tables that
    /// should not be in memory at once.
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
    pub rows: Vec<(Bytes, Bytes)>,
    /// Where the next one begins. `None`: this was the last.
    pub next: Option<Bookmark>,
}

/// A place in a table, for the backend that gave it.
#[derive(Clone)]
pub struct Bookmark(Vec<u8>);

/// The faces of one backend, handed out by [`crate::app`].
#[derive(Clone)]
pub struct Stores {
    pub journal: Arc<dyn Journal>,
    pub ownership: Arc<dyn Ownership>,
    pub commands: Arc<dyn Commands>,
    pub credentials: Arc<dyn CredentialStore>,
    pub client_versions: Arc<dyn ClientVersions>,
}

#[derive(Clone, Debug)]
pub struct Appended {
    pub event: Arc<Event>,
    /// How many readers were listening when it was published: "is anybody watching?".
    pub listeners: usize,
}

/// A wish's number: rises with every [`Commands::request`] of a tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Generation(pub u64);

/// What the user wants of a session, kept until it is fulfilled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DesiredState {
    /// Be linked, and stay so. With a number: offer a pairing code for it beside the QR.
    Run { phone: Option<PhoneNumber> },
    /// Be unlinked, or give up the pairing under way; credentials are wiped.
    Unlink,
    /// What a later version of this program kept, as it was kept. It is left to instances of that version: nothing here
    /// acts on it or settles it, and the user's next request takes its place.
    #[serde(untagged)]
    Unknown(serde_json::Value),
}

/// One change of a tenant's credentials.
#[derive(Clone)]
pub enum Change {
    Put {
        table: &'static str,
        key: Bytes,
        value: Bytes,
    },
    Delete {
        table: &'static str,
        key: Bytes,
    },
    /// Removes every row of the table.
    Clear {
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

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another owner, or none: whoever sees this stops at once and says nothing more.
    #[error("the lease is not ours any more")]
    Fenced,
    /// Passing trouble: worth another try.
    #[error("the store cannot be reached")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A request over a limit of its tenant: nothing was kept.
    #[error("the tenant has asked for it too often")]
    Limited { limited: Limited, wait: Duration },
    #[error("a stored row does not open with the configured key")]
    Unreadable,
    /// The store holds what we cannot have written.
    #[error("the store is damaged")]
    Damaged(#[source] Box<dyn std::error::Error + Send + Sync>),
}
