use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{Instrument as _, Span, debug, info, info_span, warn};

use super::{
    Connector, PasskeyAnswer, Settings, figures,
    mailbox::Mailbox,
    owner_message::OwnerMessage,
    queue::Queue,
    request_spans::RequestSpans,
    task::{self, SessionContext},
};
use crate::{
    clock::{SharedClock, until},
    events::{Passkey, PhoneNumber, Shown, Status},
    link_options::LinkOptions,
    store::{DesiredState, Lease, StoreError, Stores},
    tenant::TenantId,
};

/// Orphaned tenants that are listed at a time.
const SWEEP_MAX: usize = 256;

/// The commands to sessions, and the sessions that run here. Cheap to clone.
#[derive(Clone)]
pub struct Sessions {
    shared: Arc<Shared>,
}

struct Shared {
    context: Arc<SessionContext>,
    /// Sessions that run here, each with the mailbox that wakes it.
    running: Mutex<HashMap<TenantId, Arc<Mailbox>>>,
    request_spans: RequestSpans,
    tasks: TaskTracker,
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Every instance owns as many sessions as it may.
    #[error("no instance has room for another session")]
    NoCapacity,
}

impl Sessions {
    /// `stop` hands every session over; [`Self::closed`] waits until that is done.
    pub fn new(
        stores: Stores,
        connector: Arc<dyn Connector>,
        clock: SharedClock,
        settings: Settings,
        stop: CancellationToken,
    ) -> Self {
        figures::prepare();
        let context = Arc::new(SessionContext { stores, connector, clock, settings, stop });
        Self {
            shared: Arc::new(Shared {
                context,
                running: Mutex::default(),
                request_spans: RequestSpans::default(),
                tasks: TaskTracker::new(),
            }),
        }
    }

    /// Starts or resumes the tenant's session; a second call starts no second one. Returns the current status, which is
    /// `connecting` or a later one. `phone`: the number for a pairing code.
    pub async fn connect(
        &self,
        tenant: &TenantId,
        phone: Option<PhoneNumber>,
        options: LinkOptions,
    ) -> Result<Shown, SessionError> {
        let Stores { ownership, journal, .. } = &self.shared.context.stores;
        if !self.has_room_for(tenant) && !ownership.has_room() {
            // A session that runs already needs no room.
            let runs = |shown: Shown| !shown.stale && !matches!(shown.event.status, Status::Disconnected { .. });
            if !journal.latest(tenant).await?.is_some_and(runs) {
                return Err(SessionError::NoCapacity);
            }
        }
        let _span = self.shared.request_spans.enter(tenant);
        let shown = self.submit(tenant, DesiredState::Run { phone, options }).await?;
        // The request appended an event in the same step: a store without one has lost both.
        Ok(shown.ok_or_else(|| StoreError::Unavailable("the store has lost a request that it confirmed".into()))?)
    }

    /// Unlinks, or cancels the pairing under way; a second call does nothing more. Returns the current status, `None`
    /// if there never was a session.
    pub async fn disconnect(&self, tenant: &TenantId) -> Result<Option<Shown>, SessionError> {
        let _span = self.shared.request_spans.enter(tenant);
        Ok(self.submit(tenant, DesiredState::Unlink).await?)
    }

    /// Runs to completion if the caller is cancelled: other requests may have notified the mailbox of the slot that this one
    /// reserved.
    async fn submit(&self, tenant: &TenantId, desired: DesiredState) -> Result<Option<Shown>, StoreError> {
        let (sessions, tenant) = (self.clone(), tenant.clone());
        let request = self.shared.request_spans.of(&tenant);
        let submitted = async move { sessions.submit_here(&tenant, desired, request).await };
        let submitted = self.shared.tasks.spawn(submitted.in_current_span());
        submitted.await.unwrap_or_else(|error| Err(StoreError::Unavailable(Box::new(error))))
    }

    /// Saves the request. Starts the session in the same step, unless this instance has an acquire delay: an instance with fewer
    /// sessions starts it then. `request`: the span that the session's log lines name.
    async fn submit_here(
        &self,
        tenant: &TenantId,
        desired: DesiredState,
        request: Span,
    ) -> Result<Option<Shown>, StoreError> {
        let Stores { ownership, commands, .. } = &self.shared.context.stores;
        let slot = if ownership.acquire_delay(tenant).is_zero() { self.reserve(tenant) } else { None };
        let (shown, lease) = match commands.submit(tenant, desired, slot.is_some()).await {
            Ok(submitted) => (Ok(submitted.shown), submitted.lease),
            Err(error) => (Err(error), None),
        };
        match slot {
            // While the store is away each request would end the session's pause before its next attempt. If the request was
            // saved all the same, its owner learns of it from the store.
            None if shown.is_err() => {}
            None => _ = self.notify(tenant),
            Some(slot) => {
                if let Err(error) = self.start(slot, lease, &request).await {
                    warn!(%tenant, %error, "session could not be started, retrying at the next sweep");
                }
            }
        }
        shown
    }

