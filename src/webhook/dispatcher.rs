use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::Semaphore,
    time::{Instant, interval, sleep_until, timeout},
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
    store::{Outbox, OutboxEntry, StoreError},
    telemetry::{
        is_exporting, metrics,
        words::{WEBHOOK_DELIVERED, WEBHOOK_GONE, WEBHOOK_REFUSED, WEBHOOK_UNREACHABLE},
    },
};

/// Deliveries at the same time, each of another tenant.
const AT_ONCE: usize = 32;
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

    /// Until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let (tasks, slots) = (TaskTracker::new(), Arc::new(Semaphore::new(AT_ONCE)));
        let deliver = async {
            while let Ok(slot) = slots.clone().acquire_owned().await {
                self.shared.may_send().await;
                let entry = self.shared.outbox.next().await;
                // Sending was stopped while this waited. The entry is due again by itself.
                if self.shared.stopped_until().is_some() {
                    continue;
                }
                let (shared, tasks_of_it) = (self.shared.clone(), tasks.clone());
                tasks.spawn(async move {
                    shared.deliver(&entry, &tasks_of_it).await;
                    drop(slot);
                });
            }
        };
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

impl Shared {
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

    async fn deliver(self: &Arc<Self>, entry: &OutboxEntry, tasks: &TaskTracker) {
        // After a suspend of this machine another instance may have taken the entry, and may have sent a newer status.
        if Instant::now() + TIME_MAX > entry.until {
            return;
        }
        let webhook_request = WebhookRequest::of(entry, &self.settings.key, self.clock.now());
        let shared = self.clone();
        let posted = tasks.spawn_blocking(move || shared.settings.endpoint.post(&shared.agent, &webhook_request)).await;
        let kept = match posted {
            Ok(Outcome::Delivered) => {
                metrics().webhooks.add(WEBHOOK_DELIVERED);
                self.gone().answers();
                self.delivered(entry).await
            }
            Ok(Outcome::Gone) => {
                metrics().webhooks.add(WEBHOOK_GONE);
                self.is_gone(entry);
                self.outbox.nack(entry, GONE_FOR).await
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
                self.again(entry, asked).await
            }
            Err(error) => {
                error!(%error, "a webhook delivery panicked");
                self.again(entry, None).await
            }
        };
        if let Err(error) = kept {
            debug!(tenant = %entry.tenant, %error, "result of a webhook delivery could not be saved, it is sent again");
        }
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

    async fn delivered(&self, entry: &OutboxEntry) -> Result<(), StoreError> {
        if self.failing.swap(false, Ordering::Relaxed) {
            info!("the back end takes notices again");
        }
        debug!(tenant = %entry.tenant, id = %entry.id, "webhook delivered");
        self.outbox.ack(entry).await
    }

    async fn again(&self, entry: &OutboxEntry, asked: Option<Duration>) -> Result<(), StoreError> {
        self.outbox.nack(entry, backoff::wait(entry.tries, asked, rand::random())).await
    }

    fn failed(&self, entry: &OutboxEntry, failure: &Failure) {
        let cause = std::error::Error::source(failure).map(tracing::field::display);
        debug!(tenant = %entry.tenant, id = %entry.id, error = %failure, cause, "webhook was not delivered");
        if !self.failing.swap(true, Ordering::Relaxed) {
            warn!(error = %failure, cause, "the back end does not take notices, trying again until it does");
        }
    }
}
