use tokio::task::JoinHandle;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::client::failure::Failure;
use crate::store::StoreError;

/// The tasks of a store; they end with it.
#[derive(Default)]
pub struct Tasks {
    tracker: TaskTracker,
    stop: CancellationToken,
    /// Cancelled when a task ends that must not end.
    crashed: CancellationToken,
}

impl Tasks {
    pub fn spawn<T: Send + 'static>(&self, task: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
        self.tracker.spawn(task)
    }

    /// Runs a task that must not end.
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
        if self.is_stopped() { Err(Failure::Closed.into()) } else { Ok(()) }
    }

    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Ends all tasks, and waits for their end.
    pub async fn close(&self) {
        self.stop();
        self.tracker.close();
        self.tracker.wait().await;
    }
}