    /// Sends the user's answer to the link that asked, on whichever instance it is. The result arrives in the journal.
    pub async fn answer(&self, tenant: &TenantId, asked: &Passkey, answer: PasskeyAnswer) -> Result<(), SessionError> {
        let (answer, mailbox) = (OwnerMessage::new(asked, answer), self.lock().get(tenant).cloned());
        match mailbox {
            Some(mailbox) => mailbox.deliver(answer),
            None => self.shared.context.stores.commands.send(tenant, answer.to_bytes()).await?,
        }
        Ok(())
    }

    /// Starts orphaned sessions, at the start and for as long as this instance lives.
    pub async fn supervise(&self) {
        let SessionContext { stores, settings, stop, .. } = &*self.shared.context;
        let Stores { ownership, commands, .. } = stores;
        let mut queue = Queue::new(settings.resume_rate, Instant::now());
        let mut sweep = interval(settings.sweep_every);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // Whether there may be more than were listed, and whether a session began since, so that listing again helps.
        let (mut more, mut gets_on) = (false, false);
        let mut starting = JoinSet::new();
        loop {
            let next = queue.next_at();
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                notified = commands.notified() => {
                    for tenant in notified {
                        if !self.notify(&tenant) {
                            let at = Instant::now() + ownership.acquire_delay(&tenant);
                            queue.add(tenant, at);
                        }
                    }
                }
                () = until(next) => {
                    let Some(tenant) = queue.pop(Instant::now()) else { continue };
                    let sessions = self.clone();
                    starting.spawn(async move { sessions.try_start_or_notify(&tenant).await });
                    if more && gets_on && queue.is_empty() {
                        gets_on = false;
                        sweep.reset_immediately();
                    }
                }
                // Most notifications are for tenants that another instance runs. They must not use up the rate of
                // orphans.
                Some(began) = starting.join_next() => {
                    match began.unwrap_or(false) {
                        true => gets_on = true,
                        false => queue.refund(),
                    }
                }
                () = ownership.rescan() => more = self.sweep(&mut queue).await,
                _ = sweep.tick() => more = self.sweep(&mut queue).await,
            }
        }
    }

    /// How many run here.
    pub fn running(&self) -> usize {
        self.lock().len()
    }

    /// Waits until every session that ran here is over or handed over.
    pub async fn closed(&self) {
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
    }

    /// True: there may be more orphaned tenants than are listed at a time.
    async fn sweep(&self, queue: &mut Queue) -> bool {
        let ownership = &self.shared.context.stores.ownership;
        let tenants = match ownership.orphaned(SWEEP_MAX).await {
            Ok(tenants) => tenants,
            Err(error) => {
                warn!(%error, "orphaned sessions could not be listed, retrying at the next sweep");
                return false;
            }
        };
        let found = tenants.len();
        if found > 0 && self.is_full() {
            debug!(found, "orphaned sessions wait until there is room");
            return false;
        }
        if found > 0 {
            info!(found, "resuming orphaned sessions");
        }
        for tenant in tenants {
            let at = Instant::now() + ownership.acquire_delay(&tenant);
            queue.add(tenant, at);
        }
        found == SWEEP_MAX
    }

    /// Whether a session began.
    async fn try_start_or_notify(&self, tenant: &TenantId) -> bool {
        self.start_or_notify(tenant).await.unwrap_or_else(|error| {
            warn!(%tenant, %error, "session could not be started, retrying at the next sweep");
            false
        })
    }

    /// Makes the tenant's session read its desired state; false if it does not run here.
    fn notify(&self, tenant: &TenantId) -> bool {
        let running = self.lock();
        running.get(tenant).inspect(|mailbox| mailbox.notify()).is_some()
    }

    /// Makes the tenant's session read its desired state, or starts it here if it is orphaned. True: it was started.
    pub async fn start_or_notify(&self, tenant: &TenantId) -> Result<bool, StoreError> {
        if self.notify(tenant) {
            return Ok(false);
        }
        // Before the slot is reserved: once it is, the request may be answered without waiting for this.
        let request = self.shared.request_spans.of(tenant);
        match self.take(tenant).await? {
            Some((lease, slot)) => self.start(slot, Some(lease), &request).await,
            None => Ok(false),
        }
    }

    /// Runs the session under the lease, with log lines that name the request. Without a lease it acquires one if the slot's
    /// mailbox was notified meanwhile. True: the session was started.
    async fn start(&self, slot: RunningSlot, lease: Option<Lease>, request: &Span) -> Result<bool, StoreError> {
        let SessionContext { stores, stop, .. } = &*self.shared.context;
        let first = match lease {
            Some(lease) if stop.is_cancelled() => {
                stores.ownership.release(lease).await?;
                None
            }
            Some(lease) => Some((lease, slot)),
            None => match slot.free_unless_notified() {
                Some(kept) => self.acquire(kept).await?,
                None => None,
            },
        };
        let Some(first) = first else { return Ok(false) };
        let (sessions, tenant) = (self.clone(), first.1.tenant.clone());
        let span = info_span!(parent: request, "session", %tenant);
        let run = async move {
            let mut next = Some(first);
            while let Some((lease, slot)) = next {
                task::run(lease, slot.mailbox.clone(), sessions.shared.context.clone()).await;
                drop(slot);
                // A request that came while the session was ending notified a mailbox that is not read any more.
                next = sessions.take(&tenant).await.unwrap_or_else(|error| {
                    warn!(%error, "desired state could not be read after the session, the next sweep finds it");
                    None
                });
            }
        };
        self.shared.tasks.spawn(run.instrument(span));
        Ok(true)
    }

    /// Reserves a slot, then acquires the lease.
    async fn take(&self, tenant: &TenantId) -> Result<Option<(Lease, RunningSlot)>, StoreError> {
        match self.reserve(tenant) {
            Some(slot) => self.acquire(slot).await,
            None => Ok(None),
        }
    }

    /// Reserves a slot before the lease is acquired, so that two tenants cannot take the last one. The slot's mailbox may be
    /// notified from then on.
    fn reserve(&self, tenant: &TenantId) -> Option<RunningSlot> {
        let mailbox = Arc::new(Mailbox::default());
        let mut running = self.lock();
        let stops = self.shared.context.stop.is_cancelled();
        if stops || self.is_full_with(running.len()) || running.contains_key(tenant) {
            return None;
        }
        running.insert(tenant.clone(), mailbox.clone());
        drop(running);
        Some(RunningSlot { sessions: self.clone(), tenant: tenant.clone(), mailbox })
    }

    async fn acquire(&self, mut slot: RunningSlot) -> Result<Option<(Lease, RunningSlot)>, StoreError> {
        let SessionContext { stores, stop, .. } = &*self.shared.context;
        loop {
            match stores.ownership.acquire(&slot.tenant).await? {
                Some(lease) if stop.is_cancelled() => {
                    stores.ownership.release(lease).await?;
                    return Ok(None);
                }
                Some(lease) => return Ok(Some((lease, slot))),
                // A caller that notified this slot relies on it, so the tenant is tried again.
                None => match slot.free_unless_notified() {
                    Some(kept) => slot = kept,
                    None => return Ok(None),
                },
            }
        }
    }

    pub(super) fn stores(&self) -> &Stores {
        &self.shared.context.stores
    }

    fn is_full(&self) -> bool {
        self.is_full_with(self.lock().len())
    }

    fn is_full_with(&self, running: usize) -> bool {
        self.shared.context.settings.sessions_max.is_some_and(|max| running >= max)
    }

    fn has_room_for(&self, tenant: &TenantId) -> bool {
        let running = self.lock();
        !self.is_full_with(running.len()) || running.contains_key(tenant)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<TenantId, Arc<Mailbox>>> {
        // No code under this lock panics between two changes of the map.
        self.shared.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A session's slot among those that run here. It is freed on drop: otherwise a session that panicked would keep its
/// tenant from ever running here again.
struct RunningSlot {
    sessions: Sessions,
    tenant: TenantId,
    mailbox: Arc<Mailbox>,
}

impl RunningSlot {
    /// Frees the slot, or returns it if its mailbox was notified. One lock covers both, so no notification is lost
    /// between.
    fn free_unless_notified(self) -> Option<Self> {
        let sessions = self.sessions.clone();
        let mut running = sessions.lock();
        if self.mailbox.take_notification() {
            return Some(self);
        }
        running.remove(&self.tenant);
        // `self` must not be dropped under the lock: its `drop` takes the lock again and would deadlock.
        drop(running);
        None
    }
}

impl Drop for RunningSlot {
    fn drop(&mut self) {
        let mut running = self.sessions.lock();
        // By now the entry may belong to a newer slot.
        if running.get(&self.tenant).is_some_and(|mailbox| Arc::ptr_eq(mailbox, &self.mailbox)) {
            running.remove(&self.tenant);
        }
    }
}

#[cfg(test)]
mod tests;
