//! The store of a single instance: one file in the data directory, no server. It keeps its rows in redb.
//!
//! What it guarantees: one thread writes. It takes all waiting steps, applies them to one transaction and commits it to
//! the disk. Only then it changes memory, publishes, and answers the callers, so a thousand sessions that write at once
//! share one `fsync`. Each step checks its fence before it writes: a refused step changes nothing, and a commit that
//! fails leaves memory as it was.
//!
//! Where data is: every tenant's newest event, desired state and owner are in memory, some 500 bytes a tenant, read
//! from the file at the start. Credentials stay in the file. Leases are in memory only, so after a restart no session
//! runs until it is acquired again.
//!
//! What it must not do: write a QR or pairing code to the disk, not even encrypted.
//!
//! Where to start reading: `commands` and `ownership` decide, `batch` collects changes, `writer` commits them.

mod batch;
mod directory;
mod disk;
mod export;
mod file;
mod idle;
mod journal;
mod memory;
mod migration;
mod moved;
mod open_error;
mod outbox;
mod record;
mod client_version;
mod commands;
mod revocation;
mod rewrite;
mod ownership;
mod rows;
mod used;
mod credentials;
mod writer;

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, RecvTimeoutError, channel},
    },
    thread::JoinHandle,
    time::Duration,
};

use redb::ReadTransaction;
use tokio::{
    sync::{Semaphore, mpsc, oneshot, watch},
    task::spawn_blocking,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

pub use directory::{Directory, KEY_FILE, SIGN_IN_FILE};
pub use export::MoveFacts;
pub use migration::{MIGRATIONS, Step as MigrationStep};
pub use moved::Moved;
pub use open_error::OpenError;
pub use rewrite::rewrite;

use self::{
    batch::{Batch, Failure, Step},
    disk::Disk,
    memory::Memory,
    outbox::Schedule,
    used::Numbers,
    writer::{Job, Writer},
};
use super::{
    FORGET_AFTER, Limits, Migration, Outbox, StoreError, Stores,
    crypt::{MasterKey, TenantKeys},
    hub::Hub,
    notifications::Notifications,
};
use crate::{clock::SharedClock, tenant::TenantId};

/// Steps that may wait for the writer. When it is full callers wait.
const STEPS_MAX: usize = 1_024;
/// The longest time that a caller waits for a step or a read, the queue included. Without this, a request would wait as
/// long as the disk hangs.
const STEP_TIME_MAX: Duration = Duration::from_secs(5);
/// Reads of credentials at the same time. Without this, reads from a disk that hangs would take every thread that blocking
/// work has, and look-ups of names wait for one too.
const READS_MAX: usize = 32;
/// How long the end of the process waits for a writer whose disk hangs. Unfinished steps were never confirmed.
const END_TIME_MAX: Duration = Duration::from_secs(2);

/// How the store is opened.
pub struct Settings {
    /// Created for its owner only, if it is missing. Refused if others may write in it. One process uses it at a time.
    pub dir: PathBuf,
    /// The encryption key.
    pub key: MasterKey,
    /// The previous key. Opening with it encrypts everything again with `key`, in one transaction; after that it is not
    /// needed.
    pub previous: Option<MasterKey>,
    /// How often tenants may send requests.
    pub limits: Limits,
    /// A tenant without credentials, desired state and owner is forgotten after this time.
    pub forget_after: Duration,
    /// Steps from earlier formats of the file: [`MIGRATIONS`].
    pub migrations: &'static [Migration<MigrationStep>],
    /// A hook for tests, which end the process there. `None` in production.
    pub on_commit: Option<CommitHook>,
}

impl Settings {
    /// Settings with the default limits and without a previous key.
    pub fn new(dir: impl Into<PathBuf>, key: MasterKey) -> Self {
        let (previous, limits, on_commit) = (None, Limits::default(), None);
        let migrations = MIGRATIONS;
        Self { dir: dir.into(), key, previous, limits, forget_after: FORGET_AFTER, migrations, on_commit }
    }
}

/// Called by the writer around each commit.
pub type CommitHook = Arc<dyn Fn(CommitPoint) + Send + Sync>;

/// Where the hook is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitPoint {
    /// Nothing of the steps is on the disk yet.
    Before,
    /// They are on the disk, and nothing is published yet.
    After,
}

