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
    client::failure::Failure,
    journal::record::nonce_text,
    millis, schema,
    script::{Call, SETTLE, Script, TAKE},
};
use crate::{
    clock::Timestamp,
    events::{EventId, StatusBody},
    store::{
        BATCH_MAX, Delivery, Outbox, OutboxEntry, StoreError, VISIBILITY_TIMEOUT, Waiting, notifications::Notifications,
    },
    tenant::TenantId,
};

/// How often each instance looks for entries that another one has left: one command.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Entries that one look finds.
const FOUND_MAX: usize = 64;
/// The pause before the next look if there may be more than one look finds.
const LOOK_ON_AFTER: Duration = Duration::from_millis(100);
/// Tenants whose records are read to find the oldest entry.
const MEASURED_MAX: usize = 1_000;

pub struct OutboxState {
    enabled: AtomicBool,
    /// Tenants whose status this instance changed.
    appended: Notifications,
    found: Mutex<Found>,
}

/// Tenants to take an entry of.
struct Found {
    tenants: VecDeque<TenantId>,
    look_at: Instant,
}

/// What a script on several tenants answers: what it did, and each failure with the tenant's number.
type Answers<T> = (Vec<T>, Vec<(usize, String)>);

impl Default for OutboxState {
    fn default() -> Self {
        let found = Mutex::new(Found { tenants: VecDeque::new(), look_at: Instant::now() });
        Self { enabled: AtomicBool::new(false), appended: Notifications::default(), found }
    }
}

impl OutboxState {
    pub fn enable(&self) {
        self.enabled.store(true, Ordering::Relaxed);
    }

    pub fn is_enabled(&self) -> bool {
        self.enabled.load(Ordering::Relaxed)
    }

    fn found(&self) -> MutexGuard<'_, Found> {
        // Nothing under this lock can leave the queue half changed.
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Outbox for RedisStore {
    async fn take(&self, max: usize) -> Vec<OutboxEntry> {
        let shared = self.shared();
        loop {
            let (tenants, look_at) = {
                let mut found = shared.outbox.found();
                let some = max.min(BATCH_MAX).min(found.tenants.len());
                (found.tenants.drain(..some).collect::<Vec<_>>(), found.look_at)
            };
            if !tenants.is_empty() {
                match shared.take_entries(&tenants).await {
                    Ok(entries) if !entries.is_empty() => return entries,
                    Ok(_) => {}
                    Err(error) => tracing::debug!(%error, "outbox entries could not be taken, looking again later"),
                }
                continue;
            }
            let (tenants, look_after) = tokio::select! {
                appended = shared.outbox.appended.notified() => (appended, None),
                () = sleep_until(look_at) => {
                    let found = shared.due_entries().await.unwrap_or_else(|error| {
                        tracing::debug!(%error, "outbox could not be read, looking again");
                        Vec::new()
                    });
                    // Instances that look at different times contend for fewer entries.
                    let pause = rand::rng().random_range(LOOK_EVERY / 2..LOOK_EVERY) + LOOK_EVERY / 2;
                    let pause = if found.len() < FOUND_MAX { pause } else { LOOK_ON_AFTER };
                    (found, Some(pause))
                }
            };
            let mut found = shared.outbox.found();
            found.tenants.extend(tenants);
            found.look_at = look_after.map_or(found.look_at, |pause| Instant::now() + pause);
        }
    }

    async fn settle(&self, settled: &[(OutboxEntry, Delivery)]) -> Result<(), StoreError> {
        let shared = self.shared();
        shared.tasks.check_open()?;
        let tenants: Vec<_> = settled.iter().map(|(entry, _)| entry.tenant.clone()).collect();
        let mut call = on_each(&SETTLE, &tenants);
        for (entry, delivery) in settled {
            let (delivered, wait) = match delivery {
                Delivery::Delivered => (entry.id.to_string(), Duration::ZERO),
                Delivery::Again(wait) => (String::new(), *wait),
            };
            let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX >> 16);
            call = call.arg(nonce_text(entry.receipt)).arg(delivered).arg(wait_ms);
        }
        let (left, failures): Answers<usize> = shared.connections.call_with_retries(&call).await?;
        log(&failures, &tenants);
        let left = left.into_iter().filter_map(|number| numbered(&tenants, number));
        left.for_each(|tenant| shared.outbox.appended.add(tenant.clone()));
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

    /// Those of them that are due.
    async fn take_entries(&self, tenants: &[TenantId]) -> Result<Vec<OutboxEntry>, StoreError> {
        self.tasks.check_open()?;
        let (receipt, until) = (rand::random(), Instant::now() + VISIBILITY_TIMEOUT);
        let call = on_each(&TAKE, tenants).arg(nonce_text(receipt)).arg(millis(VISIBILITY_TIMEOUT));
        let (taken, failures): Answers<Taken> = self.connections.call(&call).await?;
        log(&failures, tenants);
        let mut entries = Vec::with_capacity(taken.len());
        for taken in taken {
            let Some(tenant) = numbered(tenants, taken.0) else { continue };
            match self.entry(tenant, taken, receipt, until) {
                Ok(entry) => entries.push(entry),
                Err(error) => tracing::debug!(%tenant, %error, "outbox entry cannot be read, looking again later"),
            }
        }
        Ok(entries)
    }

    fn entry(
        &self,
        tenant: &TenantId,
        (_, id, at, tries, newest, sealed): Taken,
        receipt: u128,
        until: Instant,
    ) -> Result<OutboxEntry, StoreError> {
        let event = self.seals(tenant).open_event(&newest, &sealed)?;
        let parsed = at.parse().ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
        Ok(OutboxEntry {
            tenant: tenant.clone(),
            id: EventId::parse(&id).ok_or(Failure::Nonsense(id))?,
            at: parsed.ok_or(Failure::Nonsense(at))?,
            status: StatusBody::of_event(&event),
            tries: tries.parse().unwrap_or_default(),
            until,
            receipt,
        })
    }
}

/// The tenant's number in the call, the event's id, its time, how often it was not delivered, and the newest event with its id.
type Taken = (usize, String, String, String, String, Vec<u8>);

/// A call of a script on several tenants.
fn on_each(script: &'static Script, tenants: &[TenantId]) -> Call {
    let call = Call::on_keys(script, [schema::outbox()]);
    tenants.iter().fold(call, |call, tenant| call.key(schema::record(tenant)).key(schema::history(tenant)))
}

/// The tenant with this number in the call.
fn numbered(tenants: &[TenantId], number: usize) -> Option<&TenantId> {
    tenants.get(number.checked_sub(1)?)
}

fn log(failures: &[(usize, String)], tenants: &[TenantId]) {
    for (number, error) in failures {
        let tenant = numbered(tenants, *number);
        tracing::debug!(
            tenant = tenant.map(tracing::field::display),
            error,
            "outbox entry failed, looking again later"
        );
    }
}
