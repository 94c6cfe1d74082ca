use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::Semaphore,
    time::{Instant, sleep_until, timeout},
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
};

/// Deliveries under way, each of another tenant: so many hang before another one has to wait.
const AT_ONCE: usize = 32;
/// For those under way when the program ends. What is cut is delivered again, here or elsewhere.
const LAST_WAIT: Duration = Duration::from_secs(2);

/// Takes notices out of the outbox and delivers them, each tenant's one after the other.
pub struct Dispatcher {
    shared: Arc<Shared>,
}

struct Shared {
    settings: Settings,
    outbox: Arc<dyn Outbox>,
    clock: SharedClock,
    agent: Agent,
    /// The last delivery failed, and was told of.
    failing: AtomicBool,
    gone: Mutex<Gone>,
}

impl Dispatcher {
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
                // All were stopped while it waited. It is due again by itself.
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
        }
        tasks.close();
        if timeout(LAST_WAIT, tasks.wait()).await.is_err() {
            info!("some notices for the back end were under way, they are sent again");
        }
    }
}

impl Shared {
    async fn deliver(self: &Arc<Self>, entry: &OutboxEntry, tasks: &TaskTracker) {
        // A machine that slept on the way here may have been overtaken by another one, with newer news.
        if Instant::now() + TIME_MAX > entry.until {
            return;
        }
        let webhook_request = WebhookRequest::of(entry, &self.settings.key, self.clock.now());
        let shared = self.clone();
        let posted = tasks.spawn_blocking(move || shared.settings.endpoint.post(&shared.agent, &webhook_request)).await;
        let kept = match posted {
            Ok(Outcome::Delivered) => {
                self.gone().answers();
                self.delivered(entry).await
            }
            Ok(Outcome::Gone) => {
                self.is_gone(entry);
                self.outbox.nack(entry, GONE_FOR).await
            }
            Ok(Outcome::Failed { failure, retry_after }) => {
                if matches!(failure, Failure::Status(_)) {
                    self.gone().answers();
                }
                self.failed(entry, &failure);
                let asked = retry_after.and_then(|asked| backoff::asked(&asked, self.clock.now()));
                self.again(entry, asked).await
            }
            Err(error) => {
                error!(%error, "a delivery crashed");
                self.again(entry, None).await
            }
        };
        if let Err(error) = kept {
            debug!(tenant = %entry.tenant, %error, "what came of a delivery could not be kept, it is sent again");
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

    /// Waits for the day to be over after which a receiver that was gone is asked again. Cancel safe.
    async fn may_send(&self) {
        while let Some(until) = self.stopped_until() {
            sleep_until(until).await;
        }
    }

    async fn delivered(&self, entry: &OutboxEntry) -> Result<(), StoreError> {
        if self.failing.swap(false, Ordering::Relaxed) {
            info!("the back end takes notices again");
        }
        debug!(tenant = %entry.tenant, id = %entry.id, "the back end was told");
        self.outbox.ack(entry).await
    }

    async fn again(&self, entry: &OutboxEntry, asked: Option<Duration>) -> Result<(), StoreError> {
        self.outbox.nack(entry, backoff::wait(entry.tries, asked, rand::random())).await
    }

    fn failed(&self, entry: &OutboxEntry, failure: &Failure) {
        let cause = std::error::Error::source(failure).map(tracing::field::display);
        debug!(tenant = %entry.tenant, id = %entry.id, error = %failure, cause, "a notice was not delivered");
        if !self.failing.swap(true, Ordering::Relaxed) {
            warn!(error = %failure, cause, "the back end does not take notices, trying again until it does");
        }
    }
}
