use std::{fmt, sync::Arc};

use tokio_util::sync::CancellationToken;

use crate::tenant::TenantId;

/// The right to run a tenant's session. Writing the journal or the credentials takes one, and the store compares its
/// fence and nonce in the same step: a stale owner cannot speak.
///
/// Invariant: made by stores alone. Clones are the same lease; after [`super::Journal::finish`] or
/// [`super::Roster::release`] every clone is refused.
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

    pub(in crate::store) fn nonce(&self) -> u128 {
        self.0.nonce
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lease({}, fence {})", self.0.tenant, self.0.fence)
    }
}