/// A handle; clones are the same store. Dropping the last one closes the store after the waiting steps.
#[derive(Clone)]
pub struct EmbeddedStore(Arc<Inner>);

struct Inner {
    shared: Arc<Shared>,
    /// `None` only while it is dropped, which ends the writer.
    jobs: Option<mpsc::Sender<Job>>,
    writer: Mutex<Option<Thread>>,
}

struct Thread {
    handle: JoinHandle<()>,
    /// Carries no message: it closes when the thread ends.
    end: Receiver<()>,
}

/// State that callers and the writer share.
struct Shared {
    disk: Disk,
    memory: Mutex<Memory>,
    hub: Arc<Hub>,
    notifications: Notifications,
    outbox: Schedule,
    key: MasterKey,
    limits: Limits,
    forget_after: Duration,
    numbers: Numbers,
    reads: Arc<Semaphore>,
    clock: SharedClock,
    on_commit: Option<CommitHook>,
    /// The last write succeeded, and in time.
    writable: watch::Sender<bool>,
    /// A [`Job::Look`] is in the queue.
    looks: AtomicBool,
    /// The writer has ended, whatever the reason.
    ended: CancellationToken,
}

impl EmbeddedStore {
    /// Blocks: reads every tenant's newest event and desired state; after a crash the whole file; and with a new key it
    /// encrypts every row again.
    pub fn open(settings: Settings, clock: SharedClock) -> Result<Self, OpenError> {
        let Settings { dir, key, previous, limits, forget_after, migrations, on_commit } = settings;
        let keys = (&key, previous.as_ref());
        let now = clock.now();
        let (disk, found) = Disk::open(&dir, keys, migrations, now, on_commit.as_ref())?;
        let memory = Memory::new(found, disk.epoch(), now);
        let outbox = Schedule::default();
        memory.pending_webhooks().for_each(|tenant| outbox.add(tenant));
        let (memory, hub, notifications) = (Mutex::new(memory), Arc::default(), Notifications::default());
        let shared = Arc::new(Shared {
            disk,
            memory,
            hub,
            notifications,
            outbox,
            key,
            limits,
            forget_after,
            numbers: Numbers::default(),
            reads: Arc::new(Semaphore::new(READS_MAX)),
            clock,
            on_commit,
            writable: watch::Sender::new(true),
            looks: AtomicBool::new(false),
            ended: CancellationToken::new(),
        });
        let (jobs, queue) = mpsc::channel(STEPS_MAX);
        let writer = Writer::new(shared.clone(), queue);
        let (alive, end) = channel::<()>();
        let thread = std::thread::Builder::new().name("store".into()).spawn(move || {
            let _alive = alive;
            writer.run();
        });
        let handle = thread.map_err(|source| OpenError::Engine { path: dir, source: source.into() })?;
        Ok(Self(Arc::new(Inner { shared, jobs: Some(jobs), writer: Mutex::new(Some(Thread { handle, end })) })))
    }

    /// The traits of this store.
    pub fn stores(&self) -> Stores {
        Stores::of(Arc::new(self.clone()))
    }

    /// From the first call on, every change of a status also makes an outbox entry.
    pub fn outbox(&self) -> Arc<dyn Outbox> {
        self.shared().outbox.ask();
        Arc::new(self.clone())
    }

