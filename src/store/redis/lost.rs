//! What a Redis that came back with less than it had is told.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use futures_util::{StreamExt as _, stream};
use tokio::time::sleep;

use super::{
    Shared,
    journal::append_in,
    leases::Held,
    random_name,
    record::Record,
    script::{Call, LOSE},
    sealed::with_event,
    writing::Write,
};
use crate::{
    events::{EndReason, Event, Status},
    store::{Lease, StoreError},
    tenant::TenantId,
};

const RETRY_AFTER: Duration = Duration::from_millis(500);
/// Sessions that write again what was lost, at a time.
const AT_ONCE: usize = 32;

impl Shared {
    /// The data set is another one: whom we owned it has never heard of.
    pub fn data_is_lost(self: &Arc<Self>, tenants: BTreeSet<TenantId>) {
        tracing::error!(sessions = tenants.len(), "redis came back without our data, sessions have to be linked anew");
        let shared = self.clone();
        self.tasks.spawn(async move {
            for tenant in tenants {
                shared.until_done(&tenant, || shared.lose(&tenant)).await;
            }
        });
    }

    /// A Redis that has just come back may go away once more.
    async fn until_done<F: Future<Output = Result<(), StoreError>>>(&self, tenant: &TenantId, step: impl Fn() -> F) {
        loop {
            match step().await {
                Ok(()) | Err(StoreError::Fenced) => return,
                Err(StoreError::Unavailable(error)) => {
                    tracing::debug!(%tenant, %error, "what was lost could not be said, trying again");
                }
                Err(error) => {
                    tracing::warn!(%tenant, %error, "what was lost cannot be said");
                    return;
                }
            }
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = sleep(RETRY_AFTER) => {}
            }
        }
    }

    /// Says that the session ended with the data set, where there is no record of the tenant. Credentials are gone with
    /// it, so nothing is erased; the phone goes on listing the device.
    pub async fn lose(&self, tenant: &TenantId) -> Result<(), StoreError> {
        let live = self.connections.live().await?;
        let mut record = Record::default();
        let event = record.say(Status::ended(EndReason::StoreLost), self.clock.now(), &live);
        let event = event.map(|event| self.seals(tenant).outgoing(None, &event, None));
        let call = Call::on(&LOSE, tenant).arg(random_name()).arg(&record.run);
        self.ask_script(&with_event(call, event.as_ref())).await.map(drop)
    }

    /// Another run of the server, or another server, with the same data: what was written last may be missing there.
    pub fn write_again(self: &Arc<Self>) {
        let held = self.leases.all();
        if held.is_empty() {
            return;
        }
        tracing::info!(sessions = held.len(), "redis was restarted, what it may have lost is written again");
        let shared = self.clone();
        self.tasks.spawn(async move {
            stream::iter(held)
                .for_each_concurrent(AT_ONCE, |held| {
                    let shared = shared.clone();
                    async move {
                        let Some(lease) = held.lease() else { return };
                        let said = held.writes.lock().await.newest();
                        let again = || shared.write_one_again(&lease, &held, said.as_deref());
                        shared.until_done(&held.tenant, again).await;
                    }
                })
                .await;
        });
    }

    async fn write_one_again(&self, lease: &Lease, held: &Held, said: Option<&Event>) -> Result<(), StoreError> {
        let tenant = lease.tenant();
        let found = self.read(tenant, None).await?.record;
        if found.owner.as_ref().is_none_or(|owner| owner.nonce != lease.nonce()) {
            // The taking itself was lost. Where the wish is still there somebody will take it again.
            self.leases.end(lease.nonce());
            return if found.is_missing() { self.lose(tenant).await } else { Ok(()) };
        }
        self.index_owned(tenant, &held.incarnation).await?;
        let mut write = Write::begin(self, lease, held).await;
        write.repeat().await?;
        // What the session said meanwhile is newer, and is there.
        match said.filter(|said| write.newest().is_none_or(|newest| newest.cursor == said.cursor)) {
            Some(said) => append_in(write, self, tenant, said.status.clone()).await.map(drop),
            None => Ok(()),
        }
    }
}
