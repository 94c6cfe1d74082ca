//! Which instance runs a tenant's session. A lease has one holder, and a new one is given only if the old holder has certainly
//! hung up. Decides no status: `journal` does.
//!
//! Where to start reading: `acquire` below, then `orphaned`.

pub mod leases;
pub mod orphaned;
pub mod released;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use async_trait::async_trait;
use redis::Pipeline;
use tokio::time::Instant;

use super::{
    RedisStore, Shared,
    client::failure::Failure,
    encryption::sealed::with_event,
    journal::{
        log_unheard,
        record::{Owner, Record, nonce_text, parse_nonce},
        write::{DECISIONS_MAX, Write},
    },
    schema,
    script::{ACQUIRE, Answer, CRASH, Call, RELEASE, with_heard},
    to_completion,
};
use crate::{
    store::{Lease, Ownership, StoreError},
    tenant::TenantId,
};

#[async_trait]
impl Ownership for RedisStore {
    /// A cancelled call may leave a record with an owner whose lease is not held here. Such a tenant counts as orphaned.
    async fn acquire(&self, tenant: &TenantId) -> Result<Option<Lease>, StoreError> {
        acquire(self.shared(), tenant).await
    }

    async fn orphaned(&self, max: usize) -> Result<Vec<TenantId>, StoreError> {
        self.shared().tasks.check_open()?;
        self.shared().orphaned(max).await
    }

    async fn release(&self, lease: Lease) -> Result<(), StoreError> {
        let shared = self.shared().clone();
        to_completion(self.shared(), async move { release(&shared, &lease).await }).await
    }

    async fn crashed(&self, lease: &Lease, window: Duration) -> Result<usize, StoreError> {
        let now_ms = self.shared().clock.now().as_millisecond();
        let window_ms = u64::try_from(window.as_millis()).unwrap_or(u64::MAX);
        self.count(lease, &CRASH, |call| call.arg(now_ms).arg(window_ms)).await
    }

    async fn rescan(&self) {
        self.shared().notifications.rescan().await;
    }

    fn acquire_delay(&self, tenant: &TenantId) -> Duration {
        let shared = self.shared();
        let owner = shared.watchers.owner_of_pairing(tenant);
        // Only instances with readers know that the owner of a pairing is silent.
        if owner.is_some_and(|owner| shared.membership.is_silent(&owner, Instant::now())) {
            return Duration::ZERO;
        }
        shared.membership.acquire_delay(tenant, Instant::now())
    }

    fn has_room(&self) -> bool {
        self.shared().membership.has_room(Instant::now())
    }
}

