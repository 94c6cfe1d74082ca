use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    time::{Instant, interval, sleep, sleep_until, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{debug, error, info, warn};
use ureq::Agent;

use super::{
    Settings, backoff,
    endpoint::{Failure, Outcome, TIME_MAX},
    gone::{GONE_FOR, Gone},
    webhook_request::WebhookRequest,
};
use crate::{
    clock::SharedClock,
    store::{Delivery, Outbox, OutboxEntry},
    telemetry::{
        is_exporting, metrics,
        words::{WEBHOOK_DELIVERED, WEBHOOK_GONE, WEBHOOK_REFUSED, WEBHOOK_UNREACHABLE},
    },
};

/// Deliveries at the same time, each of another tenant.
const AT_ONCE: usize = 32;
/// The shortest time between two calls that take entries, and between two that settle them. In a burst each of them is of
/// several tenants; without one the first call comes at once.
const GATHER: Duration = Duration::from_millis(10);
/// How often what waits is counted for the metrics.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How long the end of the program waits for running deliveries. Cut deliveries are repeated.
const LAST_WAIT: Duration = Duration::from_secs(2);

/// Takes entries out of the outbox and delivers them, those of one tenant one after the other.
pub struct Dispatcher {
    shared: Arc<Shared>,
}

struct Shared {
    settings: Settings,
    outbox: Arc<dyn Outbox>,
    clock: SharedClock,
    agent: Agent,
    /// The last delivery failed, and that was logged.
    failing: AtomicBool,
    gone: Mutex<Gone>,
}

impl Dispatcher {
    /// A dispatcher that does nothing until [`Self::run`].
    pub fn new(settings: Settings, outbox: Arc<dyn Outbox>, clock: SharedClock) -> Self {
        let (failing, gone) = (AtomicBool::new(false), Mutex::default());
        let agent = settings.endpoint.agent();
        Self { shared: Arc::new(Shared { settings, outbox, clock, agent, failing, gone }) }
    }

    /// Delivers entries until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let tasks = TaskTracker::new();
        let (results, settled) = mpsc::channel(AT_ONCE);
        tasks.spawn(self.shared.clone().settle(settled));
        let deliver = self.shared.deliver_what_is_due(&tasks, results);
        tokio::select! {
            () = stop.cancelled() => {}
            () = deliver => {}
            () = self.shared.measure(), if is_exporting() => {}
        }
        tasks.close();
        if timeout(LAST_WAIT, tasks.wait()).await.is_err() {
            info!("some webhooks were under way, they are sent again");
        }
    }
}

/// A delivery, and the slot that it keeps until its result is saved.
type Done = (OutboxEntry, Delivery, OwnedSemaphorePermit);

impl Shared {
    /// Takes no more entries than can be sent at once: none waits here behind a slow one.
    async fn deliver_what_is_due(self: &Arc<Self>, tasks: &TaskTracker, results: mpsc::Sender<Done>) {
        let slots = Arc::new(Semaphore::new(AT_ONCE));
        loop {
            // Only this takes slots, so those that are free stay free.
            let free = u32::try_from(slots.available_permits().max(1)).unwrap_or(1);
            let Ok(mut free) = slots.clone().acquire_many_owned(free).await else { return };
            self.may_send().await;
            let entries = self.outbox.take(free.num_permits()).await;
            // Sending was stopped while this waited. The entries are due again by themselves.
            if self.stopped_until().is_some() {
                continue;
            }
            for entry in entries {
                let Some(slot) = free.split(1) else { break };
                let (shared, tasks_of_it, results) = (self.clone(), tasks.clone(), results.clone());
                tasks.spawn(async move {
                    if let Some(delivery) = shared.deliver(&entry, &tasks_of_it).await {
                        // An error means that the program ends.
                        let _ = results.send((entry, delivery, slot)).await;
                    }
                });
            }
            drop(free);
            sleep(GATHER).await;
        }
    }

    /// Saves results together that come while the ones before are being saved. Ends after the last one.
    async fn settle(self: Arc<Self>, mut results: mpsc::Receiver<Done>) {
        let mut done = Vec::with_capacity(AT_ONCE);
        while results.recv_many(&mut done, AT_ONCE).await > 0 {
            let (settled, slots): (Vec<_>, Vec<_>) =
                done.drain(..).map(|(entry, delivery, slot)| ((entry, delivery), slot)).unzip();
            if let Err(error) = self.outbox.settle(&settled).await {
                debug!(%error, "results of webhook deliveries could not be saved, they are sent again");
            }
            drop(slots);
            sleep(GATHER).await;
        }
    }

