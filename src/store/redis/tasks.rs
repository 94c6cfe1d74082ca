use tokio::task::JoinHandle;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::trouble::Trouble;
use crate::store::StoreError;

/// The tasks of a store, which end with it.
#[derive(Default)]
pub struct Tasks {
    tracker: TaskTracker,
    stop: CancellationToken,
    /// Cancelled with the end of the first task that must not end.
    crashed: CancellationToken,
}

impl Tasks {
    pub fn spawn<T: Send + 'static>(&self, task: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
        self.tracker.spawn(task)
    }

    /// A task that the store cannot do without.
    pub fn run(&self, task: impl Future<Output = ()> + Send + 'static) {
        let crashed = self.crashed.clone().drop_guard();
        self.spawn(async move {
            let _crashed = crashed;
            task.await;
        });
    }

    pub async fn crashed(&self) {
        self.crashed.cancelled().await;
    }

    /// Returns once the store closes.
    pub async fn stopped(&self) {
        self.stop.cancelled().await;
    }

    pub fn is_stopped(&self) -> bool {
        self.stop.is_cancelled()
    }

    pub fn check_open(&self) -> Result<(), StoreError> {
        if self.is_stopped() { Err(Trouble::Closed.into()) } else { Ok(()) }
    }

    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Ends them all and waits for it.
    pub async fn close(&self) {
        self.stop();
        self.tracker.close();
        self.tracker.wait().await;
    }
}
