use std::{
    sync::{
        Arc, OnceLock, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::time::{sleep, timeout};
use tokio_util::task::TaskTracker;
use tracing::error;
use whatsapp_rust::Client;

use super::termination::Termination;
use crate::session::End;

/// How many tasks of a link may be left when more bytes are read. The library starts one for most stanzas. A busy login
/// has some hundred, and a window of missed messages has at most 200 stanzas.
const TASKS_MAX: usize = 1_024;
/// Acknowledgements and receipts that may wait to be sent. The library's own queues of them have no bound.
const ANSWERS_MAX: usize = 1_024;
/// Answers are counted once in so many chunks: the library walks through its caches to count them.
const COUNTED_EVERY: usize = 8;
/// How long a count may take. The caches are locked while the store is read; the next count then has the result.
const COUNTING_TIME_MAX: Duration = Duration::from_millis(100);
const PAUSE: Duration = Duration::from_millis(5);
/// A library that does not catch up in this time counts as stuck.
const CATCH_UP_MAX: Duration = Duration::from_secs(60);

/// The library's work that is not done yet: its tasks and unsent answers.
#[derive(Clone)]
pub(super) struct InFlight {
    tasks: TaskTracker,
    termination: Arc<Termination>,
    client: Arc<OnceLock<Weak<Client>>>,
    chunks: Arc<AtomicUsize>,
}

impl InFlight {
    pub fn new(tasks: TaskTracker, termination: Arc<Termination>) -> Self {
        Self { tasks, termination, client: Arc::default(), chunks: Arc::default() }
    }

    /// Sets the client, whose answers are counted.
    pub fn attach(&self, client: &Arc<Client>) {
        let _ = self.client.set(Arc::downgrade(client));
    }

    /// Returns when little work is left. Ends the link if the library does not catch up: without this it would never
    /// read again.
    pub async fn until_low(&self) {
        let counts = self.chunks.fetch_add(1, Ordering::Relaxed).is_multiple_of(COUNTED_EVERY);
        let caught_up = async {
            while self.tasks.len() > TASKS_MAX || (counts && self.answers().await > ANSWERS_MAX) {
                sleep(PAUSE).await;
            }
        };
        if timeout(CATCH_UP_MAX, caught_up).await.is_err() {
            error!("the WhatsApp library does not catch up with what it is sent: its link is closed");
            self.termination.terminate(End::Internal);
        }
    }

    async fn answers(&self) -> usize {
        let Some(client) = self.client.get().and_then(Weak::upgrade) else { return 0 };
        let report = timeout(COUNTING_TIME_MAX, client.memory_report()).await;
        report.map_or(0, |report| report.transport_ack_queue + report.delivery_receipt_queue)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn busy(tasks: usize) -> (InFlight, TaskTracker, Arc<Termination>) {
        let (tracker, termination) = (TaskTracker::new(), Arc::new(Termination::default()));
        for _ in 0..tasks {
            let stop = termination.stop().clone();
            tracker.spawn(async move { stop.cancelled().await });
        }
        (InFlight::new(tracker.clone(), termination.clone()), tracker, termination)
    }

    #[tokio::test(start_paused = true)]
    async fn few_tasks_delay_no_reading() {
        let (in_flight, _, termination) = busy(TASKS_MAX);
        timeout(Duration::from_secs(1), in_flight.until_low()).await.expect("at once");
        assert!(!termination.is_terminated());
    }

    #[tokio::test(start_paused = true)]
    async fn reading_waits_until_tasks_are_done() {
        let (in_flight, tracker, termination) = busy(TASKS_MAX);
        let (done, wait) = tokio::sync::oneshot::channel::<()>();
        tracker.spawn(async move { drop(wait.await) });
        assert!(timeout(Duration::from_secs(1), in_flight.until_low()).await.is_err());
        done.send(()).unwrap();
        timeout(Duration::from_secs(1), in_flight.until_low()).await.expect("one task less");
        assert!(!termination.is_terminated());
    }

    #[tokio::test(start_paused = true)]
    async fn library_that_does_not_catch_up_ends_its_link() {
        let (in_flight, _tracker, termination) = busy(TASKS_MAX + 1);
        in_flight.until_low().await;
        assert_eq!(termination.end(), Some(End::Internal));
    }
}
