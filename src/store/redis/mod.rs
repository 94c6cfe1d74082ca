//! The store of several instances: everything is in Redis, and each change is one Lua script.
//!
//! A change is decided here, in Rust, on what was read of the tenant, and written by a script only if the record is
//! still at the version that was read; otherwise it is decided again. The script checks the lease, keeps the event in a
//! short history and publishes it in the same step. Everything that says something about a tenant is sealed before it
//! leaves this process, so Redis sees tenants, times and numbers, and neither codes nor phones nor what a status says.
//!
//! Who lives is a matter of *incarnations*: one key for each, refreshed every second and gone for good once it expired.
//! A tenant's owner is alive as long as its incarnation is, and whatever points from an incarnation to tenants is only an
//! index: the record decides.

mod audience;
mod census;
mod compare;
mod condition;
mod connection;
mod forget;
#[cfg(test)]
mod fuzz;
mod heart;
mod journal;
mod keys;
mod layout;
mod leases;
mod listener;
mod lost;
mod moving;
mod number;
mod outbox;
mod proof;
mod reading;
mod record;
mod client_version;
mod refusal;
mod reseal;
mod revocation;
mod roster;
mod said;
mod script;
mod sealed;
mod sentinel;
mod server;
mod sweep;
mod tenants;
mod trouble;
mod unattended;
mod unfit;
mod unread;
mod url;
mod vault;
mod watch;
mod writing;

use std::{
    sync::{Arc, Mutex, atomic::AtomicBool},
    time::Duration,
};

