use std::{
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use tautan::{
    store::{Bookmark, Change, CredentialStore, Lease, Page, StoreError},
    tenant::TenantId,
};

/// Where the process is killed: before or after the write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kill {
    Before,
    After,
}

/// A credential store that can fail, and at whose writes a process can be killed.
pub struct Shaky {
    inner: Arc<dyn CredentialStore>,
    failing: AtomicBool,
    device_failing: AtomicBool,
    device_delay_ms: AtomicU64,
    fenced: AtomicBool,
    dead: AtomicBool,
    writes: AtomicU64,
    rows_read: AtomicU64,
    kill: Mutex<Option<(u64, Kill)>>,
}

impl Shaky {
    pub fn new(inner: Arc<dyn CredentialStore>) -> Arc<Self> {
        Arc::new(Self {
            inner,
            failing: AtomicBool::new(false),
            device_failing: AtomicBool::new(false),
            device_delay_ms: AtomicU64::new(0),
            fenced: AtomicBool::new(false),
            dead: AtomicBool::new(false),
            writes: AtomicU64::new(0),
            rows_read: AtomicU64::new(0),
            kill: Mutex::new(None),
        })
    }

    pub fn fail(&self, failing: bool) {
        self.failing.store(failing, Ordering::SeqCst);
    }

    /// Only the device itself cannot be written.
    pub fn fail_device(&self) {
        self.device_failing.store(true, Ordering::SeqCst);
    }

    /// How long writing the device takes; other rows have no delay.
    pub fn slow_device(&self, delay: Duration) {
        self.device_delay_ms.store(delay.as_millis() as u64, Ordering::SeqCst);
    }

    pub fn fence(&self) {
        self.fenced.store(true, Ordering::SeqCst);
    }

    /// The process is dead: later calls do nothing and never return.
    pub fn die(&self) {
        self.dead.store(true, Ordering::SeqCst);
    }

    pub fn is_dead(&self) -> bool {
        self.dead.load(Ordering::SeqCst)
    }

    /// Writes that changed something, or tried to.
    pub fn writes(&self) -> u64 {
        self.writes.load(Ordering::SeqCst)
    }

    /// Rows that were read, alone or with a table.
    pub fn rows_read(&self) -> u64 {
        self.rows_read.load(Ordering::SeqCst)
    }

    fn read(&self, rows: usize) {
        self.rows_read.fetch_add(rows as u64, Ordering::SeqCst);
    }

    /// Kills the process at the write with this number, counted from now.
    pub fn kill_at(&self, write: u64, kill: Kill) {
        *self.kill.lock().unwrap() = Some((self.writes() + write, kill));
    }

    async fn alive(&self) {
        if self.is_dead() {
            std::future::pending().await
        }
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.alive().await;
        if self.fenced.load(Ordering::SeqCst) {
            return Err(StoreError::Fenced);
        }
        if self.failing.load(Ordering::SeqCst) {
            return Err(failing());
        }
        Ok(())
    }
}

fn failing() -> StoreError {
    StoreError::Unavailable(Box::new(io::Error::other("failing on purpose")))
}

#[async_trait]
impl CredentialStore for Shaky {
    async fn get(&self, tenant: &TenantId, table: &'static str, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.alive().await;
        self.read(1);
        self.inner.get(tenant, table, key).await
    }

    async fn get_many(
        &self,
        tenant: &TenantId,
        table: &'static str,
        keys: &[Bytes],
    ) -> Result<Vec<Option<Bytes>>, StoreError> {
        self.alive().await;
        self.read(keys.len());
        self.inner.get_many(tenant, table, keys).await
    }

    async fn page(&self, tenant: &TenantId, table: &'static str, after: Option<Bookmark>) -> Result<Page, StoreError> {
        self.alive().await;
        let page = self.inner.page(tenant, table, after).await?;
        self.read(page.rows.len());
        Ok(page)
    }

    async fn holds(&self, tenant: &TenantId) -> Result<bool, StoreError> {
        self.alive().await;
        self.inner.holds(tenant).await
    }

    async fn write(&self, lease: &Lease, changes: Vec<Change>) -> Result<(), StoreError> {
        self.check().await?;
        if changes.is_empty() {
            return self.inner.write(lease, changes).await;
        }
        let number = self.writes.fetch_add(1, Ordering::SeqCst) + 1;
        let kill = self.kill.lock().unwrap().filter(|(at, _)| *at == number).map(|(_, kill)| kill);
        if kill == Some(Kill::Before) {
            self.die();
        }
        self.alive().await;
        if changes.iter().any(|change| matches!(change, Change::Put { table: "device", .. })) {
            tokio::time::sleep(Duration::from_millis(self.device_delay_ms.load(Ordering::SeqCst))).await;
            self.alive().await;
            if self.device_failing.load(Ordering::SeqCst) {
                return Err(failing());
            }
        }
        let written = self.inner.write(lease, changes).await;
        if kill == Some(Kill::After) {
            self.die();
        }
        self.alive().await;
        written
    }

    async fn erase(&self, lease: &Lease) -> Result<(), StoreError> {
        self.check().await?;
        self.inner.erase(lease).await
    }
}
