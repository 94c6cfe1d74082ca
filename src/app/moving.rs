//! `tautan move`: moves all tenants of an embedded store to Redis.
//!
//! What it guarantees: a kill at any moment loses nothing, and the same command goes on. Nothing logs in with the moved
//! credentials before all are moved: until then the directory refuses to start (`moved-to-redis`), and so does every
//! instance on that Redis (`moving` beside the key check). The store in the directory stays as it is.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use tokio::time::{Instant, sleep, timeout};

use super::{StartError, backend::REDIS_TIME_MAX, chain};
use crate::{
    clock,
    config::{self, Config},
    limit::Limit,
    store::{
        Change, DesiredState, Lease, Limits, StoreError, Stores,
        crypt::MasterKey,
        embedded::{self, Directory, EmbeddedStore, KEY_FILE, Moved, OpenError},
        redis::{self, RedisStore},
    },
    tenant::TenantId,
};

/// Tenants that are moved at the same time.
const AT_ONCE: usize = 16;
/// Longer than a killed move, or a killed instance, counts as alive.
const LEASE_TIME_MAX: Duration = Duration::from_secs(20);
const RETRY_EVERY: Duration = Duration::from_millis(200);
/// An instance that starts has looked for a move, and counts as alive, within this time.
const START_TIME: Duration = Duration::from_secs(2);
/// `appendfsync everysec` may lose what was written later than this before a crash.
const SYNC_TIME: Duration = Duration::from_secs(2);

