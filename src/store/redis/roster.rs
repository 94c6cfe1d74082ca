use std::{collections::BTreeSet, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use redis::Pipeline;
use tokio::time::Instant;

use super::{
    RedisStore, Shared,
    journal::log_unheard,
    record::{Owner, Record, nonce_text, parse_nonce},
    said::{said, say},
    schema,
    script::{ACQUIRE, Answer, CRASH, Call, RELEASE, with_heard},
    sealed::with_event,
    submit::submit,
    surely,
    trouble::Trouble,
    writing::{DECISIONS_MAX, Write},
};
use crate::{
    events::PhoneNumber,
    store::{Commands, DesiredState, Generation, Lease, Ownership, StoreError, Submitted},
    tenant::TenantId,
};

#[async_trait]
impl Ownership for RedisStore {
    /// A caller that goes away leaves at most a record that says we own what nobody here holds, which counts as free.
    async fn acquire(&self, tenant: &TenantId) -> Result<Option<Lease>, StoreError> {
        acquire(self.shared(), tenant).await
    }

    async fn orphaned(&self, max: usize) -> Result<Vec<TenantId>, StoreError> {
        self.shared().tasks.check_open()?;
        self.shared().orphaned(max).await
    }

    async fn release(&self, lease: Lease) -> Result<(), StoreError> {
        let shared = self.shared().clone();
        surely(self.shared(), async move { release(&shared, &lease).await }).await
    }

    async fn crashed(&self, lease: &Lease, window: Duration) -> Result<usize, StoreError> {
        let now_ms = self.shared().clock.now().as_millisecond();
        let window_ms = u64::try_from(window.as_millis()).unwrap_or(u64::MAX);
        self.count(lease, &CRASH, |call| call.arg(now_ms).arg(window_ms)).await
    }

    async fn rescan(&self) {
        self.shared().notifications.rescan().await;
    }

    fn claim_delay(&self, tenant: &TenantId) -> Duration {
        self.shared().census.deference(tenant, Instant::now())
    }

    fn has_room(&self) -> bool {
        self.shared().census.has_room(Instant::now())
    }
}

#[async_trait]
impl Commands for RedisStore {
    async fn submit(&self, tenant: &TenantId, wish: DesiredState, may_acquire: bool) -> Result<Submitted, StoreError> {
        let (shared, tenant) = (self.shared().clone(), tenant.clone());
        surely(self.shared(), async move { submit(&shared, &tenant, wish, may_acquire).await }).await
    }

    async fn current(&self, tenant: &TenantId) -> Result<Option<(Generation, DesiredState)>, StoreError> {
        Ok(self.shared().read(tenant, None).await?.record.wish)
    }

    async fn send(&self, tenant: &TenantId, words: Bytes) -> Result<(), StoreError> {
        let (shared, tenant) = (self.shared().clone(), tenant.clone());
        surely(self.shared(), async move { say(&shared, &tenant, &words).await }).await
    }

    async fn receive(&self, lease: &Lease) -> Result<Vec<Bytes>, StoreError> {
        said(self.shared(), lease).await
    }

    async fn count_code(&self, number: &PhoneNumber) -> Result<bool, StoreError> {
        self.shared().count_code(number).await
    }

    async fn notified(&self) -> Vec<TenantId> {
        self.shared().notifications.notified().await
    }
}

async fn acquire(shared: &Arc<Shared>, tenant: &TenantId) -> Result<Option<Lease>, StoreError> {
    let seals = shared.seals(tenant);
    for _ in 0..DECISIONS_MAX {
        let reading = shared.read(tenant, None).await?;
        let before = reading.record.owner.clone().filter(|_| reading.living).map(|owner| owner.incarnation);
        let silent = |owner: &String| shared.census.is_silent(owner, Instant::now());
        // Of a pairing nothing is lost, and whoever waits for a code should not wait for a death to be certain.
        let attended = before.as_ref().is_some_and(|owner| !(reading.record.is_pairing() && silent(owner)));
        if !reading.record.facts(attended).is_orphaned() {
            return Ok(None);
        }
        let mut record = reading.record;
        // Before it is known whom for: an incarnation that ends meanwhile takes it along.
        let taking = shared.leases.take();
        let incarnation = shared.census.present().await?;
        let live = shared.connections.live().await?;
        if record.credentials && !shared.is_settled(&live).await? {
            shared.recovery.wait();
            return Ok(None);
        }
        record.doubted |= record.facts(false).is_stale();
        let previous = record.newest.clone();
        let said =
            record.facts(false).takeover_status().and_then(|status| record.say(status, shared.clock.now(), &live));
        let notice = said.is_none() && record.doubted;
        let outgoing = said.as_ref().map(|event| seals.outgoing(previous.as_deref(), event, Some(&incarnation)));
        let mut call = Call::on(&ACQUIRE, tenant).key(schema::notices()).key(schema::wanted());
        call = call.key(schema::heartbeat(&incarnation)).key(schema::owned(&incarnation));
        if let Some(Owner { incarnation, .. }) = &record.owner {
            call = call.key(schema::owned(incarnation));
        }
        if let Some(silent) = &before {
            // It loses a pairing, and finds out by this when it wakes.
            call = call.key(schema::inbox(silent));
        }
        let call = call.arg(nonce_text(taking.nonce)).arg(&*incarnation);
        let call = call.arg(shared.leases.highest_fence()).arg(&record.version).arg(u8::from(record.doubted));
        let call = call.arg(&record.run).arg(u8::from(notice));
        match shared.ask_script(&with_event(call, outgoing.as_ref())).await? {
            Answer::Done(value) => {
                let (fence, heard) = with_heard(&value);
                let fence = fence.parse().map_err(|_| Trouble::Nonsense(value.clone()))?;
                log_unheard(tenant, said, heard);
                let owner = Some(Owner { incarnation: incarnation.to_string(), nonce: taking.nonce });
                let record = Record { version: nonce_text(taking.nonce), owner, ..record };
                let lease = taking.done(tenant, &incarnation, fence, (live.run.clone(), record));
                return Ok(lease);
            }
            Answer::Again => {}
            Answer::Unborn => return Err(Trouble::Unborn.into()),
            Answer::Fenced | Answer::Overtaken | Answer::Limited(..) => {
                return Err(Trouble::Nonsense("fenced".to_owned()).into());
            }
        }
    }
    Err(Trouble::Contended.into())
}

async fn release(shared: &Arc<Shared>, lease: &Lease) -> Result<(), StoreError> {
    let tenant = lease.tenant();
    let held = shared.held(lease)?;
    let mut write = Write::begin(shared, lease, &held).await;
    for _ in 0..DECISIONS_MAX {
        let (record, _) = write.record().await?;
        let stale = record.facts(false).is_stale();
        let call = write.call(&RELEASE).key(schema::wanted()).key(schema::owned(write.incarnation()));
        let call = call.arg(&record.version).arg(u8::from(record.doubted || stale)).arg(u8::from(stale));
        let call = call.arg(shared.census.instance()).arg(write.incarnation());
        if write.ask(&call).await?.is_none() {
            continue;
        }
        shared.leases.end(lease.nonce());
        shared.notifications.add(tenant.clone());
        return Ok(());
    }
    Err(Trouble::Contended.into())
}

impl Shared {
    /// Ends what is held of these tenants and was taken over although we live: who falls silent loses its pairings.
    pub async fn drop_taken(&self, tenants: &BTreeSet<TenantId>) {
        let held = self.leases.of(tenants);
        if held.is_empty() {
            return;
        }
        let mut pipeline = redis::pipe();
        for (tenant, _) in &held {
            pipeline.cmd("HGET").arg(schema::record(tenant)).arg(schema::field::OWNER_NONCE);
        }
        let owners: Result<Vec<Option<String>>, _> = self.connections.query(&pipeline).await;
        // Where it cannot be asked now the first write under the lease finds out.
        for ((_, nonce), owner) in held.into_iter().zip(owners.unwrap_or_default()) {
            if owner.as_deref().and_then(parse_nonce) != Some(nonce) {
                self.leases.end(nonce);
            }
        }
    }

    /// What only saves time, and is found by looking where it got lost.
    pub async fn best_effort(&self, pipeline: &Pipeline) {
        let done: Result<(), _> = self.connections.query(pipeline).await;
        if let Err(trouble) = done {
            tracing::debug!(error = %trouble, "an index could not be written, a look will find what it was for");
        }
    }
}