    /// Writes how many statuses wait, and since when, into the metrics.
    async fn measure(&self) {
        let mut looks = interval(LOOK_EVERY);
        loop {
            looks.tick().await;
            match self.outbox.waiting().await {
                Ok(waiting) => {
                    let age = waiting.oldest.map(|oldest| self.clock.now().duration_since(oldest));
                    let age = age.and_then(|age| Duration::try_from(age).ok()).unwrap_or_default();
                    metrics().webhooks_waiting.set(waiting.tenants as f64);
                    metrics().webhook_age.set(age.as_secs_f64());
                }
                Err(error) => debug!(%error, "webhooks that wait could not be counted, counting again"),
            }
        }
    }

    /// `None`: it was not sent.
    async fn deliver(self: &Arc<Self>, entry: &OutboxEntry, tasks: &TaskTracker) -> Option<Delivery> {
        // After a suspend of this machine another instance may have taken the entry, and may have sent a newer status.
        if Instant::now() + TIME_MAX > entry.until {
            return None;
        }
        let webhook_request = WebhookRequest::of(entry, &self.settings.key, self.clock.now());
        let shared = self.clone();
        let posted = tasks.spawn_blocking(move || shared.settings.endpoint.post(&shared.agent, &webhook_request)).await;
        Some(match posted {
            Ok(Outcome::Delivered) => {
                metrics().webhooks.add(WEBHOOK_DELIVERED);
                self.gone().answers();
                self.delivered(entry);
                Delivery::Delivered
            }
            Ok(Outcome::Gone) => {
                metrics().webhooks.add(WEBHOOK_GONE);
                self.is_gone(entry);
                Delivery::Again(GONE_FOR)
            }
            Ok(Outcome::Failed { failure, retry_after }) => {
                metrics().webhooks.add(match failure {
                    Failure::Status(_) => WEBHOOK_REFUSED,
                    Failure::Away(_) => WEBHOOK_UNREACHABLE,
                });
                if matches!(failure, Failure::Status(_)) {
                    self.gone().answers();
                }
                self.failed(entry, &failure);
                let asked = retry_after.and_then(|asked| backoff::asked(&asked, self.clock.now()));
                again(entry, asked)
            }
            Err(error) => {
                error!(%error, "a webhook delivery panicked");
                again(entry, None)
            }
        })
    }

    fn is_gone(&self, entry: &OutboxEntry) {
        warn!(tenant = %entry.tenant, "the back end answers 410 Gone for a tenant: no webhook is sent for it for a day");
        if self.gone().add(&entry.tenant, Instant::now()) {
            error!(
                "the back end answers 410 Gone for several tenants in a row: no webhook is sent for a day or until a restart"
            );
        }
    }

    fn gone(&self) -> MutexGuard<'_, Gone> {
        // Nothing under this lock can leave it half changed.
        self.gone.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stopped_until(&self) -> Option<Instant> {
        self.gone().until(Instant::now())
    }

    /// Waits while sending is stopped after 410. Cancel safe.
    async fn may_send(&self) {
        while let Some(until) = self.stopped_until() {
            sleep_until(until).await;
        }
    }

    fn delivered(&self, entry: &OutboxEntry) {
        if self.failing.swap(false, Ordering::Relaxed) {
            info!("webhooks are delivered again");
        }
        debug!(tenant = %entry.tenant, id = %entry.id, "webhook delivered");
    }

    fn failed(&self, entry: &OutboxEntry, failure: &Failure) {
        let cause = std::error::Error::source(failure).map(tracing::field::display);
        debug!(tenant = %entry.tenant, id = %entry.id, error = %failure, cause, "webhook was not delivered");
        if !self.failing.swap(true, Ordering::Relaxed) {
            warn!(error = %failure, cause, "webhook delivery fails, retrying");
        }
    }
}

fn again(entry: &OutboxEntry, asked: Option<Duration>) -> Delivery {
    Delivery::Again(backoff::wait(entry.tries, asked, rand::random()))
}
