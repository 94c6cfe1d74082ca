use std::{
    fmt,
    sync::{Arc, Weak},
};

use tokio_util::sync::CancellationToken;

use crate::tenant::TenantId;

/// The right to run a tenant's session. Writing the journal or the credentials takes one, and the store compares its
/// fence and nonce in the same step: a stale owner cannot speak.
///
/// Invariant: made by stores alone. Clones are the same lease; after [`super::Journal::finish`] or
/// [`super::Ownership::release`] every clone is refused. Dropping them all is no way to give it back: the tenant is free
/// again, in time, but nobody is nudged.
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

    pub fn tenant(&self) -> &TenantId {
        &self.0.tenant
    }

    /// Ends once the store knows that the lease is gone: whoever holds a link under it hangs up.
    pub fn lost(&self) -> &CancellationToken {
        &self.0.lost
    }

    pub(in crate::store) fn fence(&self) -> u64 {
        self.0.fence
    }

    /// What a store in another process knows it by.
    pub(in crate::store) fn nonce(&self) -> u128 {
        self.0.nonce
    }

    pub(in crate::store) fn claim(&self) -> Claim {
        Claim(Arc::downgrade(&self.0))
    }
}

/// A lease dropped everywhere can never be shown again: whoever still waits for its end is told.
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

/// What a store of this process keeps of a lease it gave away. It dies with the last clone, so neither a session that
/// panicked nor an `acquire` whose caller was gone when it was done holds a tenant for ever.
#[derive(Clone)]
pub(in crate::store) struct Claim(Weak<Inner>);

impl Claim {
    pub fn is_held(&self) -> bool {
        self.0.strong_count() > 0
    }

    pub fn lease(&self) -> Option<Lease> {
        self.0.upgrade().map(Lease)
    }

    /// Nonce and fence, both: a lease of another store instance or of an earlier taking is not this one.
    pub fn is_by(&self, lease: &Lease) -> bool {
        self.0.upgrade().is_some_and(|held| (held.fence, held.nonce) == (lease.0.fence, lease.0.nonce))
    }

    pub fn end(&self) {
        if let Some(held) = self.0.upgrade() {
            held.lost.cancel();
        }
    }
}
