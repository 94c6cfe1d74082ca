//! Notices for the back end. What is to be told stands in the tenant's record, as the place and time of an event; what is
//! told is the newest one. An index says of whom to look, and when; the script that changes the record changes it.

use std::{
    collections::VecDeque,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use rand::RngExt as _;
use tokio::time::{Instant, sleep_until};

use super::{
    RedisStore, Shared,
    record::nonce_text,
    schema,
    script::{Call, POSTPONE, SETTLE, TAKE},
    trouble::Trouble,
};
use crate::{
    clock::Timestamp,
    events::{EventId, StatusBody},
    store::{Outbox, OutboxEntry, StoreError, VISIBILITY_TIMEOUT, notifications::Notifications},
    tenant::TenantId,
};

/// How often each instance looks for what another one has left: one command.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Tenants that are found in one look.
const FOUND_MAX: usize = 64;

#[derive(Default)]
pub struct Desk {
    asked: AtomicBool,
    /// Whose status was changed by this instance.
    said: Notifications,
    found: Mutex<VecDeque<TenantId>>,
}

impl Desk {
    pub fn ask(&self) {
        self.asked.store(true, Ordering::Relaxed);
    }

    pub fn is_asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }

    fn found(&self) -> MutexGuard<'_, VecDeque<TenantId>> {
        // Nothing under this lock can leave the queue half changed.
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Outbox for RedisStore {
    async fn next(&self) -> OutboxEntry {
        let shared = self.shared();
        let mut look_at = Instant::now();
        loop {
            let found = shared.outbox.found().pop_front();
            if let Some(tenant) = found {
                match shared.take_notice(&tenant).await {
                    Ok(Some(notice)) => return notice,
                    Ok(None) => {}
                    Err(error) => tracing::debug!(%tenant, %error, "a notice could not be taken, looking again later"),
                }
                continue;
            }
            let found = tokio::select! {
                said = shared.outbox.said.notified() => said,
                () = sleep_until(look_at) => {
                    // Instances that look at different times find less of what another one takes.
                    look_at = Instant::now() + rand::rng().random_range(LOOK_EVERY / 2..LOOK_EVERY) + LOOK_EVERY / 2;
                    shared.due_notices().await.unwrap_or_else(|error| {
                        tracing::debug!(%error, "notices could not be looked for, looking again");
                        Vec::new()
                    })
                }
            };
            shared.outbox.found().extend(found);
        }
    }

    async fn ack(&self, notice: &OutboxEntry) -> Result<(), StoreError> {
        let (shared, tenant) = (self.shared(), &notice.tenant);
        shared.tasks.check_open()?;
        let call =
            Call::on(&SETTLE, tenant).key(schema::notices()).arg(nonce_text(notice.claim)).arg(notice.id.to_string());
        let done: u8 = shared.connections.call_surely(&call).await?;
        if done == 0 {
            shared.outbox.said.add(tenant.clone());
        }
        Ok(())
    }

    async fn nack(&self, notice: &OutboxEntry, wait: Duration) -> Result<(), StoreError> {
        let (shared, tenant) = (self.shared(), &notice.tenant);
        shared.tasks.check_open()?;
        let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX >> 16);
        let call = Call::on(&POSTPONE, tenant).key(schema::notices()).arg(nonce_text(notice.claim)).arg(wait_ms);
        let _ours: u8 = shared.connections.call(&call).await?;
        Ok(())
    }
}

impl Shared {
    /// After the record: this instance delivers what it said.
    pub fn has_said(&self, tenant: TenantId) {
        self.outbox.said.add(tenant);
    }

    /// Of these tenants, the notices that the index does not know.
    pub async fn list_forgotten(&self, tenants: &[TenantId]) -> Result<(), Trouble> {
        if !self.outbox.is_asked() || tenants.is_empty() {
            return Ok(());
        }
        let mut pipeline = redis::pipe();
        tenants
            .iter()
            .for_each(|tenant| _ = pipeline.cmd("HGET").arg(schema::record(tenant)).arg(schema::field::NOTICE));
        let notices: Vec<Option<String>> = self.connections.query(&pipeline).await?;
        let left: Vec<_> = tenants.iter().zip(notices).filter(|(_, notice)| notice.is_some()).collect();
        if left.is_empty() {
            return Ok(());
        }
        let now = self.connections.live().await?.time_ms();
        let mut pipeline = redis::pipe();
        for (tenant, _) in left {
            pipeline.cmd("ZADD").arg(schema::notices()).arg("NX").arg(now).arg(tenant.to_string()).ignore();
        }
        self.connections.query(&pipeline).await
    }

    async fn due_notices(&self) -> Result<Vec<TenantId>, Trouble> {
        let now = self.connections.live().await?.time_ms();
        let mut pipeline = redis::pipe();
        pipeline.cmd("ZRANGEBYSCORE").arg(schema::notices()).arg("-inf").arg(now).arg("LIMIT").arg(0).arg(FOUND_MAX);
        let (found,): (Vec<String>,) = self.connections.query(&pipeline).await?;
        Ok(found.iter().filter_map(|name| TenantId::parse_encoded(name).ok()).collect())
    }

    async fn take_notice(&self, tenant: &TenantId) -> Result<Option<OutboxEntry>, StoreError> {
        self.tasks.check_open()?;
        let (claim, until) = (rand::random(), Instant::now() + VISIBILITY_TIMEOUT);
        let call = Call::on(&TAKE, tenant)
            .key(schema::notices())
            .arg(nonce_text(claim))
            .arg(VISIBILITY_TIMEOUT.as_millis() as u64);
        type Taken = (String, String, String, String, String, Vec<u8>);
        let (word, id, at, tries, newest, sealed): Taken = self.connections.call(&call).await?;
        match word.as_str() {
            "none" | "later" => Ok(None),
            "taken" => {
                let event = self.seals(tenant).open_event(&newest, &sealed)?;
                let nonsense = || Trouble::Nonsense(at.clone());
                let at = at.parse().ok().and_then(|ms| Timestamp::from_millisecond(ms).ok()).ok_or_else(nonsense)?;
                Ok(Some(OutboxEntry {
                    tenant: tenant.clone(),
                    id: EventId::parse(&id).ok_or(Trouble::Nonsense(id))?,
                    at,
                    status: StatusBody::of_event(&event),
                    tries: tries.parse().unwrap_or_default(),
                    until,
                    claim,
                }))
            }
            _ => Err(Trouble::Nonsense(word).into()),
        }
    }
}
