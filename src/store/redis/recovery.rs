//! Recovery after Redis lost data: all of it, or the last second in a restart or a failover.
//!
//! A *run* is the time of a Redis server from its start, or from the end of its time as a replica, with its data set. Each
//! heartbeat asks for it, and the script that acquires a tenant with credentials compares it. After the run changed, each instance compares its leases with the
//! record of each tenant, ends those that Redis has lost, writes its last changes again, and reports with its heartbeat that it
//! has compared. Until all have, or a full lease has passed since the run began, no instance acquires a tenant with
//! credentials: a lost acquire may belong to an owner whose link is open.

use std::{
    collections::{BTreeSet, HashSet},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::{StreamExt as _, stream};
use tokio::{sync::watch, time::sleep};

use super::{
    Shared,
    connection::Live,
    failure::Failure,
    heartbeat::TTL,
    journal::{append_in, log_unheard},
    leases::Held,
    membership::{Beat, Tag},
    random_name,
    record::Record,
    schema,
    script::{Answer, Call, LOSE},
    sealed::with_event,
    write::Write,
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
    waits: AtomicBool,
}

impl Recovery {
    pub fn run(&self) -> Tag {
        *self.run.borrow()
    }

    pub fn watch(&self) -> watch::Receiver<Tag> {
        self.run.subscribe()
    }

    pub fn compared(&self, run: Tag) {
        self.run.send_replace(run);
    }

    /// Asks for a rescan once all instances have compared.
    pub fn wait(&self) {
        self.waits.store(true, Ordering::SeqCst);
    }

    pub fn is_waited_for(&self) -> bool {
        self.waits.load(Ordering::SeqCst)
    }

    pub fn settled(&self) {
        self.waits.store(false, Ordering::SeqCst);
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
            let known = || {
                // Redis may have been restarted again meanwhile.
                if Tag::of(&shared.connections.server().borrow()) == run {
                    shared.recovery.compared(run);
                }
            };
            if held.is_empty() {
                known();
            }
            stream::iter(&held)
                .for_each_concurrent(AT_ONCE, |held| async {
                    let lease = held.lease();
                    if let Some(lease) = &lease {
                        shared.until_done(&held.tenant, || shared.give_up_lost(lease, held)).await;
                    }
                    if unknown.fetch_sub(1, Ordering::SeqCst) == 1 {
                        known();
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

    /// Ends the lease if Redis has lost it. If Redis has kept the desired state, an instance acquires the tenant again.
    async fn give_up_lost(&self, lease: &Lease, held: &Held) -> Result<(), StoreError> {
        let found = self.read(&held.tenant, None).await?.record;
        if found.owner.as_ref().is_some_and(|owner| owner.nonce == lease.nonce()) {
            return Ok(());
        }
        self.leases.end(lease.nonce());
        if found.is_missing() { self.lose(&held.tenant).await } else { Ok(()) }
    }

    /// Whether a tenant with credentials may be acquired in this run. If Redis lost an acquire, its owner has an open link that no
    /// record names: wait until every live instance has compared its leases, or until an instance that has not must have hung
    /// up. A promoted replica lacks the last heartbeats: an instance that looks dead there may go on with the old master until
    /// that refuses writes.
    pub async fn is_settled(&self, live: &Live) -> Result<bool, Failure> {
        if !live.is_younger_than(TTL) {
            return Ok(true);
        }
        if live.replication.is_empty() {
            // The run is not known, so no heartbeat can name it.
            return Ok(false);
        }
        let mut pipeline = redis::pipe();
        pipeline.cmd("SMEMBERS").arg(schema::incarnations());
        let (names,): (Vec<String>,) = self.connections.query(&pipeline).await?;
        if names.is_empty() {
            return Ok(true);
        }
        let mut pipeline = redis::pipe();
        pipeline.cmd("MGET").arg(names.iter().map(|name| schema::heartbeat(name)).collect::<Vec<_>>());
        let (beats,): (Vec<Option<String>>,) = self.connections.query(&pipeline).await?;
        let beats: Vec<Option<Beat>> = beats.into_iter().map(|text| text.as_deref().map(Beat::of)).collect();
        let hung_up: HashSet<Tag> = beats.iter().flatten().map(|beat| beat.past).collect();
        Ok(names.iter().zip(beats).all(|(name, beat)| match beat {
            Some(beat) => beat.run == live.tag(),
            None => !live.has_followed || hung_up.contains(&Tag::of(name)),
        }))
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
