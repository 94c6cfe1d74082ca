//! What a Redis that came back with less than it had is told.

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
    census::{Beat, Tag},
    connection::Live,
    heart::TTL,
    journal::{append_in, log_unheard},
    leases::Held,
    random_name,
    record::Record,
    schema,
    script::{Answer, Call, LOSE},
    sealed::with_event,
    trouble::Trouble,
    writing::Write,
};
use crate::{
    events::{EndReason, Event, Status},
    store::{Lease, StoreError},
    tenant::TenantId,
};

const RETRY_AFTER: Duration = Duration::from_millis(500);
/// Sessions that write again what was lost, at a time.
const AT_ONCE: usize = 32;

/// How far this process is after a server came back that may have lost something.
#[derive(Default)]
pub struct Recovery {
    /// The run of the server with which what we hold was compared.
    run: watch::Sender<Tag>,
    /// A session is left alone until everybody has compared.
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

    /// Whoever looks who lives says so once a session that was left alone can be taken.
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
    /// The data set is another one: whom we owned it has never heard of.
    pub fn data_is_lost(self: &Arc<Self>, tenants: BTreeSet<TenantId>) {
        tracing::error!(sessions = tenants.len(), "redis came back without our data, sessions have to be linked anew");
        let shared = self.clone();
        self.tasks.spawn(async move {
            for tenant in tenants {
                shared.until_done(&tenant, || shared.lose(&tenant)).await;
            }
        });
    }

    /// A Redis that has just come back may go away once more.
    async fn until_done<F: Future<Output = Result<(), StoreError>>>(&self, tenant: &TenantId, step: impl Fn() -> F) {
        loop {
            match step().await {
                Ok(()) | Err(StoreError::Fenced) => return,
                Err(StoreError::Unavailable(error)) => {
                    tracing::debug!(%tenant, %error, "what was lost could not be said, trying again");
                }
                Err(error) => {
                    tracing::warn!(%tenant, %error, "what was lost cannot be said");
                    return;
                }
            }
            tokio::select! {
                () = self.tasks.stopped() => return,
                () = sleep(RETRY_AFTER) => {}
            }
        }
    }

    /// Says that the session ended with the data set, where there is no record of the tenant. Credentials are gone with
    /// it, so nothing is erased; the phone goes on listing the device.
    pub async fn lose(&self, tenant: &TenantId) -> Result<(), StoreError> {
        let live = self.connections.live().await?;
        let mut record = Record::default();
        let event = record.say(Status::ended(EndReason::StoreLost), self.clock.now(), &live);
        let outgoing = event.as_ref().map(|event| self.seals(tenant).outgoing(None, event, None));
        let call = Call::on(&LOSE, tenant).key(schema::notices()).arg(random_name()).arg(&record.run);
        if let Answer::Done(heard) = self.ask_script(&with_event(call, outgoing.as_ref())).await? {
            log_unheard(tenant, event, heard.parse().ok());
        }
        Ok(())
    }

    /// Another run of the server, or another server, with the same data: what was written last may be missing there.
    /// Once it is known which leases are lost with it this is said with the beat, and others need not wait any more.
    pub fn write_again(self: &Arc<Self>, run: Tag) {
        let held = self.leases.all();
        if !held.is_empty() {
            tracing::info!(sessions = held.len(), "redis was restarted, what it may have lost is written again");
        }
        let shared = self.clone();
        self.tasks.spawn(async move {
            let unknown = AtomicUsize::new(held.len());
            let known = || {
                // It may have been restarted once more.
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
                        let said = held.writes.lock().await.newest();
                        shared.until_done(&held.tenant, || shared.write_one_again(&lease, held, said.as_deref())).await;
                    }
                })
                .await;
        });
    }

    /// The taking itself may be lost. Where the wish is still there somebody will take it again.
    async fn give_up_lost(&self, lease: &Lease, held: &Held) -> Result<(), StoreError> {
        let found = self.read(&held.tenant, None).await?.record;
        if found.owner.as_ref().is_some_and(|owner| owner.nonce == lease.nonce()) {
            return Ok(());
        }
        self.leases.end(lease.nonce());
        if found.is_missing() { self.lose(&held.tenant).await } else { Ok(()) }
    }

    /// A taking that this run of the server has lost leaves a link that nobody knows of: what is not ours is left alone
    /// until everybody who lives has looked, or until whoever has not must have hung up. A server that took another one's
    /// place has not heard the last beats: who seems dead there may go on with the old one until that takes no more writes.
    pub async fn is_settled(&self, live: &Live) -> Result<bool, Trouble> {
        if !live.is_younger_than(TTL) {
            return Ok(true);
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

    async fn write_one_again(&self, lease: &Lease, held: &Held, said: Option<&Event>) -> Result<(), StoreError> {
        let tenant = lease.tenant();
        let mut write = Write::begin(self, lease, held).await;
        write.repeat().await?;
        // What the session said meanwhile is newer, and is there.
        match said.filter(|said| write.newest().is_none_or(|newest| newest.cursor == said.cursor)) {
            Some(said) => append_in(write, self, tenant, said.status.clone()).await.map(drop),
            None => Ok(()),
        }
    }
}
