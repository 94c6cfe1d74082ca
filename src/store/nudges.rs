use std::{
    collections::BTreeSet,
    mem,
    sync::{Mutex, PoisonError},
};

use tokio::sync::Notify;

use crate::tenant::TenantId;

/// Tenants that somebody should look at, each once.
#[derive(Default)]
pub struct Nudges {
    waiting: Mutex<BTreeSet<TenantId>>,
    notify: Notify,
    shaken: Notify,
}

impl Nudges {
    pub fn add(&self, tenant: TenantId) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(tenant);
        self.notify.notify_one();
    }

    /// Wanted tenants may have lost their owners, and nobody knows which.
    pub fn shake(&self) {
        self.shaken.notify_one();
    }

    /// Cancel safe.
    pub async fn shaken(&self) {
        self.shaken.notified().await;
    }

    /// Cancel safe: what is taken is answered in the same poll.
    pub async fn taken(&self) -> Vec<TenantId> {
        loop {
            let taken = mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
            if !taken.is_empty() {
                return taken.into_iter().collect();
            }
            // A nudge between the look and the wait leaves a permit, so it is not slept over.
            self.notify.notified().await;
        }
    }
}
