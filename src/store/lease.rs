use std::{
    fmt,
    sync::{Arc, Weak},
};

use tokio_util::sync::CancellationToken;

use crate::tenant::TenantId;

/// The right to run a tenant's session. Writing the journal or the credentials needs one, and the store compares its
/// fence and nonce in the same step, so a former owner cannot write.
///
/// Invariant: only stores make leases. Clones are the same lease; after [`super::Journal::finish`] or
/// [`super::Ownership::release`] every clone is refused. Call `release` rather than drop all clones: dropping frees the
/// tenant in time, but notifies no instance.
#[derive(Clone)]
pub struct Lease(Arc<Inner>);

struct Inner {
    tenant: TenantId,
    fence: u64,
    nonce: u128,
    lost: CancellationToken,
}

impl Lease {
    pub(in crate::store) fn new(tenant: TenantId, fence: u64, nonce: u128) -> Self {
        Self(Arc::new(Inner { tenant, fence, nonce, lost: CancellationToken::new() }))
    }

    /// The tenant that it is for.
    pub fn tenant(&self) -> &TenantId {
        &self.0.tenant
    }

    /// Cancelled once the store knows that the lease is lost: links that were opened under it are closed.
    pub fn lost(&self) -> &CancellationToken {
        &self.0.lost
    }

    pub(in crate::store) fn fence(&self) -> u64 {
        self.0.fence
    }

    /// Identifies the lease in a store that other processes share.
    pub(in crate::store) fn nonce(&self) -> u128 {
        self.0.nonce
    }

    pub(in crate::store) fn downgrade(&self) -> WeakLease {
        WeakLease(Arc::downgrade(&self.0))
    }
}

/// After the last clone is dropped the lease cannot be used again: tasks that wait for its end are woken.
impl Drop for Inner {
    fn drop(&mut self) {
        self.lost.cancel();
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lease({}, fence {})", self.0.tenant, self.0.fence)
    }
}

/// The store's side of a lease in this process. It ends with the last clone, so neither a session that
/// panicked nor an `acquire` whose caller was cancelled holds a tenant for ever.
#[derive(Clone)]
pub(in crate::store) struct WeakLease(Weak<Inner>);

impl WeakLease {
    pub fn is_held(&self) -> bool {
        self.0.strong_count() > 0
    }

    pub fn upgrade(&self) -> Option<Lease> {
        self.0.upgrade().map(Lease)
    }

    /// Compares nonce and fence: a lease of another store instance, or of an earlier acquisition, is not this one.
    pub fn is_by(&self, lease: &Lease) -> bool {
        self.0.upgrade().is_some_and(|held| (held.fence, held.nonce) == (lease.0.fence, lease.0.nonce))
    }

    pub fn end(&self) {
        if let Some(held) = self.0.upgrade() {
            held.lost.cancel();
        }
    }
}
