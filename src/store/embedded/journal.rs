use std::sync::{Arc, PoisonError};

use async_trait::async_trait;

use super::{EmbeddedStore, record::Record};
use crate::store::takeover::starting;
use crate::{
    events::{Event, EventId, Shown, Status},
    store::{Appended, Generation, Journal, Lease, StoreError, Subscription, record::AfterEnd},
    tenant::TenantId,
};

#[async_trait]
impl Journal for EmbeddedStore {
    async fn append(&self, lease: &Lease, status: Status) -> Result<Appended, StoreError> {
        let ours = lease.clone();
        let event = self
            .step(move |batch| {
                batch.check(&ours)?;
                batch.append_status(ours.tenant(), status)
            })
            .await?;
        Ok(Appended { event, listeners: self.shared().hub.listeners(lease.tenant()) })
    }

    async fn finish(&self, lease: Lease, status: Status, fulfils: Generation) -> Result<Arc<Event>, StoreError> {
        self.step(move |batch| {
            batch.check(&lease)?;
            let tenant = lease.tenant().clone();
            let last = batch.append_status(&tenant, status)?;
            if last.status.gives_up_link() {
                batch.keep_newest_event(&tenant);
            }
            batch.take_back(lease);
            match batch.record(&tenant).facts().after_end(fulfils) {
                AfterEnd::Fulfilled => batch.set_desired(&tenant, fulfils, None)?,
                AfterEnd::Newer { starts } => {
                    if starts {
                        batch.append_status(&tenant, starting())?;
                    }
                    batch.notify(&tenant);
                }
                AfterEnd::Nothing => {}
            }
            Ok(last)
        })
        .await
    }

    async fn latest(&self, tenant: &TenantId) -> Result<Option<Shown>, StoreError> {
        let memory = self.shared().memory.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(memory.record(tenant).and_then(Record::shown))
    }

    async fn subscribe(&self, tenant: &TenantId, after: Option<EventId>) -> Subscription {
        let memory = self.shared().memory.lock().unwrap_or_else(PoisonError::into_inner);
        // Under the lock that publishing takes: no event is lost between the backlog and the live events.
        let live = self.shared().hub.join(tenant);
        let (backlog, seen) = memory.backlog(tenant, after);
        Subscription::new(backlog, live, seen)
    }
}
