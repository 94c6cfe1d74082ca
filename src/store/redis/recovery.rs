//! Recovery after Redis lost data: all of it, or the last second in a restart or a failover.
//!
//! A *run* is the time of a Redis server from its start, or from the end of its time as a replica, with its data set. Each
//! heartbeat asks for it, and scripts that acquire a tenant or continue a record that was read compare it. After the run
//! changed, each instance compares its leases with the record of each tenant, ends those that Redis has lost, writes its last
//! changes again, and reports with its heartbeat that it has compared. Until all have, or a full lease has passed since the
//! run began, no instance acquires a tenant with credentials: a lost acquire may belong to an owner whose link is open.

use std::{
    collections::{BTreeSet, HashSet},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::{StreamExt as _, stream};
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

use super::{
    Shared,
    client::{connection::Live, failure::Failure},
    encryption::sealed::with_event,
    journal::{append_in, log_unheard, record::Record, write::Write},
    membership::{Beat, Tag, heartbeat::TTL, instance_of},
    ownership::leases::Held,
    random_name, schema,
    script::{Answer, Call, LOSE},
};
use crate::{
    events::{EndReason, Event, Status},
    store::{Lease, StoreError},
    tenant::TenantId,
};

const RETRY_AFTER: Duration = Duration::from_millis(500);
/// Sessions that write their last changes again concurrently.
const AT_ONCE: usize = 32;

/// The state of this process after Redis may have lost data.
#[derive(Default)]
pub struct Recovery {
    /// The run of the server with which our leases were compared.
    run: watch::Sender<Tag>,
    /// An orphaned tenant waits until all instances have compared.
    waits_for_others: AtomicBool,
    /// An orphaned tenant waits until this process's registration is durable.
    waits_for_registration: AtomicBool,
}

impl Recovery {
    pub fn run(&self) -> Tag {
        *self.run.borrow()
    }

    pub fn watch(&self) -> watch::Receiver<Tag> {
        self.run.subscribe()
    }

    fn compared(&self, run: Tag) {
        self.run.send_replace(run);
    }

    pub fn is_waited_for(&self) -> bool {
        self.waits_for_others.load(Ordering::SeqCst) || self.waits_for_registration.load(Ordering::SeqCst)
    }
}

impl Shared {
    /// The data set is another one: it has no record of the tenants that we owned.
    pub fn data_is_lost(self: &Arc<Self>, tenants: BTreeSet<TenantId>) {
        tracing::error!(sessions = tenants.len(), "redis came back without our data, sessions have to be linked again");
        let shared = self.clone();
        self.tasks.spawn(async move {
            for tenant in tenants {
                shared.until_done(&tenant, || shared.lose(&tenant)).await;
            }
        });
    }

    /// Retries: a Redis that has just come back may go away again.
    async fn until_done<F: Future<Output = Result<(), StoreError>>>(&self, tenant: &TenantId, step: impl Fn() -> F) {
        loop {
            match step().await {
                Ok(()) | Err(StoreError::Fenced) => return,
                Err(StoreError::Unavailable(error)) => {
                    tracing::debug!(%tenant, %error, "recovery of a tenant failed, retrying");
                }
                Err(error) => {
                    tracing::warn!(%tenant, %error, "recovery of a tenant failed");
                    return;
                }
            }
            tokio::select! {
                () = self.tasks.stopped() => return,
                () = sleep(RETRY_AFTER) => {}
            }
        }
    }

    /// Appends `store-lost` if there is no record of the tenant. The credentials are lost with the record, so there is nothing to
    /// erase; the phone goes on listing the device.
    pub async fn lose(&self, tenant: &TenantId) -> Result<(), StoreError> {
        let live = self.connections.live().await?;
        let mut record = Record::default();
        let event = record.append(Status::ended(EndReason::StoreLost), self.clock.now(), &live);
        let outgoing = event.as_ref().map(|event| self.seals(tenant).outgoing(None, event, None));
        let call = Call::on(&LOSE, tenant).key(schema::outbox()).arg(random_name()).arg(&record.run);
        if let Answer::Done(heard) = self.ask_script(&with_event(call, outgoing.as_ref())).await? {
            log_unheard(tenant, event, heard.parse().ok());
        }
        Ok(())
    }

    /// For another run with the same data set, which may lack the last writes. Once the lost leases are known, the heartbeat
    /// reports it, and others need not wait any more.
    pub fn write_again(self: &Arc<Self>, run: Tag) {
        let held = self.leases.all();
        if !held.is_empty() {
            tracing::info!(sessions = held.len(), "redis was restarted, the last writes are repeated");
        }
        let shared = self.clone();
        self.tasks.spawn(async move {
            let unknown = AtomicUsize::new(held.len());
            if held.is_empty() {
                shared.has_compared(run).await;
            }
            stream::iter(&held)
                .for_each_concurrent(AT_ONCE, |held| async {
                    let lease = held.lease();
                    if let Some(lease) = &lease {
                        shared.until_done(&held.tenant, || shared.give_up_lost(lease, held)).await;
                    }
                    if unknown.fetch_sub(1, Ordering::SeqCst) == 1 {
                        shared.has_compared(run).await;
                    }
                    if let Some(lease) = lease.filter(|lease| shared.leases.held(lease.nonce()).is_some()) {
                        let newest = held.writes.lock().await.newest();
                        shared
                            .until_done(&held.tenant, || shared.write_one_again(&lease, held, newest.as_deref()))
                            .await;
                    }
                })
                .await;
        });
    }

    /// All own leases are known to this run, or were ended. Reports it with the next heartbeat, unless the run lacks a release: then
    /// others wait a full lease.
    pub async fn has_compared(&self, run: Tag) {
        let lacks = self.lacks_a_release().await.unwrap_or(true);
        // Redis may have been restarted again meanwhile.
        if !lacks && Tag::of(&self.connections.server().borrow()) == run {
            self.recovery.compared(run);
        }
    }

    /// Ends the lease if Redis has lost it. If Redis has kept the desired state, an instance acquires the tenant again.
    async fn give_up_lost(&self, lease: &Lease, held: &Held) -> Result<(), StoreError> {
        let found = self.read(&held.tenant, None).await?.record;
        if found.owner.as_ref().is_some_and(|owner| owner.nonce == lease.nonce()) {
            return Ok(());
        }
        self.leases.end(lease.nonce());
        if found.is_missing() { self.lose(&held.tenant).await } else { Ok(()) }
    }

    /// Whether this process may acquire a tenant with credentials now. If not, a rescan follows once it may.
    pub async fn may_acquire_linked(&self, record: &Record, live: &Live) -> Result<bool, Failure> {
        if !self.membership.may_acquire_linked(record.released_after, Instant::now()) {
            self.recovery.waits_for_registration.store(true, Ordering::SeqCst);
            return Ok(false);
        }
        if record.owner.as_ref().is_some_and(|owner| !self.membership.is_acquirable(&owner.incarnation, Instant::now()))
        {
            // The look that finds that it is over asks for a rescan.
            return Ok(false);
        }
        let settled = self.is_settled(live).await?;
        if !settled {
            self.recovery.waits_for_others.store(true, Ordering::SeqCst);
        }
        Ok(settled)
    }

    /// Whether tenants that waited can be acquired now.
    pub async fn has_settled(&self) -> bool {
        let Recovery { waits_for_others, waits_for_registration, .. } = &self.recovery;
        let mut ended = false;
        if waits_for_registration.load(Ordering::SeqCst) && self.membership.is_durable(Instant::now()) {
            ended |= waits_for_registration.swap(false, Ordering::SeqCst);
        }
        if waits_for_others.load(Ordering::SeqCst)
            && let Ok(live) = self.connections.live().await
            && self.is_settled(&live).await.unwrap_or(false)
        {
            ended |= waits_for_others.swap(false, Ordering::SeqCst);
        }
        ended
    }

    /// If Redis lost an acquire, its owner has an open link that no record names. So wait until every instance that Redis lists
    /// has compared its leases with this run, or until a full lease has passed since the run began: then an instance that has not
    /// compared must have hung up. An instance that looks expired may live: Redis may have lost its heartbeats, or its newest
    /// incarnation.
    async fn is_settled(&self, live: &Live) -> Result<bool, Failure> {
        if !live.is_younger_than(TTL) {
            return Ok(true);
        }
        if live.known_run().is_none() {
            // No heartbeat can name it.
            return Ok(false);
        }
        // An instance may leave between the two reads, and would look expired.
        Ok(self.have_compared(live).await? || self.have_compared(live).await?)
    }

    async fn have_compared(&self, live: &Live) -> Result<bool, Failure> {
        let mut pipeline = redis::pipe();
        pipeline.cmd("SMEMBERS").arg(schema::incarnations()).cmd("EXISTS").arg(schema::vacant());
        let (names, was_vacant): (Vec<String>, bool) = self.connections.query(&pipeline).await?;
        if was_vacant {
            // Redis may have lost the registration of an instance that found no other and acquired at once.
            return Ok(false);
        }
        if names.is_empty() {
            return Ok(true);
        }
        let mut pipeline = redis::pipe();
        pipeline.cmd("MGET").arg(names.iter().map(|name| schema::heartbeat(name)).collect::<Vec<_>>());
        let (beats,): (Vec<Option<String>>,) = self.connections.query(&pipeline).await?;
        let has_compared = |beat: Option<String>| beat.is_some_and(|text| Beat::of(&text).run == live.tag());
        let compared: HashSet<&str> =
            names.iter().zip(beats).filter_map(|(name, beat)| has_compared(beat).then(|| instance_of(name))).collect();
        Ok(names.iter().all(|name| compared.contains(instance_of(name))))
    }

    async fn write_one_again(&self, lease: &Lease, held: &Held, newest: Option<&Event>) -> Result<(), StoreError> {
        let tenant = lease.tenant();
        let mut write = Write::begin(self, lease, held).await;
        write.repeat().await?;
        // An event that the session appended meanwhile is newer, and Redis has it.
        match newest.filter(|event| write.newest().is_none_or(|newest| newest.cursor == event.cursor)) {
            Some(event) => append_in(write, self, tenant, event.status.clone()).await.map(drop),
            None => Ok(()),
        }
    }
}
