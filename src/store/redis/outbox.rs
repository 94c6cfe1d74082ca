//! The outbox. A tenant's record holds the id and time of the event that the back end does not know yet; the newest event is
//! what a dispatcher sends. An index names the tenants and when to send; the script that changes the record changes it.

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
    failure::Failure,
    record::nonce_text,
    schema,
    script::{ACK, Call, NACK, TAKE},
};
use crate::{
    clock::Timestamp,
    events::{EventId, StatusBody},
    store::{Outbox, OutboxEntry, StoreError, VISIBILITY_TIMEOUT, Waiting, notifications::Notifications},
    tenant::TenantId,
};

/// How often each instance looks for entries that another one has left: one command.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Entries that one look finds.
const FOUND_MAX: usize = 64;
/// Tenants whose records are read to find the oldest entry.
const MEASURED_MAX: usize = 1_000;

#[derive(Default)]
pub struct OutboxState {
    enabled: AtomicBool,
    /// Tenants whose status this instance changed.
    appended: Notifications,
    found: Mutex<VecDeque<TenantId>>,
}

impl OutboxState {
    pub fn enable(&self) {
        self.enabled.store(true, Ordering::Relaxed);
    }

    pub fn is_enabled(&self) -> bool {
        self.enabled.load(Ordering::Relaxed)
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
                match shared.take_entry(&tenant).await {
                    Ok(Some(entry)) => return entry,
                    Ok(None) => {}
                    Err(error) => {
                        tracing::debug!(%tenant, %error, "outbox entry could not be taken, looking again later")
                    }
                }
                continue;
            }
            let found = tokio::select! {
                appended = shared.outbox.appended.notified() => appended,
                () = sleep_until(look_at) => {
                    // Instances that look at different times contend for fewer entries.
                    look_at = Instant::now() + rand::rng().random_range(LOOK_EVERY / 2..LOOK_EVERY) + LOOK_EVERY / 2;
                    shared.due_entries().await.unwrap_or_else(|error| {
                        tracing::debug!(%error, "outbox could not be read, looking again");
                        Vec::new()
                    })
                }
            };
            shared.outbox.found().extend(found);
        }
    }

    async fn ack(&self, entry: &OutboxEntry) -> Result<(), StoreError> {
        let (shared, tenant) = (self.shared(), &entry.tenant);
        shared.tasks.check_open()?;
        let call = Call::on(&ACK, tenant).key(schema::outbox()).arg(nonce_text(entry.claim)).arg(entry.id.to_string());
        let done: u8 = shared.connections.call_with_retries(&call).await?;
        if done == 0 {
            shared.outbox.appended.add(tenant.clone());
        }
        Ok(())
    }

    async fn nack(&self, entry: &OutboxEntry, wait: Duration) -> Result<(), StoreError> {
        let (shared, tenant) = (self.shared(), &entry.tenant);
        shared.tasks.check_open()?;
        let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX >> 16);
        let call = Call::on(&NACK, tenant).key(schema::outbox()).arg(nonce_text(entry.claim)).arg(wait_ms);
        let _ours: u8 = shared.connections.call(&call).await?;
        Ok(())
    }

    async fn waiting(&self) -> Result<Waiting, StoreError> {
        Ok(self.shared().waiting().await?)
    }
}

impl Shared {
    /// This instance delivers the status that it appended.
    pub fn has_appended(&self, tenant: TenantId) {
        self.outbox.appended.add(tenant);
    }

    /// Adds the entries of these tenants that the index lacks.
    pub async fn list_unlisted(&self, tenants: &[TenantId]) -> Result<(), Failure> {
        if !self.outbox.is_enabled() || tenants.is_empty() {
            return Ok(());
        }
        let mut pipeline = redis::pipe();
        tenants
            .iter()
            .for_each(|tenant| _ = pipeline.cmd("HGET").arg(schema::record(tenant)).arg(schema::field::OUTBOX_EVENT));
        let entries: Vec<Option<String>> = self.connections.query(&pipeline).await?;
        let left: Vec<_> = tenants.iter().zip(entries).filter(|(_, entry)| entry.is_some()).collect();
        if left.is_empty() {
            return Ok(());
        }
        let now = self.connections.live().await?.time_ms();
        let mut pipeline = redis::pipe();
        for (tenant, _) in left {
            pipeline.cmd("ZADD").arg(schema::outbox()).arg("NX").arg(now).arg(tenant.to_string()).ignore();
        }
        self.connections.query(&pipeline).await
    }

    async fn waiting(&self) -> Result<Waiting, Failure> {
        let mut pipeline = redis::pipe();
        pipeline.cmd("ZCARD").arg(schema::outbox());
        pipeline.cmd("ZRANGE").arg(schema::outbox()).arg(0).arg(MEASURED_MAX - 1);
        let (tenants, first): (usize, Vec<String>) = self.connections.query(&pipeline).await?;
        let first: Vec<_> = first.iter().filter_map(|name| TenantId::parse_encoded(name).ok()).collect();
        if first.is_empty() {
            return Ok(Waiting::default());
        }
        let mut pipeline = redis::pipe();
        for tenant in &first {
            pipeline.cmd("HGET").arg(schema::record(tenant)).arg(schema::field::OUTBOX_AT);
        }
        let times: Vec<Option<i64>> = self.connections.query(&pipeline).await?;
        let times: Vec<i64> = times.into_iter().flatten().collect();
        let oldest = times.iter().min().and_then(|ms| Timestamp::from_millisecond(*ms).ok());
        // The index may also name tenants without an entry.
        let tenants = if tenants > MEASURED_MAX { tenants } else { times.len() };
        Ok(Waiting { tenants, oldest })
    }

    async fn due_entries(&self) -> Result<Vec<TenantId>, Failure> {
        let now = self.connections.live().await?.time_ms();
        let mut pipeline = redis::pipe();
        pipeline.cmd("ZRANGEBYSCORE").arg(schema::outbox()).arg("-inf").arg(now).arg("LIMIT").arg(0).arg(FOUND_MAX);
        let (found,): (Vec<String>,) = self.connections.query(&pipeline).await?;
        Ok(found.iter().filter_map(|name| TenantId::parse_encoded(name).ok()).collect())
    }

    async fn take_entry(&self, tenant: &TenantId) -> Result<Option<OutboxEntry>, StoreError> {
        self.tasks.check_open()?;
        let (claim, until) = (rand::random(), Instant::now() + VISIBILITY_TIMEOUT);
        let call = Call::on(&TAKE, tenant)
            .key(schema::outbox())
            .arg(nonce_text(claim))
            .arg(VISIBILITY_TIMEOUT.as_millis() as u64);
        type Taken = (String, String, String, String, String, Vec<u8>);
        let (word, id, at, tries, newest, sealed): Taken = self.connections.call(&call).await?;
        match word.as_str() {
            "none" | "later" => Ok(None),
            "taken" => {
                let event = self.seals(tenant).open_event(&newest, &sealed)?;
                let nonsense = || Failure::Nonsense(at.clone());
                let at = at.parse().ok().and_then(|ms| Timestamp::from_millisecond(ms).ok()).ok_or_else(nonsense)?;
                Ok(Some(OutboxEntry {
                    tenant: tenant.clone(),
                    id: EventId::parse(&id).ok_or(Failure::Nonsense(id))?,
                    at,
                    status: StatusBody::of_event(&event),
                    tries: tries.parse().unwrap_or_default(),
                    until,
                    claim,
                }))
            }
            _ => Err(Failure::Nonsense(word).into()),
        }
    }
}