#[derive(Debug, thiserror::Error)]
enum MoveError {
    #[error("name the Redis: --to redis://HOST:PORT, or REDIS_URL")]
    NoRedis,
    #[error(transparent)]
    Start(#[from] StartError),
    #[error("Redis does not answer, or refuses writes")]
    Away,
    #[error("instances of Tautan run on this Redis, or ran a few seconds ago: stop them first")]
    Running,
    #[error("this Redis already knows the tenant {0}: nothing was moved")]
    Known(TenantId),
    #[error("some rows of the tenant {0} cannot be read: they are of a later version, or of another encryption key")]
    Unreadable(TenantId),
    #[error("tenant {tenant}")]
    Tenant {
        tenant: TenantId,
        #[source]
        source: StoreError,
    },
    #[error("Redis has lost the tenant {0} meanwhile")]
    Lost(TenantId),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<OpenError> for MoveError {
    fn from(error: OpenError) -> Self {
        Self::Start(error.into())
    }
}

pub(super) async fn run(config: Config, from: PathBuf) -> ExitCode {
    match move_all(config, &from).await {
        Ok(tenants) => {
            println!(
                "moved {tenants} tenants: start the instances with REDIS_URL now. The store in {} stays as it is, and \
                 can no longer be started",
                from.display()
            );
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("tautan cannot move: {}", chain(&error));
            ExitCode::FAILURE
        }
    }
}

async fn move_all(config: Config, dir: &Path) -> Result<usize, MoveError> {
    let config::Store::Redis(mut settings) = config.store else { return Err(MoveError::NoRedis) };
    if !Directory::holds_store(dir) {
        return Err(OpenError::NoStore(dir.to_owned()).into());
    }
    let earlier = Moved::read(dir)?;
    let id = match &earlier {
        Some(Moved::Begun(id) | Moved::Done(id)) => id.clone(),
        None => format!("{:016x}", rand::random::<u64>()),
    };
    let from = open(dir, &settings)?;
    settings.sessions_max = Some(0);
    settings.limits = no_limits();
    settings.moving = Some(id.clone());
    let to = RedisStore::open(settings, clock::system());
    let moved = async {
        if !to.proven(REDIS_TIME_MAX).await.map_err(StartError::from)? {
            return Err(MoveError::Away);
        }
        let a_move = Move { stores: (from.stores(), to.stores()), from: &from, to: &to, tables: Mutex::default() };
        a_move.run(dir, earlier, id).await
    };
    let moved = moved.await;
    to.close().await;
    from.close().await;
    moved
}

/// With the configured key, or with the one that the store made itself.
fn open(dir: &Path, redis: &redis::Settings) -> Result<EmbeddedStore, MoveError> {
    let open = |key: MasterKey| EmbeddedStore::open(embedded::Settings::new(dir, key), clock::system());
    let configured = [Some(redis.key.clone()), redis.previous.clone()];
    let mut refused = None;
    for key in configured.into_iter().flatten() {
        match open(key) {
            Err(error @ OpenError::WrongKey(_)) => refused = Some(error),
            opened => return Ok(opened?),
        }
    }
    match MasterKey::load(&dir.join(KEY_FILE)) {
        Ok(key) => Ok(open(key)?),
        Err(error) => Err(refused.map_or_else(|| StartError::Key(error).into(), MoveError::from)),
    }
}

/// A move asks for nothing that reaches other people.
fn no_limits() -> Limits {
    let limit = Limit::new(u32::MAX, Duration::from_secs(1)).expect("neither is zero");
    Limits { pair_codes: limit, dials: limit, number_codes: limit }
}

struct Move<'a> {
    from: &'a EmbeddedStore,
    to: &'a RedisStore,
    /// Source and target as store traits.
    stores: (Stores, Stores),
    tables: Mutex<HashMap<String, &'static str>>,
}

impl Move<'_> {
    /// Returns how many tenants there are.
    async fn run(&self, dir: &Path, earlier: Option<Moved>, id: String) -> Result<usize, MoveError> {
        let tenants = self.from.tenants()?;
        if !matches!(earlier, Some(Moved::Done(_))) {
            self.begin(dir, &tenants, earlier.is_none(), &id).await?;
            // The back end has to know of some, and of no other.
            let (pending, delivered): (Vec<_>, Vec<_>) =
                tenants.iter().partition(|tenant| self.from.move_facts(tenant).pending_webhook);
            self.move_some(delivered).await?;
            if !pending.is_empty() {
                let _ = self.to.outbox();
                self.move_some(pending).await?;
            }
            self.to.restore_revocations(self.stores.0.revocations.revoked()).await?;
            sleep(SYNC_TIME).await;
            self.each(tenants.iter().collect(), |tenant| self.check(tenant)).await?;
            Moved::Done(id.clone()).write(dir)?;
        }
        // Last: after a kill before this, the next try finds the move done and changes no tenant.
        self.to.end_move(&id).await?;
        Ok(tenants.len())
    }

    async fn begin(&self, dir: &Path, tenants: &[TenantId], first: bool, id: &str) -> Result<(), MoveError> {
        for tenant in tenants {
            if !self.from.move_facts(tenant).readable {
                return Err(MoveError::Unreadable(tenant.clone()));
            }
        }
        // A move that was killed counts as alive for a while.
        let until = Instant::now() + if first { Duration::ZERO } else { LEASE_TIME_MAX };
        while self.others_live().await? {
            if Instant::now() >= until {
                return Err(MoveError::Running);
            }
            sleep(RETRY_EVERY).await;
        }
        if first {
            self.each(tenants.iter().collect(), |tenant| self.is_free(tenant)).await?;
            Moved::Begun(id.to_owned()).write(dir)?;
        }
        self.to.begin_move(id).await?;
        sleep(START_TIME).await;
        if self.others_live().await? {
            return Err(MoveError::Running);
        }
        Ok(())
    }

    /// A Redis that refuses writes never knows this process, which could not tell itself from another then.
    async fn others_live(&self) -> Result<bool, MoveError> {
        let live = timeout(REDIS_TIME_MAX, self.to.others_live()).await;
        Ok(live.map_err(|_| MoveError::Away)??)
    }

    async fn move_some(&self, tenants: Vec<&TenantId>) -> Result<(), MoveError> {
        self.each(tenants, |tenant| async {
            let moved = self.move_tenant(tenant).await;
            moved.map_err(|source| MoveError::Tenant { tenant: tenant.clone(), source })
        })
        .await
    }

