//! What a Redis that came back with less than it had is told.

use std::{collections::BTreeSet, sync::Arc};

use super::{
    Shared,
    record::Record,
    script::{Call, LOSE},
    sealed::with_event,
};
use crate::{
    events::{EndReason, Status},
    store::StoreError,
    tenant::TenantId,
};

impl Shared {
    /// The data set is another one: whom we owned it has never heard of.
    pub fn data_is_lost(self: &Arc<Self>, tenants: BTreeSet<TenantId>) {
        tracing::error!(sessions = tenants.len(), "redis came back without our data, sessions have to be linked anew");
        let shared = self.clone();
        self.tasks.spawn(async move {
            for tenant in tenants {
                if let Err(error) = shared.lose(&tenant).await {
                    tracing::warn!(%tenant, %error, "readers could not be told that the session is lost");
                }
            }
        });
    }

    /// Says that the session ended with the data set, where there is no record of the tenant. Credentials are gone with
    /// it, so nothing is erased; the phone goes on listing the device.
    pub async fn lose(&self, tenant: &TenantId) -> Result<(), StoreError> {
        let live = self.connections.live().await?;
        let mut record = Record::default();
        let event = record.say(Status::ended(EndReason::StoreLost), self.clock.now(), &live);
        let event = event.map(|event| self.seals(tenant).outgoing(None, &event, None));
        let call = Call::on(&LOSE, tenant).arg(&record.run);
        self.ask_script(&with_event(call, event.as_ref())).await.map(drop)
    }
}
