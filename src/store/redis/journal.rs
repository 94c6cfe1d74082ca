//! A tenant's record and events. The owner appends under its lease, every instance reads. One script saves an event and publishes
//! it, so no event is saved without being sent.
//!
//! Where to start reading: `append` below, then `write` for the checks and `record` for what is kept.

pub mod read;
pub mod record;
pub mod write;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use tokio::time::timeout;

use self::{
    read::Reading,
    write::{DECISIONS_MAX, Write},
};
use super::{
    RedisStore, Shared,
    client::failure::Failure,
    encryption::sealed::with_event,
    schema,
    script::{APPEND, FINISH},
    to_completion,
    watchers::{Based, Joined},
};
use crate::{
    events::{Event, EventId, Shown, Status},
    store::{
        Appended, Generation, Journal, Lease, StoreError, Subscription, Update,
        hub::{Listener, log_emitted},
        record::AfterEnd,
        takeover::starting,
    },
    telemetry::{Sampled, metrics},
    tenant::TenantId,
};

/// If a read takes longer, the last known status is shown as stale, and a stream begins stale and catches up.
const READ_TIME_MAX: Duration = Duration::from_millis(500);

#[async_trait]
impl Journal for RedisStore {
    async fn append(&self, lease: &Lease, status: Status) -> Result<Appended, StoreError> {
        append(self.shared(), lease, status).await
    }

    async fn finish(&self, lease: Lease, status: Status, fulfils: Generation) -> Result<Arc<Event>, StoreError> {
        let shared = self.shared().clone();
        to_completion(self.shared(), async move { finish(&shared, &lease, status, fulfils).await }).await
    }

    async fn latest(&self, tenant: &TenantId) -> Result<Option<Shown>, StoreError> {
        Ok(self.shared().read(tenant, None).await?.shown())
    }

    async fn present(&self, tenant: &TenantId) -> Result<Option<Shown>, StoreError> {
        let shared = self.shared();
        match shared.read_soon(tenant, None).await {
            Ok(reading) => Ok(reading.shown()),
            Err(StoreError::Unavailable(error)) => {
                tracing::debug!(%tenant, %error, "the last known status is shown as stale");
                Ok(Some(shared.watchers.known(tenant, shared.clock.now())))
            }
            Err(error) => Err(error),
        }
    }

    async fn subscribe(&self, tenant: &TenantId, after: Option<EventId>) -> Subscription {
        let shared = self.shared();
        // First, so that the channel is not unsubscribed because it has no readers.
        let joined = shared.watchers.join(tenant);
        shared.listen(tenant).await;
        match shared.read_for_stream(tenant, after, joined).await {
            Ok((reading, live)) => {
                let (backlog, seen) = reading.backlog();
                Subscription::new(backlog, live, seen)
            }
            Err(error) => {
                static LINES: Sampled = Sampled::new();
                if LINES.is_due() {
                    tracing::warn!(%tenant, %error, "stream begins with a stale status");
                }
                let (doubt, live, catch_up) = shared.watchers.join_stale(tenant, after, shared.clock.now());
                if catch_up {
                    shared.catch_up(tenant.clone());
                }
                Subscription::stale(doubt, live, after)
            }
        }
    }
}

pub async fn append(shared: &Shared, lease: &Lease, status: Status) -> Result<Appended, StoreError> {
    let held = shared.held(lease)?;
    append_in(Write::begin(shared, lease, &held).await, shared, lease.tenant(), status).await
}

pub async fn append_in(
    mut write: Write<'_>,
    shared: &Shared,
    tenant: &TenantId,
    status: Status,
) -> Result<Appended, StoreError> {
    let seals = shared.seals(tenant);
    for _ in 0..DECISIONS_MAX {
        let (mut record, live) = write.record().await?;
        let previous = record.newest.clone();
        let appended = record.append(status.clone(), shared.clock.now(), &live);
        let outgoing =
            appended.as_ref().map(|event| seals.outgoing(previous.as_deref(), event, Some(write.incarnation())));
        let call = write
            .call(&APPEND)
            .key(schema::outbox())
            .arg(&record.version)
            .arg(u8::from(record.doubted))
            .arg(&record.run)
            .arg(write.run_to_compare());
        let Some(heard) = write.ask(&with_event(call, outgoing.as_ref())).await? else { continue };
        let event = record.newest.clone().expect("it has the status, or had it before");
        write.done(record, &live);
        let heard = heard.parse().map_err(|_| Failure::Nonsense(heard))?;
        log_unheard(tenant, appended, Some(heard));
        return Ok(Appended { event, listeners: shared.watchers.listeners(tenant, heard) });
    }
    Err(Failure::Contended.into())
}

