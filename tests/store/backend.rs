use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use tautan::{
    clock::{Clock, Timestamp},
    events::Status,
    store::{
        ClientVersions, Commands, CredentialStore, Delivery, DesiredState, Journal, Lease, Outbox, OutboxEntry,
        Ownership, Revocations, Stores, Tenants,
        crypt::MasterKey,
        embedded::{EmbeddedStore, Settings},
        redis::{self, RedisStore, Url},
    },
    tenant::TenantId,
};
use tautan_test_support::{Network, RedisServer};

use crate::statuses::Received;

/// No promise takes longer, on however busy a machine; one that hangs is broken.
const PROMISE_TIME_MAX: Duration = Duration::from_secs(30);

/// A tenant is forgotten after this time, in the tests.
pub const FORGET_AFTER: Duration = Duration::from_secs(3 * 3_600);

/// A store to make promises about, with nothing in it at first.
pub trait Backend: Send {
    fn fresh() -> Self;

    fn stores(&self) -> &Stores;

    /// What is said from here on leaves notices in it.
    fn outbox(&self) -> Arc<dyn Outbox>;

    /// Another incarnation over the same data, in an orderly way: the one before is closed.
    fn reopen(self) -> impl Future<Output = Self> + Send;

    /// Codes to pair with are still in the history after a restart.
    fn keeps_codes(&self) -> bool;

    /// A lease that was dropped, not given back, frees its tenant at once.
    fn notices_dropped_leases(&self) -> bool;

    /// The updates that a reader with the newest cursor receives first. If its status may have been stale on another
    /// instance, which this one cannot know, that is the current status again.
    fn present(&self, status: Status) -> Vec<Received>;

    /// The store's clock goes on by so much at once; or back.
    fn clock_goes(&self, seconds: i64) -> impl Future<Output = ()> + Send;

    /// The look at idle tenants that the store has every few minutes.
    fn forget_idle(&self) -> impl Future<Output = ()> + Send;

    fn erase_tenant(&self, tenant: &TenantId) -> impl Future<Output = bool> + Send;

    fn journal(&self) -> &dyn Journal {
        &*self.stores().journal
    }

    fn ownership(&self) -> &dyn Ownership {
        &*self.stores().ownership
    }

    fn commands(&self) -> &dyn Commands {
        &*self.stores().commands
    }

    fn credentials(&self) -> &dyn CredentialStore {
        &*self.stores().credentials
    }

    fn revocations(&self) -> &dyn Revocations {
        &*self.stores().revocations
    }

    fn tenants(&self) -> &dyn Tenants {
        &*self.stores().tenants
    }

    fn client_versions(&self) -> &dyn ClientVersions {
        &*self.stores().client_versions
    }

    /// A lease on a tenant that wants to run, as its owner begins.
    fn running(&self, tenant: &TenantId) -> impl Future<Output = Lease> + Send
    where
        Self: Sync,
    {
        async {
            self.commands().request(tenant, DesiredState::run(None)).await.unwrap();
            self.ownership().acquire(tenant).await.unwrap().expect("no other owner runs it")
        }
    }
}

pub async fn next_entry(outbox: &dyn Outbox) -> OutboxEntry {
    outbox.take(1).await.pop().expect("it waits for one")
}

pub async fn delivered(outbox: &dyn Outbox, entry: &OutboxEntry) {
    outbox.settle(&[(entry.clone(), Delivery::Delivered)]).await.unwrap();
}

pub async fn failed(outbox: &dyn Outbox, entry: &OutboxEntry, wait: Duration) {
    outbox.settle(&[(entry.clone(), Delivery::Again(wait))]).await.unwrap();
}

pub async fn in_time(promise: impl Future<Output = ()>) {
    tokio::time::timeout(PROMISE_TIME_MAX, promise).await.expect("the promise is kept in time");
}

pub struct Embedded {
    pub dir: tempfile::TempDir,
    pub store: EmbeddedStore,
    stores: Stores,
    clock: Arc<Ticking>,
}

pub fn key() -> MasterKey {
    MasterKey::from([7; 32])
}

pub fn settings(dir: &Path) -> Settings {
    Settings { forget_after: FORGET_AFTER, ..Settings::new(dir, key()) }
}

impl Embedded {
    pub fn at(dir: tempfile::TempDir) -> Self {
        Self::with(settings(dir.path()), dir)
    }

