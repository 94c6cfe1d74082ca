use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{Instrument as _, debug, error, info, info_span, warn};

use super::{
    Connector, PasskeyAnswer, Settings,
    answer::Answer,
    bell::Bell,
    queue::Queue,
    task::{self, Surroundings},
};
use crate::{
    clock::{SharedClock, until},
    events::{Passkey, PhoneNumber, Shown, Status},
    store::{Lease, StoreError, Stores, Wish},
    tenant::TenantId,
};

/// Wanted sessions that are looked for at a time.
const SWEEP_MAX: usize = 256;

/// What may be asked of the sessions, and which of them run here. Cheap to clone.
#[derive(Clone)]
pub struct Sessions {
    shared: Arc<Shared>,
}

struct Shared {
    around: Arc<Surroundings>,
    /// Sessions that run here, with the bell that makes each read its wish.
    running: Mutex<HashMap<TenantId, Arc<Bell>>>,
    tasks: TaskTracker,
}

#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Every instance owns as many sessions as it may.
    #[error("no instance has room for another session")]
    NoCapacity,
}

impl Sessions {
    /// `stop` hands every session over; [`Self::closed`] tells when they are.
    pub fn new(
        stores: Stores,
        connector: Arc<dyn Connector>,
        clock: SharedClock,
        settings: Settings,
        stop: CancellationToken,
    ) -> Self {
        let around = Arc::new(Surroundings { stores, connector, clock, settings, stop });
        Self { shared: Arc::new(Shared { around, running: Mutex::default(), tasks: TaskTracker::new() }) }
    }

    /// Starts or resumes the tenant's session; asked twice it is one session. Answers the present, which already says
    /// `connecting` or further.
    pub async fn connect(&self, tenant: &TenantId, phone: Option<PhoneNumber>) -> Result<Shown, SessionError> {
        let Stores { roster, journal, .. } = &self.shared.around.stores;
        if !self.has_room_for(tenant) && !roster.has_room() {
            // One that runs already needs no room.
            let runs = |shown: Shown| !shown.stale && !matches!(shown.event.status, Status::Disconnected { .. });
            if !journal.latest(tenant).await?.is_some_and(runs) {
                return Err(SessionError::NoCapacity);
            }
        }
        roster.want(tenant, Wish::Run { phone }).await?;
        self.attend_unless_others(tenant).await;
        // The wish is kept, whatever becomes of the store from here on: what is known, in doubt then, is the answer.
        let shown = journal.present(tenant).await?;
        // It left an event in the same step: a store that knows of none has lost both.
        Ok(shown.ok_or_else(|| StoreError::Unavailable("the store has lost what it said was kept".into()))?)
    }

    /// Unlinks, or gives up the pairing under way; asked twice it is done once. Answers the present, `None` if there
    /// never was a session.
    pub async fn disconnect(&self, tenant: &TenantId) -> Result<Option<Shown>, SessionError> {
        self.shared.around.stores.roster.want(tenant, Wish::Unlink).await?;
        self.attend_unless_others(tenant).await;
        Ok(self.shared.around.stores.journal.present(tenant).await?)
    }

    /// The wish has nudged everybody, so who has less to do begins at once, and we come back to it in a moment. A failure
    /// is none of the user's: what he wants is kept.
    async fn attend_unless_others(&self, tenant: &TenantId) {
        if self.shared.around.stores.roster.deference(tenant).is_zero() {
            let (sessions, tenant) = (self.clone(), tenant.clone());
            // A client that hangs up must not take along what others who rang meanwhile rely on.
            let attending = self.shared.tasks.spawn(async move { sessions.attend_or_warn(&tenant).await });
            if let Err(error) = attending.await {
                error!(%error, "session could not be attended, trying again at the next sweep");
            }
        }
    }

    /// Passes on what the user answers to the link that asked, whichever instance it is on. What comes of it is told by
    /// the journal.
    pub async fn answer(&self, tenant: &TenantId, asked: &Passkey, answer: PasskeyAnswer) -> Result<(), SessionError> {
        let (answer, bell) = (Answer::new(asked, answer), self.lock().get(tenant).cloned());
        match bell {
            Some(bell) => bell.tell(answer),
            None => self.shared.around.stores.roster.say(tenant, answer.to_words()).await?,
        }
        Ok(())
    }