async fn finish(
    shared: &Arc<Shared>,
    lease: &Lease,
    status: Status,
    fulfils: Generation,
) -> Result<Arc<Event>, StoreError> {
    let tenant = lease.tenant();
    let (held, seals) = (shared.held(lease)?, shared.seals(tenant));
    let mut write = Write::begin(shared, lease, &held).await;
    for _ in 0..DECISIONS_MAX {
        let (mut record, live) = write.record().await?;
        let after = record.facts(true).after_end(fulfils);
        let before = record.newest.clone();
        let appended = record.append(status.clone(), shared.clock.now(), &live);
        let last = record.newest.clone().expect("it has the status, or had it before");
        let starts = after == AfterEnd::Newer { starts: true };
        let follows = if starts { record.append(starting(), shared.clock.now(), &live) } else { None };
        let outgoing = appended.as_ref().map(|event| seals.outgoing(before.as_deref(), event, None));
        let outgoing_next = follows.as_ref().map(|event| seals.outgoing(Some(&last), event, None));
        let call = write.call(&FINISH).key(schema::outbox()).key(schema::wanted());
        let call = call.key(schema::owned(write.incarnation())).arg(&record.version);
        let call = call
            .arg(u8::from(record.doubted || record.facts(false).is_stale()))
            .arg(&record.run)
            .arg(write.run_to_compare())
            .arg(u8::from(after == AfterEnd::Fulfilled));
        let call = call.arg(u8::from(status.gives_up_link())).arg(shared.membership.instance());
        let call = with_event(with_event(call, outgoing.as_ref()), outgoing_next.as_ref());
        let Some(heard) = write.ask(&call).await? else { continue };
        log_unheard(tenant, appended.into_iter().chain(follows), heard.parse().ok());
        shared.leases.end(lease.nonce());
        if matches!(after, AfterEnd::Newer { .. }) {
            shared.notifications.add(tenant.clone());
        }
        return Ok(last);
    }
    Err(Failure::Contended.into())
}

/// Logs events that no instance received: each instance that receives one writes its own line, with the number of its streams.
/// `heard`: how many instances received it. `None`: the answer with the number was lost.
pub fn log_unheard(tenant: &TenantId, events: impl IntoIterator<Item = Arc<Event>>, heard: Option<usize>) {
    for event in events {
        metrics().events_published.increment(1);
        if heard == Some(0) {
            log_emitted(tenant, &Update::Event(event), 0);
        }
    }
}

impl Shared {
    /// Waits less than for other commands: users look at a page while Redis hangs.
    async fn read_soon(&self, tenant: &TenantId, after: Option<EventId>) -> Result<Reading, StoreError> {
        let read = timeout(READ_TIME_MAX, self.read(tenant, after)).await;
        read.unwrap_or_else(|_| Err(Failure::Slow(READ_TIME_MAX).into()))
    }

    /// For a stream that has joined the hub: later events are published there.
    async fn read_for_stream(
        self: &Arc<Self>,
        tenant: &TenantId,
        after: Option<EventId>,
        mut joined: Joined,
    ) -> Result<(Reading, Listener), StoreError> {
        let mut again = false;
        loop {
            let reading = self.read_soon(tenant, after).await?;
            let behind = match self.watchers.based(tenant, &reading, &joined) {
                Based::Gone => {
                    joined = self.watchers.join(tenant);
                    continue;
                }
                Based::Well => false,
                Based::Behind => true,
                Based::Overtaken if !again => {
                    again = true;
                    continue;
                }
                // Twice: Redis has lost published events.
                Based::Overtaken => self.watchers.suspect(tenant),
            };
            if behind {
                self.catch_up(tenant.clone());
            }
            return Ok((reading, joined.live));
        }
    }
}
