use std::{
    collections::BTreeSet,
    mem,
    sync::{Mutex, PoisonError},
};

use tokio::sync::Notify;

use crate::tenant::TenantId;

/// Tenants whose desired state, owner or messages changed, each once.
#[derive(Default)]
pub struct Notifications {
    waiting: Mutex<BTreeSet<TenantId>>,
    notify: Notify,
    rescan: Notify,
}

impl Notifications {
    pub fn add(&self, tenant: TenantId) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(tenant);
        self.notify.notify_one();
    }

    /// Owners may have died, and it is not known whose: the supervisor lists the orphaned tenants.
    pub fn request_rescan(&self) {
        self.rescan.notify_one();
    }

    /// Cancel safe.
    pub async fn rescan(&self) {
        self.rescan.notified().await;
    }

    /// Cancel safe: what is taken is returned in the same poll.
    pub async fn notified(&self) -> Vec<TenantId> {
        loop {
            let taken = mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
            if !taken.is_empty() {
                return taken.into_iter().collect();
            }
            // A notification between the look and the wait leaves a permit, so this does not sleep over it.
            self.notify.notified().await;
        }
    }
}
