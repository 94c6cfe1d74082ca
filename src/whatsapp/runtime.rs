//! The executor for the library: one per link, so that a link's tasks can be ended together.
//!
//! The library's QR rotation goes on for up to 100 s after its own shutdown and keeps the client alive; a panic in one of
//! its tasks leaves a client that hangs. Here every task ends with the link, and a panic ends the link.

use std::{
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use futures::FutureExt;
use tokio_util::task::TaskTracker;
use tracing::error;
use whatsapp_rust::wacore::runtime::{AbortHandle, Runtime};

use super::termination::{Progress, Stage, Termination};
use crate::session::End;

type Task = Pin<Box<dyn Future<Output = ()> + Send + 'static>>;

/// The two sleeps in the library's rotation of codes: for the first code, and for each of the others.
const FIRST_CODE: Duration = Duration::from_secs(60);
pub(super) const NEXT_CODE: Duration = Duration::from_secs(20);

#[derive(Clone)]
pub(super) struct LinkRuntime {
    tasks: TaskTracker,
    termination: Arc<Termination>,
    progress: Arc<Progress>,
    qr_pace: f32,
    rotating: Arc<AtomicBool>,
}

impl LinkRuntime {
    pub fn new(tasks: TaskTracker, termination: Arc<Termination>, progress: Arc<Progress>, qr_pace: f32) -> Self {
        Self { tasks, termination, progress, qr_pace, rotating: Arc::default() }
    }

    /// Runs a task until it or the link ends.
    pub fn run(&self, task: impl Future<Output = ()> + Send + 'static) -> tokio::task::JoinHandle<()> {
        let termination = self.termination.clone();
        self.tasks.spawn(async move {
            let stop = termination.stop().clone();
            let contained = AssertUnwindSafe(task).catch_unwind();
            if let Some(Err(_)) = stop.run_until_cancelled(contained).await {
                // The panic's text may hold what the phone sent.
                error!("a task of the WhatsApp library panicked: its link is closed");
                termination.terminate(End::Internal);
            }
        })
    }

    /// The library's sleeps have no names. While codes are shown, a sleep of exactly a minute can only be the
    /// rotation's first. The sleeps of 20 s that follow are the rotation's, or a timeout that tests do not need.
    fn scaled(&self, duration: Duration) -> Duration {
        if self.qr_pace == 1.0 || self.progress.stage() != Stage::Offering {
            return duration;
        }
        let first = duration == FIRST_CODE;
        if first {
            self.rotating.store(true, Ordering::Relaxed);
        }
        let paced = first || (duration == NEXT_CODE && self.rotating.load(Ordering::Relaxed));
        if paced { duration.mul_f32(self.qr_pace) } else { duration }
    }
}

#[async_trait]
impl Runtime for LinkRuntime {
    fn spawn(&self, future: Task) -> AbortHandle {
        let task = self.run(future).abort_handle();
        AbortHandle::new(move || task.abort())
    }

    fn spawn_detached(&self, future: Task) {
        self.run(future);
    }

    fn sleep(&self, duration: Duration) -> Task {
        Box::pin(tokio::time::sleep(self.scaled(duration)))
    }

    fn spawn_blocking(&self, work: Box<dyn FnOnce() + Send + 'static>) -> Task {
        let task = self.tasks.spawn_blocking(work);
        let termination = self.termination.clone();
        Box::pin(async move {
            if task.await.is_err_and(|failed| failed.is_panic()) {
                error!("blocking work of the WhatsApp library panicked: its link is closed");
                termination.terminate(End::Internal);
            }
        })
    }

    fn yield_now(&self) -> Option<Task> {
        // Tokio moves tasks away from a busy thread by itself.
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runtime(pace: f32) -> (LinkRuntime, TaskTracker, Arc<Termination>, Arc<Progress>) {
        let (tasks, termination) = (TaskTracker::new(), Arc::new(Termination::default()));
        let progress = Arc::new(Progress::new(Stage::Offering));
        (LinkRuntime::new(tasks.clone(), termination.clone(), progress.clone(), pace), tasks, termination, progress)
    }

    #[tokio::test]
    async fn panic_in_a_library_task_ends_only_its_link() {
        let (runtime, tasks, termination, _) = runtime(1.0);
        let (_other, _, other_termination, _) = self::runtime(1.0);
        runtime.spawn_detached(Box::pin(std::future::pending()));
        runtime.spawn_detached(Box::pin(async { panic!("on purpose") }));
        assert_eq!(termination.terminated().await, End::Internal);
        tasks.close();
        tasks.wait().await;
        assert!(!other_termination.is_terminated());
    }

    #[tokio::test]
    async fn panic_in_blocking_work_ends_its_link() {
        let (runtime, _tasks, termination, _) = runtime(1.0);
        runtime.spawn_blocking(Box::new(|| panic!("on purpose"))).await;
        assert_eq!(termination.end(), Some(End::Internal));
    }

    #[tokio::test]
    async fn every_task_ends_with_the_link() {
        let (runtime, tasks, termination, _) = runtime(1.0);
        let held = Arc::new(());
        for _ in 0..10 {
            let held = held.clone();
            runtime.spawn_detached(Box::pin(async move {
                std::future::pending::<()>().await;
                drop(held);
            }));
        }
        termination.stop().cancel();
        tasks.close();
        tasks.wait().await;
        assert_eq!(Arc::strong_count(&held), 1);
    }

    #[tokio::test]
    async fn dropped_handle_aborts_its_task_and_a_detached_one_does_not() {
        let (runtime, tasks, _termination, _) = runtime(1.0);
        let (done, wait) = tokio::sync::oneshot::channel();
        drop(runtime.spawn(Box::pin(std::future::pending())));
        runtime.spawn(Box::pin(async move { done.send(()).unwrap() })).detach();
        wait.await.unwrap();
        tasks.close();
        tasks.wait().await;
    }

    #[test]
    fn only_the_sleeps_of_the_code_rotation_are_paced() {
        let (runtime, _, _, progress) = runtime(0.5);
        assert_eq!(runtime.scaled(NEXT_CODE), NEXT_CODE, "before the first code it is the dial's timeout");
        assert_eq!(runtime.scaled(FIRST_CODE), Duration::from_secs(30));
        assert_eq!(runtime.scaled(NEXT_CODE), Duration::from_secs(10));
        assert_eq!(runtime.scaled(Duration::from_secs(1)), Duration::from_secs(1));
        progress.reach(Stage::Scanned);
        assert_eq!(runtime.scaled(FIRST_CODE), FIRST_CODE);
    }
}
