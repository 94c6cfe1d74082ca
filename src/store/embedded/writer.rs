use std::{
    io,
    sync::{Arc, PoisonError, atomic::Ordering},
    time::{Duration, Instant},
};

use redb::WriteTransaction;
use tokio::sync::{mpsc, oneshot};

use super::{
    CommitPoint, Shared,
    batch::{Batch, Failure, Step, Stop},
    disk::Lost,
};
use crate::store::StoreError;

/// The most steps in one commit. It bounds what a crash can undo, and how long readers wait while memory is changed.
const BATCH_MAX: usize = 256;
/// The pause between two tries to open a failed file again.
const REOPEN_AFTER: Duration = Duration::from_secs(1);

pub enum Job {
    Step(Task),
    /// Only the check of the file that follows every batch, and a test write if the last write failed.
    Look,
    Close(oneshot::Sender<()>),
}

type Task = Box<dyn FnOnce(&mut Batch<'_>) -> Answer + Send>;

/// A step that was applied and waits for the commit, whose result it passes to its caller.
pub struct Answer {
    /// The disk failed in this step, and every other step of its batch fails with it.
    failure: Option<Failure>,
    respond: Box<dyn FnOnce(Result<(), Failure>) + Send>,
}

impl Job {
    pub fn step<T: Send + 'static>(
        step: impl FnOnce(&mut Batch<'_>) -> Step<T> + Send + 'static,
        reply: oneshot::Sender<Result<T, StoreError>>,
    ) -> Self {
        Self::Step(Box::new(move |batch| {
            if reply.is_closed() {
                // The caller was cancelled before the step began. Its lease would end in the same batch that gives it,
                // unseen by the batch's next step.
                return Answer { failure: None, respond: Box::new(drop) };
            }
            let done = step(batch);
            let failure = match &done {
                Err(Stop::Failed(failure)) => Some(failure.clone()),
                Ok(_) | Err(Stop::Refused(_)) => None,
            };
            let respond = move |committed: Result<(), Failure>| {
                let answer = match (done, committed) {
                    (Ok(value), Ok(())) => Ok(value),
                    (Err(Stop::Refused(error)), _) => Err(error),
                    (Err(Stop::Failed(failure)), _) | (_, Err(failure)) => Err(failure.into()),
                };
                // The caller may have stopped waiting. Its lease is dropped here, and the tenant is free again.
                let _ = reply.send(answer);
            };
            Answer { failure, respond: Box::new(respond) }
        }))
    }
}

/// The one thread that writes.
pub struct Writer {
    shared: Arc<Shared>,
    jobs: mpsc::Receiver<Job>,
    leases: u32,
    /// When the file failed, or was last tried again.
    failed: Option<Instant>,
}

impl Writer {
    pub fn new(shared: Arc<Shared>, jobs: mpsc::Receiver<Job>) -> Self {
        Self { shared, jobs, leases: 0, failed: None }
    }

    /// Until the store closes, or the last handle to it is dropped.
    pub fn run(mut self) {
        let mut asked = Vec::new();
        while let Some(first) = self.jobs.blocking_recv() {
            let (mut steps, mut looks) = (Vec::new(), false);
            let mut next = Some(first);
            while let Some(job) = next {
                match job {
                    Job::Step(step) => steps.push(step),
                    Job::Look => {
                        self.shared.looks.store(false, Ordering::Relaxed);
                        looks = true;
                    }
                    Job::Close(done) => {
                        // Earlier steps are finished, later ones are refused.
                        self.jobs.close();
                        asked.push(done);
                    }
                }
                next = if steps.len() < BATCH_MAX { self.jobs.try_recv().ok() } else { None };
            }
            if let Err(lost) = self.recover().and_then(|()| self.work(steps, looks)) {
                let path = self.shared.disk.path().display();
                tracing::error!(%path, "{lost}: the store ends, and every session with it");
                break;
            }
        }
        drop(self);
        for done in asked {
            let _ = done.send(());
        }
    }

    fn work(&mut self, steps: Vec<Task>, looks: bool) -> Result<(), Lost> {
        let shared = self.shared.clone();
        let mut batch = Batch::new(&shared, &mut self.leases);
        let mut answers = Vec::with_capacity(steps.len());
        let mut failure = None;
        for step in steps {
            let answer = step(&mut batch);
            failure = failure.or_else(|| answer.failure.clone());
            answers.push(answer.respond);
        }
        if looks && !*shared.writable.borrow() {
            // A file that opens may still not be writable: the disk may be full.
            failure = failure.or_else(|| batch.probe().err());
        }
        let (transaction, outcome) = batch.finish();
        let writes = transaction.is_some();
        let committed = match failure {
            Some(failure) => Err(failure),
            None => commit(&shared, transaction),
        };
        // Before any step is confirmed: what was written into a deleted file is lost.
        let there = shared.disk.check();
        let committed = match &there {
            Ok(()) => committed,
            Err(lost) => Err(redb::Error::Io(io::Error::other(lost.to_string())).into()),
        };
        match &committed {
            Ok(()) => {
                outcome.apply();
                if writes && shared.set_writable(true) {
                    tracing::info!("store file can be written again");
                }
            }
            Err(failure) => {
                self.failed.get_or_insert_with(Instant::now);
                if shared.set_writable(false) {
                    let error = std::error::Error::source(failure).map(tracing::field::display);
                    tracing::error!(error, "store file cannot be written");
                }
            }
        }
        for respond in answers {
            respond(committed.clone());
        }
        there
    }

    fn recover(&mut self) -> Result<(), Lost> {
        let Some(failed) = self.failed else { return Ok(()) };
        if failed.elapsed() < REOPEN_AFTER {
            return Ok(());
        }
        match self.shared.disk.reopen() {
            Ok(()) => {
                self.failed = None;
                // The failed commit may be in the file nevertheless.
                self.shared.memory.lock().unwrap_or_else(PoisonError::into_inner).distrust_file();
                Ok(())
            }
            Err(Lost::Away) => {
                self.failed = Some(Instant::now());
                Ok(())
            }
            Err(lost) => Err(lost),
        }
    }
}

/// However the writer ends, also by a panic, every lease ends with it: no session runs on that cannot write.
impl Drop for Writer {
    fn drop(&mut self) {
        self.shared.memory.lock().unwrap_or_else(PoisonError::into_inner).end_leases();
        self.shared.hub.close();
        self.shared.disk.close();
        self.shared.ended.cancel();
    }
}

fn commit(shared: &Shared, transaction: Option<WriteTransaction>) -> Result<(), Failure> {
    let Some(transaction) = transaction else { return Ok(()) };
    let hook = |point| shared.on_commit.iter().for_each(|hook| hook(point));
    hook(CommitPoint::Before);
    transaction.commit().map_err(redb::Error::from)?;
    hook(CommitPoint::After);
    Ok(())
}