async fn acquire(shared: &Arc<Shared>, tenant: &TenantId) -> Result<Option<Lease>, StoreError> {
    let seals = shared.seals(tenant);
    for _ in 0..DECISIONS_MAX {
        let reading = shared.read(tenant, None).await?;
        let before = reading.record.owner.clone().filter(|_| reading.is_owned).map(|owner| owner.incarnation);
        let silent = |owner: &String| shared.membership.is_silent(owner, Instant::now());
        // A pairing has nothing to lose, and its user waits for a code: it is acquired before its owner has certainly expired.
        let is_owned = before.as_ref().is_some_and(|owner| !(reading.record.is_pairing() && silent(owner)));
        if !reading.record.facts(is_owned).is_orphaned() {
            return Ok(None);
        }
        let mut record = reading.record;
        // Before the incarnation is read: if that one ends meanwhile, this acquire ends with it.
        let acquiring = shared.leases.begin_acquire();
        let incarnation = shared.membership.present().await?;
        let live = shared.connections.live().await?;
        if record.credentials && !shared.may_acquire_linked(&record, &live).await? {
            return Ok(None);
        }
        record.doubted |= record.facts(false).is_stale();
        let previous = record.newest.clone();
        let event =
            record.facts(false).takeover_status().and_then(|status| record.append(status, shared.clock.now(), &live));
        let needs_refresh = event.is_none() && record.doubted;
        let outgoing = event.as_ref().map(|event| seals.outgoing(previous.as_deref(), event, Some(&incarnation)));
        let mut call = Call::on(&ACQUIRE, tenant).key(schema::outbox()).key(schema::wanted());
        call = call.key(schema::heartbeat(&incarnation)).key(schema::owned(&incarnation));
        if let Some(Owner { incarnation, .. }) = &record.owner {
            call = call.key(schema::owned(incarnation));
        }
        if let Some(silent) = &before {
            // It loses a pairing, and finds out by this entry when it wakes.
            call = call.key(schema::inbox(silent));
        }
        let call = call.arg(nonce_text(acquiring.nonce)).arg(&*incarnation);
        let call = call.arg(shared.leases.highest_fence()).arg(&record.version).arg(u8::from(record.doubted));
        let call = call.arg(&record.run).arg(u8::from(needs_refresh));
        let call = call.arg(live.known_run().unwrap_or_default());
        match shared.ask_script(&with_event(call, outgoing.as_ref())).await? {
            Answer::Done(value) => {
                let (fence, heard) = with_heard(&value);
                let fence = fence.parse().map_err(|_| Failure::Nonsense(value.clone()))?;
                log_unheard(tenant, event, heard);
                shared.membership.count_takeover(record.owner.as_ref());
                let owner = Some(Owner { incarnation: incarnation.to_string(), nonce: acquiring.nonce });
                let record = Record { version: nonce_text(acquiring.nonce), owner, ..record };
                let lease = acquiring.done(tenant, &incarnation, fence, (live.run.clone(), record));
                return Ok(lease);
            }
            Answer::Again => {}
            Answer::Moved => shared.connections.renew_after(&live).await,
            Answer::Unregistered => return Err(Failure::Unregistered.into()),
            Answer::Fenced | Answer::Overtaken | Answer::Limited(..) => {
                return Err(Failure::Nonsense("fenced".to_owned()).into());
            }
        }
    }
    Err(Failure::Contended.into())
}

async fn release(shared: &Arc<Shared>, lease: &Lease) -> Result<(), StoreError> {
    let tenant = lease.tenant();
    let held = shared.held(lease)?;
    let mut write = Write::begin(shared, lease, &held).await;
    for _ in 0..DECISIONS_MAX {
        let (record, _) = write.record().await?;
        let stale = record.facts(false).is_stale();
        let call = write.call(&RELEASE).key(schema::wanted()).key(schema::owned(write.incarnation()));
        let call = call.key(schema::registrations());
        let call = call.arg(&record.version).arg(u8::from(record.doubted || stale)).arg(u8::from(stale));
        let call = call.arg(shared.membership.instance()).arg(write.incarnation());
        // Before as well: the answer may be lost.
        shared.released.add(lease, shared.leases.now());
        if write.ask(&call).await?.is_none() {
            continue;
        }
        shared.released.add(lease, shared.leases.now());
        shared.leases.end(lease.nonce());
        shared.notifications.add(tenant.clone());
        return Ok(());
    }
    Err(Failure::Contended.into())
}

impl Shared {
    /// Ends the leases of these tenants that another instance acquired although this one lives: an instance that falls silent
    /// loses its pairings.
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
        // If this cannot be read now, the first write under the lease finds out.
        for ((_, nonce), owner) in held.into_iter().zip(owners.unwrap_or_default()) {
            if owner.as_deref().and_then(parse_nonce) != Some(nonce) {
                self.leases.end(nonce);
            }
        }
    }

    /// For commands that only save time: what they would have written is found later.
    pub async fn best_effort(&self, pipeline: &Pipeline) {
        let done: Result<(), _> = self.connections.query(pipeline).await;
        if let Err(failure) = done {
            tracing::debug!(error = %failure, "a command that only saves time failed");
        }
    }
}