    /// Runs what is wanted and has no owner, at start and for as long as this instance lives.
    pub async fn supervise(&self) {
        let Surroundings { stores, settings, stop, .. } = &*self.shared.around;
        let roster = &stores.roster;
        let mut queue = Queue::new(settings.resume_rate, Instant::now());
        let mut sweep = interval(settings.sweep_every);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // Whether there may be more than were listed, and whether listing them again would get us any further.
        let (mut more, mut gets_on) = (false, false);
        let mut attending = JoinSet::new();
        loop {
            let next = queue.next_at();
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                nudged = roster.nudged() => {
                    for tenant in nudged {
                        if !self.ring(&tenant) {
                            let at = Instant::now() + roster.deference(&tenant);
                            queue.add(tenant, at);
                        }
                    }
                }
                () = until(next) => {
                    let Some(tenant) = queue.pop(Instant::now()) else { continue };
                    let sessions = self.clone();
                    attending.spawn(async move { sessions.attend_or_warn(&tenant).await });
                    if more && gets_on && queue.is_empty() {
                        gets_on = false;
                        sweep.reset_immediately();
                    }
                }
                // Most nudges are for whom somebody else runs already, and are not to hold up those that nobody runs.
                Some(began) = attending.join_next() => {
                    match began.unwrap_or(false) {
                        true => gets_on = true,
                        false => queue.refund(),
                    }
                }
                () = roster.shaken() => more = self.sweep(&mut queue).await,
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

    /// True: there may be more than are listed at a time.
    async fn sweep(&self, queue: &mut Queue) -> bool {
        let roster = &self.shared.around.stores.roster;
        let tenants = match roster.unattended(SWEEP_MAX).await {
            Ok(tenants) => tenants,
            Err(error) => {
                warn!(%error, "wanted sessions could not be listed, trying again at the next sweep");
                return false;
            }
        };
        let found = tenants.len();
        if found > 0 && self.is_full() {
            debug!(found, "wanted sessions wait until there is room");
            return false;
        }
        if found > 0 {
            info!(found, "resuming wanted sessions");
        }
        for tenant in tenants {
            let at = Instant::now() + roster.deference(&tenant);
            queue.add(tenant, at);
        }
        found == SWEEP_MAX
    }

    /// Whether a session began.
    async fn attend_or_warn(&self, tenant: &TenantId) -> bool {
        self.attend(tenant).await.unwrap_or_else(|error| {
            warn!(%tenant, %error, "session could not be attended, trying again at the next sweep");
            false
        })
    }

    /// Makes the tenant's session read its wish; false if it does not run here.
    fn ring(&self, tenant: &TenantId) -> bool {
        let running = self.lock();
        running.get(tenant).inspect(|nudge| nudge.notify_one()).is_some()
    }

    /// Makes the tenant's session read its wish, or runs it here if it is wanted and nobody does: then it began.
    pub async fn attend(&self, tenant: &TenantId) -> Result<bool, StoreError> {
        if self.ring(tenant) {
            return Ok(false);
        }
        let Some(first) = self.take(tenant).await? else { return Ok(false) };
        let (sessions, tenant) = (self.clone(), tenant.clone());
        let span = info_span!("session", %tenant);
        let run = async move {
            let mut next = Some(first);
            while let Some((lease, place)) = next {
                task::run(lease, place.bell.clone(), sessions.shared.around.clone()).await;
                drop(place);
                // A wish that came while the session was ending rang a bell that nobody heard.
                next = sessions.take(&tenant).await.unwrap_or_else(|error| {
                    warn!(%error, "wish could not be looked for, the next sweep finds it");
                    None
                });
            }
        };
        self.shared.tasks.spawn(run.instrument(span));
        Ok(true)
    }

    /// The right to run a tenant that is wanted, and the bell of its session. Its place is taken before it is asked for,
    /// so that no two of them share the last one; the bell may ring from then on.
    async fn take(&self, tenant: &TenantId) -> Result<Option<(Lease, Place)>, StoreError> {
        let Surroundings { stores, stop, .. } = &*self.shared.around;
        let bell = Arc::new(Bell::default());
        {
            let mut running = self.lock();
            if stop.is_cancelled() || self.is_full_with(running.len()) || running.contains_key(tenant) {
                return Ok(None);
            }
            running.insert(tenant.clone(), bell.clone());
        }
        let mut place = Place { sessions: self.clone(), tenant: tenant.clone(), bell };
        loop {
            match stores.roster.acquire(tenant).await? {
                Some(lease) if stop.is_cancelled() => {
                    stores.roster.release(lease).await?;
                    return Ok(None);
                }
                Some(lease) => return Ok(Some((lease, place))),
                // Who rang takes it for heard, so what was wanted is looked at again.
                None => match place.give_up() {
                    Some(rung) => place = rung,
                    None => return Ok(None),
                },
            }
        }
    }

    fn is_full(&self) -> bool {
        self.is_full_with(self.lock().len())
    }

    fn is_full_with(&self, running: usize) -> bool {
        self.shared.around.settings.sessions_max.is_some_and(|max| running >= max)
    }

    fn has_room_for(&self, tenant: &TenantId) -> bool {
        let running = self.lock();
        !self.is_full_with(running.len()) || running.contains_key(tenant)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<TenantId, Arc<Bell>>> {
        // Nothing under this lock can leave the map half changed.
        self.shared.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A session's place among those that run here, given back however the session ends: one that panicked would keep its
/// tenant from ever being run here again.
struct Place {
    sessions: Sessions,
    tenant: TenantId,
    bell: Arc<Bell>,
}

impl Place {
    /// Answers it again where its bell has rung: nobody rings between the look and the end.
    fn give_up(self) -> Option<Self> {
        let sessions = self.sessions.clone();
        let mut running = sessions.lock();
        if self.bell.take_ring() {
            return Some(self);
        }
        running.remove(&self.tenant);
        // Dropped under the lock it would wait for it for ever.
        drop(running);
        None
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut running = self.sessions.lock();
        // By now it may be another one's.
        if running.get(&self.tenant).is_some_and(|bell| Arc::ptr_eq(bell, &self.bell)) {
            running.remove(&self.tenant);
        }
    }
}

#[cfg(test)]
mod tests;
