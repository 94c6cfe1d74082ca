use std::{
    collections::HashMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use futures::future::join_all;
use tokio::{sync::Notify, time::Instant};

use super::EmbeddedStore;
use crate::{
    clock::until,
    events::{EventId, StatusBody},
    store::{BATCH_MAX, Delivery, Outbox, OutboxEntry, StoreError, VISIBILITY_TIMEOUT, Waiting},
    tenant::TenantId,
};

/// When each tenant's entry is due. In memory alone: the entries stand in the journal's rows, and after a restart all
/// are due.
#[derive(Default)]
pub struct Schedule {
    asked: AtomicBool,
    turns: Mutex<HashMap<TenantId, Turn>>,
    sooner: Notify,
}

struct Turn {
    due: Instant,
    tries: u32,
    /// The receipt of the last time that it was taken; 0: none.
    receipt: u128,
}

impl Schedule {
    pub fn ask(&self) {
        self.asked.store(true, Ordering::Relaxed);
    }

    pub fn is_asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }

    /// A tenant that waits already keeps its time: new statuses must not make a failing receiver be called more often.
    pub fn add(&self, tenant: &TenantId) {
        let fresh = || Turn { due: Instant::now(), tries: 0, receipt: 0 };
        self.lock().entry(tenant.clone()).or_insert_with(fresh);
        self.sooner.notify_one();
    }

    pub fn remove(&self, tenant: &TenantId) {
        self.lock().remove(tenant);
    }

    /// The entry that is due longest, or the time at which the first one will be due.
    fn take(&self) -> Result<(TenantId, u128, u32), Option<Instant>> {
        let (now, mut turns) = (Instant::now(), self.lock());
        let Some((tenant, turn)) = turns.iter_mut().min_by_key(|(_, turn)| turn.due) else { return Err(None) };
        if turn.due > now {
            return Err(Some(turn.due));
        }
        turn.due = now + VISIBILITY_TIMEOUT;
        turn.receipt = rand::random();
        Ok((tenant.clone(), turn.receipt, turn.tries))
    }

    fn give_back(&self, entry: &OutboxEntry, tries: u32, wait: Duration) {
        let mut turns = self.lock();
        if let Some(turn) = turns.get_mut(&entry.tenant).filter(|turn| turn.receipt == entry.receipt) {
            *turn = Turn { due: Instant::now() + wait, tries, receipt: 0 };
            self.sooner.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<TenantId, Turn>> {
        // Nothing under this lock can leave the map half changed.
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Outbox for EmbeddedStore {
    async fn take(&self, max: usize) -> Vec<OutboxEntry> {
        let schedule = &self.shared().outbox;
        loop {
            let mut taken = Vec::new();
            let due = loop {
                match schedule.take() {
                    Ok((tenant, receipt, tries)) => taken.extend(self.entry(tenant, receipt, tries)),
                    Err(due) => break due,
                }
                if taken.len() >= max.min(BATCH_MAX) {
                    break None;
                }
            };
            if !taken.is_empty() {
                return taken;
            }
            tokio::select! {
                () = schedule.sooner.notified() => {}
                () = until(due) => {}
            }
        }
    }

    /// One step for each, so that one that is refused does not undo the others. The writer commits them together.
    async fn settle(&self, settled: &[(OutboxEntry, Delivery)]) -> Result<(), StoreError> {
        let settled = settled.iter().map(|(entry, delivery)| self.settle_one(entry, *delivery));
        join_all(settled).await.into_iter().collect()
    }

    async fn waiting(&self) -> Result<Waiting, StoreError> {
        let memory = self.shared().memory.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(memory.pending_count())
    }
}

impl EmbeddedStore {
    fn entry(&self, tenant: TenantId, receipt: u128, tries: u32) -> Option<OutboxEntry> {
        let memory = self.shared().memory.lock().unwrap_or_else(PoisonError::into_inner);
        let record = memory.record(&tenant)?;
        let (pending_webhook, newest) = record.pending_webhook.zip(record.newest.as_ref())?;
        let (status, until) = (StatusBody::of_event(newest), Instant::now() + VISIBILITY_TIMEOUT);
        let id = EventId { journal: newest.journal, cursor: pending_webhook.cursor };
        Some(OutboxEntry { tenant, id, at: pending_webhook.at, status, tries, until, receipt })
    }

    async fn settle_one(&self, entry: &OutboxEntry, delivery: Delivery) -> Result<(), StoreError> {
        let schedule = &self.shared().outbox;
        match delivery {
            Delivery::Delivered => {
                let (tenant, cursor) = (entry.tenant.clone(), entry.id.cursor);
                self.step(move |batch| batch.ack(&tenant, cursor)).await?;
                schedule.give_back(entry, 0, Duration::ZERO);
            }
            Delivery::Again(wait) => schedule.give_back(entry, entry.tries.saturating_add(1), wait),
        }
        Ok(())
    }
}