    pub fn with(settings: Settings, dir: tempfile::TempDir) -> Self {
        let clock = Arc::new(Ticking::default());
        let store = EmbeddedStore::open(settings, clock.clone()).unwrap();
        Self { dir, stores: store.stores(), store, clock }
    }

    /// Closes it, so that its file can be looked at.
    pub async fn ends(self) -> tempfile::TempDir {
        self.store.close().await;
        self.dir
    }
}

impl Backend for Embedded {
    fn fresh() -> Self {
        Self::at(tempfile::tempdir().unwrap())
    }

    fn stores(&self) -> &Stores {
        &self.stores
    }

    fn outbox(&self) -> Arc<dyn Outbox> {
        self.store.outbox()
    }

    fn keeps_codes(&self) -> bool {
        false
    }

    fn notices_dropped_leases(&self) -> bool {
        true
    }

    fn present(&self, _: Status) -> Vec<Received> {
        Vec::new()
    }

    async fn reopen(self) -> Self {
        let Self { dir, store, stores, .. } = self;
        store.close().await;
        drop(stores);
        Self::at(dir)
    }

    async fn clock_goes(&self, seconds: i64) {
        self.clock.0.fetch_add(seconds, Ordering::Relaxed);
    }

    async fn forget_idle(&self) {
        self.store.forget_idle().await.unwrap();
    }

    async fn erase_tenant(&self, tenant: &TenantId) -> bool {
        self.store.erase_tenant(tenant).await.unwrap()
    }
}

pub struct Redis {
    pub store: RedisStore,
    stores: Stores,
    pub server: RedisServer,
}

/// Another instance on the same Redis.
pub fn instance(server: &RedisServer) -> RedisStore {
    instance_at(&server.url(), key(), None)
}

/// Another instance on the Redis at this port, behind a network that can be broken.
pub async fn instance_behind(port: u16) -> (Network, RedisStore) {
    let network = Network::to(([127, 0, 0, 1], port).into()).await.unwrap();
    let store = instance_at(&format!("redis://{}/", network.address()), key(), None);
    (network, store)
}

pub fn instance_at(url: &str, key: MasterKey, previous: Option<MasterKey>) -> RedisStore {
    RedisStore::open(redis_settings(url, key, previous), Arc::new(Ticking::default()))
}

pub fn redis_settings(url: &str, key: MasterKey, previous: Option<MasterKey>) -> redis::Settings {
    redis::Settings {
        url: Url::parse(url).unwrap(),
        key,
        previous,
        sessions_max: None,
        limits: tautan::store::Limits::default(),
        forget_after: FORGET_AFTER,
        migrations: redis::MIGRATIONS,
        migrates: true,
        moving: None,
    }
}

impl Redis {
    pub fn on(server: RedisServer) -> Self {
        let store = instance(&server);
        Self { stores: store.stores(), store, server }
    }
}

impl Backend for Redis {
    fn fresh() -> Self {
        Self::on(RedisServer::start())
    }

    fn stores(&self) -> &Stores {
        &self.stores
    }

    fn outbox(&self) -> Arc<dyn Outbox> {
        self.store.outbox()
    }

    fn keeps_codes(&self) -> bool {
        true
    }

    fn notices_dropped_leases(&self) -> bool {
        true
    }

    fn present(&self, status: Status) -> Vec<Received> {
        vec![Received::Fresh(status)]
    }

    async fn reopen(self) -> Self {
        let Self { store, stores, server } = self;
        store.close().await;
        drop(stores);
        Self::on(server)
    }

    /// Redis's clock cannot be set, so what it was at the last look is.
    async fn clock_goes(&self, seconds: i64) {
        self.server.ask(&["HINCRBY", "tautan:{0}:idle-time", "clock", &(-1_000 * seconds).to_string()]);
    }

    async fn forget_idle(&self) {
        self.store.sweep().await.unwrap();
    }

    async fn erase_tenant(&self, tenant: &TenantId) -> bool {
        self.store.erase_tenant(tenant).await.unwrap()
    }
}

/// Each look is a second later, so that no two events have the same time.
#[derive(Default)]
pub struct Ticking(AtomicI64);

impl Clock for Ticking {
    fn now(&self) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + self.0.fetch_add(1, Ordering::Relaxed)).unwrap()
    }
}