    async fn each<'t, F: Future<Output = Result<(), MoveError>>>(
        &self,
        tenants: Vec<&'t TenantId>,
        work: impl Fn(&'t TenantId) -> F,
    ) -> Result<(), MoveError> {
        stream::iter(tenants).map(work).buffer_unordered(AT_ONCE).try_collect().await
    }

    async fn is_free(&self, tenant: &TenantId) -> Result<(), MoveError> {
        let (_, to) = &self.stores;
        let known = to.journal.latest(tenant).await?.is_some() || to.credentials.holds(tenant).await?;
        if known { Err(MoveError::Known(tenant.clone())) } else { Ok(()) }
    }

    /// By the steps that a session takes, so that every rule of the store holds for what was moved. A tenant that an
    /// earlier try has moved is moved again.
    async fn move_tenant(&self, tenant: &TenantId) -> Result<(), StoreError> {
        let (from, to) = &self.stores;
        let status = from.journal.latest(tenant).await?.map(|shown| shown.event.status.clone());
        let desired = from.commands.current(tenant).await?.map(|(_, desired)| desired);
        let has_credentials = from.credentials.holds(tenant).await?;
        if status.is_none() && desired.is_none() && !has_credentials {
            return Ok(());
        }
        let requested = match &desired {
            Some(run @ DesiredState::Run { .. }) => run.clone(),
            // No lease without it.
            _ => DesiredState::run(None),
        };
        let generation = to.commands.request(tenant, requested).await?;
        let lease = self.lease(tenant).await?;
        if to.credentials.holds(tenant).await? {
            to.credentials.erase(&lease).await?;
        }
        self.copy_credentials(&lease).await?;
        match (status, &desired) {
            (Some(status), None) => {
                to.journal.finish(lease, status, generation).await?;
            }
            (status, _) => {
                if let Some(status) = status {
                    to.journal.append(&lease, status).await?;
                }
                to.ownership.release(lease).await?;
            }
        }
        if let Some(other @ (DesiredState::Unlink | DesiredState::Unknown(_))) = desired {
            to.commands.request(tenant, other).await?;
        }
        Ok(())
    }

    async fn lease(&self, tenant: &TenantId) -> Result<Lease, StoreError> {
        let until = Instant::now() + LEASE_TIME_MAX;
        loop {
            match self.stores.1.ownership.acquire(tenant).await {
                Ok(Some(lease)) => return Ok(lease),
                Ok(None) if Instant::now() >= until => return Err(StoreError::Fenced),
                Err(error) if Instant::now() >= until => return Err(error),
                Ok(None) | Err(_) => sleep(RETRY_EVERY).await,
            }
        }
    }

    async fn copy_credentials(&self, lease: &Lease) -> Result<(), StoreError> {
        let ((from, to), tenant) = (&self.stores, lease.tenant());
        for name in self.from.tables(tenant)? {
            let table = self.table(name);
            let mut after = None;
            loop {
                let page = from.credentials.page(tenant, table, after).await?;
                let rows = page.rows.into_iter();
                let puts = rows.map(|(key, value)| Change::Put { table, key, value }).collect();
                to.credentials.write(lease, puts).await?;
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
        }
        Ok(())
    }

    /// The store takes names that live for ever. There are about a dozen.
    fn table(&self, name: String) -> &'static str {
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        tables.entry(name).or_insert_with_key(|name| name.clone().leak())
    }

    async fn check(&self, tenant: &TenantId) -> Result<(), MoveError> {
        let (from, to) = &self.stores;
        let status = from.journal.latest(tenant).await?.is_some() == to.journal.latest(tenant).await?.is_some();
        let credentials = from.credentials.holds(tenant).await? == to.credentials.holds(tenant).await?;
        if status && credentials { Ok(()) } else { Err(MoveError::Lost(tenant.clone())) }
    }
}