use tokio::{
    sync::{mpsc, watch as watched},
    time::{Instant, sleep},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use condition::Condition;
pub use unfit::UnusableServer;
use unread::Unread;
pub use url::{Url, UrlError};

use self::{
    audience::{Audience, Order},
    census::{Census, Tag},
    connection::Connections,
    leases::Leases,
    outbox::Desk,
    sealed::Seals,
    trouble::Trouble,
};
use super::{
    Limits, Outbox, Revoked, StoreError, Stores,
    crypt::{MasterKey, MasterKeys},
    hub::Hub,
    notifications::Notifications,
};
use crate::{clock::SharedClock, tenant::TenantId};

/// Subscriptions that may wait for the listener. When it is full readers wait, and begin with a stale notice.
const ORDERS_MAX: usize = 4_096;

const PROVE_EVERY: Duration = Duration::from_millis(100);

/// How the store connects.
#[derive(Debug)]
pub struct Settings {
    /// Where Redis or its sentinels are.
    pub url: Url,
    /// The encryption key that all instances share.
    pub key: MasterKey,
    /// The key before, while it is being replaced; or the one to come, before it is. What it has sealed opens too.
    pub previous: Option<MasterKey>,
    /// Sessions this instance will own; `None`: as many as come.
    pub sessions_max: Option<usize>,
    /// How often tenants may send requests.
    pub limits: Limits,
    /// A tenant without credentials, desired state and owner is forgotten after this time.
    pub forget_after: Duration,
    /// The id of the move that fills this Redis, in the process that moves; `None` in every other.
    pub moving: Option<String>,
}

/// A handle; clones are the same store. With the last one its tasks end.
#[derive(Clone)]
pub struct RedisStore(Arc<Inner>);

struct Inner {
    shared: Arc<Shared>,
}

/// What callers and tasks both see.
struct Shared {
    connections: Connections,
    keys: Arc<MasterKeys>,
    clock: SharedClock,
    hub: Arc<Hub>,
    notifications: Notifications,
    revoked: Arc<Revoked>,
    leases: Leases,
    census: Census,
    sessions_max: Option<usize>,
    limits: Limits,
    forget_after: Duration,
    audience: Audience,
    outbox: Desk,
    orders: mpsc::Sender<Order>,
    /// The incarnation that lives now; `None` until Redis knows it, and between two.
    incarnation: watched::Sender<Option<Arc<str>>>,
    /// Random, for as long as the process lives: whose nudge and whose probe it is.
    instance: String,
    /// The run of the server with which what we hold was compared.
    compared: watched::Sender<Tag>,
    /// The incarnation before the present one, of which this process knows that it has hung up.
    past: Mutex<Tag>,
    /// A session is left alone until everybody has compared.
    waits: AtomicBool,
    condition: watched::Sender<Condition>,
    unread: Unread,
    /// When something published last arrived.
    delivered: Mutex<Instant>,
    /// Ends with the first of the tasks that must not end.
    crashed: CancellationToken,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl RedisStore {
    /// Does not wait for Redis: with it away everything says so, and begins when it is there. Within a tokio runtime.
    pub fn open(settings: Settings, clock: SharedClock) -> Self {
        let rotates = settings.previous.is_some();
        let keys = Arc::new(MasterKeys { current: settings.key, previous: settings.previous });
        let connections = Connections::new(settings.url, keys.clone(), settings.moving);
        let hub = Arc::new(Hub::default());
        let (orders, queue) = mpsc::channel(ORDERS_MAX);
        let shared = Arc::new(Shared {
            audience: Audience::new(hub.clone(), connections.server()),
            connections,
            keys,
            clock,
            hub,
            outbox: Desk::default(),
            notifications: Notifications::default(),
            revoked: Arc::default(),
            leases: Leases::default(),
            census: Census::default(),
            sessions_max: settings.sessions_max,
            limits: settings.limits,
            forget_after: settings.forget_after,
            orders,
            incarnation: watched::Sender::new(None),
            instance: random_name(),
            compared: watched::Sender::default(),
            past: Mutex::default(),
            waits: AtomicBool::new(false),
            condition: watched::Sender::default(),
            unread: Unread::default(),
            delivered: Mutex::new(Instant::now()),
            crashed: CancellationToken::new(),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        });
        shared.run(heart::run(shared.clone()));
        shared.run(watch::run(shared.clone()));
        shared.run(sweep::run(shared.clone()));
        shared.run(revocation::run(shared.clone()));
        shared.run(listener::run(shared.clone(), queue));
        if rotates {
            shared.run(reseal::run(shared.clone()));
        }
        Self(Arc::new(Inner { shared }))
    }

    /// Waits for Redis, but not for long: true once it is there. An error says that it is there, and that waiting for
    /// another answer is in vain.
    pub async fn proven(&self, wait: Duration) -> Result<bool, UnusableServer> {
        let until = Instant::now() + wait;
        loop {
            match self.shared().connections.live().await {
                Ok(_) => return Ok(true),
                Err(Trouble::UnusableServer(unfit)) => return Err(unfit),
                Err(_) if Instant::now() >= until => return Ok(false),
                Err(_) => sleep(PROVE_EVERY).await,
            }
        }
    }

    /// The traits of this store.
    pub fn stores(&self) -> Stores {
        Stores::of(Arc::new(self.clone()))
    }

    /// From here on whatever this instance says of a tenant leaves a notice for the back end. Who never asks pays nothing
    /// for it.
    pub fn outbox(&self) -> Arc<dyn Outbox> {
        self.shared().outbox.ask();
        Arc::new(self.clone())
    }

    /// Whether Redis answers and delivers, as it changes.
    pub fn condition(&self) -> watched::Receiver<Condition> {
        self.shared().condition.subscribe()
    }

    /// Looks for wanted tenants that no index names, and forgets those that have been idle for long enough. Done every few minutes anyway, by one instance.
    pub async fn sweep(&self) -> Result<(), StoreError> {
        self.shared().sweep().await
    }

    /// Waits for the end of what must not end but by [`Self::close`].
    pub async fn crashed(&self) {
        self.shared().crashed.cancelled().await;
    }

    /// Ends every lease and subscription and this incarnation, so that others may take over what it owned. Whatever is
    /// asked afterwards is [`StoreError::Unavailable`]. Asked twice it is done once.
    pub async fn close(&self) {
        let shared = self.shared();
        shared.leases.end_all();
        // Before the tasks end: a reader is told of the end and of no doubt.
        shared.hub.close();
        shared.stop.cancel();
        shared.tasks.close();
        shared.tasks.wait().await;
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.0.shared
    }
}

impl Shared {
    fn seals(&self, tenant: &TenantId) -> Seals {
        Seals::new(&self.keys, tenant, self.outbox.is_asked())
    }

    /// A task that this store cannot do without.
    fn run(&self, task: impl Future<Output = ()> + Send + 'static) {
        let crashed = self.crashed.clone().drop_guard();
        self.tasks.spawn(async move {
            let _crashed = crashed;
            task.await;
        });
    }

    fn check_open(&self) -> Result<(), StoreError> {
        if self.stop.is_cancelled() { Err(Trouble::Closed.into()) } else { Ok(()) }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.shared.stop.cancel();
    }
}

/// Has it done even if the caller goes away meanwhile: what follows a change must not be forgotten.
async fn surely<T: Send + 'static>(
    shared: &Arc<Shared>,
    work: impl Future<Output = Result<T, StoreError>> + Send + 'static,
) -> Result<T, StoreError> {
    shared.check_open()?;
    shared.tasks.spawn(work).await.map_err(|_| StoreError::from(Trouble::Closed))?
}

fn random_name() -> String {
    format!("{:032x}", rand::random::<u128>())
}