    /// Makes the writer check its file: whether it still exists, and, if the last write failed, whether it can be
    /// written again. Without this, a store that has no step to do would not find out. Does not wait.
    pub fn look(&self) {
        let looks = &self.shared().looks;
        // Without this, checks would fill the queue while the disk hangs.
        if !looks.swap(true, Ordering::Relaxed) && self.jobs().try_send(Job::Look).is_err() {
            looks.store(false, Ordering::Relaxed);
        }
    }

    /// Whether the last write succeeded in time. Reads work either way.
    pub fn writable(&self) -> watch::Receiver<bool> {
        self.shared().writable.subscribe()
    }

    /// Waits until the writer has ended: after that nothing can be saved until the program is started again.
    pub async fn ended(&self) {
        self.shared().ended.cancelled().await;
    }

    /// Finishes the waiting steps, ends every lease and subscription, and releases the directory. Later calls return
    /// [`StoreError::Unavailable`]. A second `close` does nothing.
    pub async fn close(&self) {
        let (done, closed) = oneshot::channel();
        if self.jobs().send(Job::Close(done)).await.is_ok() {
            // An error means that another call was faster; the store is closed by then.
            let _ = closed.await;
        }
        self.0.join();
    }

    /// Passes a step to the writer and waits for its commit. If the caller is cancelled or waits too long, a step that
    /// has not begun is dropped; one that has begun runs to completion.
    async fn step<T: Send + 'static>(
        &self,
        step: impl FnOnce(&mut Batch<'_>) -> Step<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        let done = async {
            self.jobs().send(Job::step(step, reply)).await.map_err(|_| closed())?;
            answer.await.map_err(|_| closed())?
        };
        timeout(STEP_TIME_MAX, done).await.unwrap_or_else(|_| {
            if self.shared().set_writable(false) {
                tracing::error!(limit_s = STEP_TIME_MAX.as_secs(), "store step exceeded its deadline, the disk hangs");
            }
            Err(StoreError::Unavailable(Box::new(Late)))
        })
    }

    /// Reads the file in a thread that may block. If the caller is cancelled or waits too long, a read that has begun runs
    /// to its end.
    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&ReadTransaction) -> Result<T, redb::Error> + Send + 'static,
    ) -> Result<T, StoreError> {
        let shared = self.shared().clone();
        let done = async {
            let permit = shared.reads.clone().acquire_owned().await.expect("it is never closed");
            let read = spawn_blocking(move || {
                let _permit = permit;
                shared.disk.read(read)
            });
            Ok(read.await.map_err(|error| StoreError::Unavailable(Box::new(error)))??)
        };
        timeout(STEP_TIME_MAX, done).await.unwrap_or_else(|_| Err(StoreError::Unavailable(Box::new(Late))))
    }

    fn jobs(&self) -> &mpsc::Sender<Job> {
        self.0.jobs.as_ref().expect("it is taken only in drop, after which no call is possible")
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.0.shared
    }
}

impl Shared {
    fn keys(&self, tenant: &TenantId) -> TenantKeys {
        TenantKeys::new(&self.key, tenant)
    }

    /// Returns whether it changed, so that each failure is logged once.
    fn set_writable(&self, writable: bool) -> bool {
        self.writable.send_if_modified(|now| std::mem::replace(now, writable) != writable)
    }
}

impl Inner {
    fn join(&self) {
        let Some(Thread { handle, end }) = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take() else {
            return;
        };
        if end.recv_timeout(END_TIME_MAX) == Err(RecvTimeoutError::Timeout) {
            tracing::warn!("the store's writer still waits for the disk, not waiting for it any longer");
        } else if handle.join().is_err() {
            tracing::error!("the store's writer panicked");
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        drop(self.jobs.take());
        self.join();
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the store is closed")]
struct Closed;

#[derive(Debug, thiserror::Error)]
#[error("the store did not finish in time")]
struct Late;

fn closed() -> StoreError {
    StoreError::Unavailable(Box::new(Closed))
}

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> Self {
        if failure.is_damage() { Self::Damaged(Box::new(failure)) } else { Self::Unavailable(Box::new(failure)) }
    }
}
