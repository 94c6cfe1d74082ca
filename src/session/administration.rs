//! What an operator does to tenants: from the listener for back ends, and from the command line.

use std::time::Duration;

use futures::{StreamExt as _, stream};
use tokio::time::{Instant, sleep};

use super::{SessionError, Sessions};
use crate::{
    clock::Timestamp,
    events::{Shown, Status},
    store::StoreError,
    tenant::TenantId,
};

/// Between two looks at a session that is to end.
const ASK_EVERY: Duration = Duration::from_millis(200);
/// Tenants that are listed at a time, to find those that are linked.
const LISTED_MAX: usize = 512;
/// Statuses that are read at the same time.
const READ_AT_ONCE: usize = 32;

/// What [`Sessions::erase`] found and did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Erased {
    /// The store had no data of the tenant.
    Unknown,
    /// Nothing is left.
    Fully,
    /// WhatsApp did not receive the unlink: the phone still lists the device.
    StillListed,
}

/// Why a tenant was not erased.
#[derive(Debug, thiserror::Error)]
pub enum EraseError {
    /// A command failed.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The tenant's session has not ended in time. Its end goes on.
    #[error("the tenant's session has not ended within {:?}, try again", .0)]
    Busy(Duration),
}

/// Some linked tenants with their statuses, in the order of their names.
pub struct LinkedPage {
    /// No more than were asked for.
    pub tenants: Vec<(TenantId, Shown)>,
    /// After which tenant the next page begins. `None`: this is the last.
    pub next: Option<TenantId>,
}

impl Sessions {
    /// Unlinks the tenant and removes all its data. The session ends where it runs, which may be another instance.
    pub async fn erase(&self, tenant: &TenantId, session_time_max: Duration) -> Result<Erased, EraseError> {
        let stores = self.stores();
        let is_known = stores.journal.latest(tenant).await?.is_some() || stores.credentials.holds(tenant).await?;
        let until = Instant::now() + session_time_max;
        self.disconnect(tenant).await?;
        loop {
            if stores.commands.current(tenant).await?.is_none() {
                let last = stores.journal.latest(tenant).await?;
                if stores.tenants.erase(tenant).await? {
                    let is_unlinked = |status: &Status| !matches!(status, Status::Disconnected { remote: false, .. });
                    return Ok(match last {
                        Some(last) if !is_unlinked(&last.event.status) => Erased::StillListed,
                        _ if is_known => Erased::Fully,
                        _ => Erased::Unknown,
                    });
                }
                // Another request has come meanwhile.
                self.disconnect(tenant).await?;
            }
            if Instant::now() >= until {
                return Err(EraseError::Busy(session_time_max));
            }
            sleep(ASK_EVERY).await;
            self.start_or_notify(tenant).await?;
        }
    }

    /// Up to `max` tenants whose status names an account: `connected`, and `connecting` again to a known one.
    pub async fn linked(&self, after: Option<TenantId>, max: usize) -> Result<LinkedPage, StoreError> {
        let (stores, mut after, mut tenants) = (self.stores(), after, Vec::new());
        loop {
            let listed = stores.tenants.wanted(after.as_ref(), LISTED_MAX).await?;
            let is_last = listed.len() < LISTED_MAX;
            let mut statuses = stream::iter(listed)
                .map(|tenant| async {
                    let shown = stores.journal.latest(&tenant).await;
                    (tenant, shown)
                })
                .buffered(READ_AT_ONCE);
            while let Some((tenant, shown)) = statuses.next().await {
                after = Some(tenant.clone());
                let Some(shown) = shown?.filter(|shown| shown.event.status.account().is_some()) else { continue };
                tenants.push((tenant, shown));
                if tenants.len() == max {
                    return Ok(LinkedPage { tenants, next: after });
                }
            }
            if is_last {
                return Ok(LinkedPage { tenants, next: None });
            }
        }
    }

    /// Revokes the tenant's tokens that were issued until now, and so ends its streams. Returns the second until which.
    pub async fn revoke_tokens(&self, tenant: &TenantId) -> Result<Timestamp, StoreError> {
        self.stores().revocations.revoke(tenant).await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use async_trait::async_trait;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::{
        clock,
        events::EndReason,
        link_options::LinkOptions,
        session::{ConnectError, Connector, Link, Settings},
        store::{
            DesiredState, Lease,
            crypt::MasterKey,
            embedded::{self, EmbeddedStore},
        },
    };

    struct NoLinks;

    #[async_trait]
    impl Connector for NoLinks {
        async fn open(&self, _: &Lease, _: &LinkOptions) -> Result<Box<dyn Link>, ConnectError> {
            Err(ConnectError::Store(StoreError::Fenced))
        }
    }

    #[tokio::test]
    async fn erasure_gives_up_on_a_session_that_does_not_end() {
        let dir = tempfile::tempdir().unwrap();
        let settings = embedded::Settings::new(dir.path(), MasterKey::from([7; 32]));
        let (store, stop) = (EmbeddedStore::open(settings, clock::system()).unwrap(), CancellationToken::new());
        // It runs no session: the test is the owner.
        stop.cancel();
        let sessions = Sessions::new(store.stores(), Arc::new(NoLinks), clock::system(), Settings::default(), stop);
        let (tenant, stores) = (TenantId::parse("toko").unwrap(), store.stores());
        stores.commands.request(&tenant, DesiredState::run(None)).await.unwrap();
        let lease = stores.ownership.acquire(&tenant).await.unwrap().unwrap();
        let busy = sessions.erase(&tenant, Duration::from_millis(300)).await;
        assert!(matches!(busy, Err(EraseError::Busy(_))), "{busy:?}");
        assert!(stores.journal.latest(&tenant).await.unwrap().is_some(), "nothing was removed");
        let (desired, asked) = stores.commands.current(&tenant).await.unwrap().unwrap();
        assert!(matches!(asked, DesiredState::Unlink));
        let last = Status::ended(EndReason::UnlinkedByUser);
        stores.journal.finish(lease, last, desired).await.unwrap();
        assert_eq!(sessions.erase(&tenant, Duration::ZERO).await.unwrap(), Erased::Fully);
        assert_eq!(sessions.erase(&tenant, Duration::ZERO).await.unwrap(), Erased::Unknown);
    }
}
