//! The store of several instances: everything is in Redis, and each change is one Lua script.
//!
//! A change is decided in Rust, on what was read of the tenant. A script writes it only if the record is still at the version
//! that was read; otherwise it is decided again. The script checks the lease, keeps the event in a short history and publishes
//! it in the same step. Statuses, requests and credentials are encrypted before they leave this process: Redis sees tenants,
//! times and numbers.
//!
//! An instance lives as one *incarnation* after the other. Each has a heartbeat key, which is renewed every second and never
//! created again once it has expired. A tenant's owner is alive as long as its incarnation is. What points from an incarnation
//! to tenants is only an index: the record decides.
//!
//! What it must not do: decide in a script what a status means, send anything secret unencrypted, or trust an index
//! without its record.
//!
//! Where to start reading: docs/redis.md for the keys and invariants, then `submit` and `scripts/submit.lua`.

mod client;
mod client_version;
mod commands;
mod credentials;
mod encryption;
#[cfg(test)]
mod fuzz;
mod journal;
mod membership;
mod moving;
mod outbox;
mod ownership;
mod recovery;
mod revocation;
mod schema;
mod script;
mod tasks;
mod tenants;
mod watchers;

use std::{sync::Arc, time::Duration};

pub use client::{
    health::Condition,
    migration::{MIGRATIONS, Step},
    unusable::UnusableServer,
    url::{Url, UrlError},
};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep},
};

use self::{
    client::{connection::Connections, failure::Failure, health::Health},
    encryption::{sealed::Seals, unread::Unread},
    membership::Membership,
    outbox::OutboxState,
    ownership::{leases::Leases, released::Released},
    recovery::Recovery,
    tasks::Tasks,
    watchers::{Watchers, listener::Order},
};
use super::{
    Limits, Migration, Outbox, Revoked, StoreError, Stores,
    crypt::{MasterKey, MasterKeys},
    hub::Hub,
    notifications::Notifications,
};
use crate::{clock::SharedClock, tenant::TenantId};

/// Channels that may wait to be subscribed. If there are more, readers wait, and then begin with a stale status.
const ORDERS_MAX: usize = 4_096;

const PROVE_EVERY: Duration = Duration::from_millis(100);

/// How the store connects.
#[derive(Debug)]
pub struct Settings {
    /// Where Redis or its sentinels are.
    pub url: Url,
    /// The encryption key that all instances share.
    pub key: MasterKey,
    /// The previous encryption key during a rotation, or the next one before it. It opens data as well.
    pub previous: Option<MasterKey>,
    /// Sessions this instance will own; `None`: as many as come.
    pub sessions_max: Option<usize>,
    /// How often tenants may send requests.
    pub limits: Limits,
    /// A tenant without credentials, desired state and owner is forgotten after this time.
    pub forget_after: Duration,
    /// Steps from earlier layouts: [`MIGRATIONS`].
    pub migrations: &'static [Migration<Step>],
    /// Whether an earlier layout is migrated. Otherwise it is refused.
    pub migrates: bool,
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
    membership: Membership,
    limits: Limits,
    forget_after: Duration,
    watchers: Watchers,
    outbox: OutboxState,
    orders: mpsc::Sender<Order>,
    recovery: Recovery,
    released: Released,
    health: Health,
    unread: Unread,
    tasks: Tasks,
}

impl RedisStore {
    /// Does not wait for Redis. Must be called within a tokio runtime.
    pub fn open(settings: Settings, clock: SharedClock) -> Self {
        let rotates = settings.previous.is_some();
        let keys = Arc::new(MasterKeys { current: settings.key, previous: settings.previous });
        let connections =
            Connections::new(settings.url, keys.clone(), settings.moving, (settings.migrations, settings.migrates));
        let hub = Arc::new(Hub::default());
        let (orders, queue) = mpsc::channel(ORDERS_MAX);
        let shared = Arc::new(Shared {
            watchers: Watchers::new(hub.clone(), connections.server()),
            connections,
            keys,
            clock,
            hub,
            outbox: OutboxState::default(),
            notifications: Notifications::default(),
            revoked: Arc::default(),
            leases: Leases::default(),
            membership: Membership::new(settings.sessions_max),
            limits: settings.limits,
            forget_after: settings.forget_after,
            orders,
            recovery: Recovery::default(),
            released: Released::default(),
            health: Health::default(),
            unread: Unread::default(),
            tasks: Tasks::default(),
        });
        shared.tasks.run(membership::heartbeat::run(shared.clone()));
        shared.tasks.run(membership::liveness::run(shared.clone()));
        shared.tasks.run(tenants::sweep::run(shared.clone()));
        shared.tasks.run(revocation::run(shared.clone()));
        shared.tasks.run(watchers::listener::run(shared.clone(), queue));
        if rotates {
            shared.tasks.run(encryption::reseal::run(shared.clone()));
        }
        Self(Arc::new(Inner { shared }))
    }

    /// Waits for Redis, but not for long: true once it is there. An error means that the server is there and cannot be used.
    pub async fn proven(&self, wait: Duration) -> Result<bool, UnusableServer> {
        let until = Instant::now() + wait;
        loop {
            match self.shared().connections.live().await {
                Ok(_) => return Ok(true),
                Err(Failure::UnusableServer(unusable)) => return Err(unusable),
                Err(_) if Instant::now() >= until => return Ok(false),
                Err(_) => sleep(PROVE_EVERY).await,
            }
        }
    }

    /// The traits of this store.
    pub fn stores(&self) -> Stores {
        Stores::of(Arc::new(self.clone()))
    }

    /// From here on each status that this instance appends goes to the outbox. Without this call the outbox costs nothing.
    pub fn outbox(&self) -> Arc<dyn Outbox> {
        self.shared().outbox.enable();
        Arc::new(self.clone())
    }

    /// Whether Redis answers and delivers, as it changes.
    pub fn condition(&self) -> watch::Receiver<Condition> {
        self.shared().health.condition()
    }

    /// Looks for wanted tenants that no index names, and forgets tenants that have been idle for long enough. One instance does
    /// it every few minutes.
    pub async fn sweep(&self) -> Result<(), StoreError> {
        self.shared().sweep().await
    }

    /// Returns when a task ends that only [`Self::close`] may end.
    pub async fn crashed(&self) {
        self.shared().tasks.crashed().await;
    }

    /// Ends every lease and subscription and this incarnation, so that others may take over its tenants. Later calls return
    /// [`StoreError::Unavailable`]. A second call does nothing.
    pub async fn close(&self) {
        let shared = self.shared();
        shared.leases.end_all();
        // Before the tasks end: a reader sees the end, and no stale status.
        shared.hub.close();
        shared.tasks.close().await;
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.0.shared
    }
}

impl Shared {
    fn seals(&self, tenant: &TenantId) -> Seals {
        Seals::new(&self.keys, tenant, self.outbox.is_enabled())
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.shared.tasks.stop();
    }
}

/// Runs to completion if the caller is cancelled: what follows a change must not be left out.
async fn to_completion<T: Send + 'static>(
    shared: &Arc<Shared>,
    work: impl Future<Output = Result<T, StoreError>> + Send + 'static,
) -> Result<T, StoreError> {
    shared.tasks.check_open()?;
    shared.tasks.spawn(work).await.map_err(|_| StoreError::from(Failure::Closed))?
}

/// As scripts and commands take a time.
fn millis(duration: Duration) -> u64 {
    duration.as_millis() as u64
}

fn random_name() -> String {
    format!("{:032x}", rand::random::<u128>())
}
