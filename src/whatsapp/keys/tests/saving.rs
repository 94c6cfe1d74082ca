//! How the device is saved.

use async_trait::async_trait;
use whatsapp_rust::store::commands::DeviceCommand;

use super::*;
use crate::store::Page;

/// A store whose writes take a while.
struct Slow(Arc<dyn CredentialStore>);

#[async_trait]
impl CredentialStore for Slow {
    async fn get(&self, tenant: &TenantId, table: &'static str, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.0.get(tenant, table, key).await
    }

    async fn get_many(
        &self,
        tenant: &TenantId,
        table: &'static str,
        keys: &[Bytes],
    ) -> Result<Vec<Option<Bytes>>, StoreError> {
        self.0.get_many(tenant, table, keys).await
    }

    async fn page(&self, tenant: &TenantId, table: &'static str, after: Option<Bookmark>) -> Result<Page, StoreError> {
        self.0.page(tenant, table, after).await
    }

    async fn holds(&self, tenant: &TenantId) -> Result<bool, StoreError> {
        self.0.holds(tenant).await
    }

    async fn write(&self, lease: &Lease, changes: Vec<Change>) -> Result<(), StoreError> {
        tokio::time::sleep(Duration::from_millis(100)).await;
        self.0.write(lease, changes).await
    }

    async fn erase(&self, lease: &Lease) -> Result<(), StoreError> {
        self.0.erase(lease).await
    }
}

/// The library's keeper of a paired device, over a slow store.
async fn paired(bench: &Bench) -> (Arc<Keys>, Arc<PersistenceManager>) {
    let mut keys = bench.keys();
    keys.credentials = Arc::new(Slow(keys.credentials.clone()));
    let keys = Arc::new(keys);
    let manager = Arc::new(PersistenceManager::new(keys.clone()).await.unwrap());
    keys.attach(Arc::downgrade(&manager));
    let id = "6281234567890:1@s.whatsapp.net".parse().unwrap();
    manager.process_command(DeviceCommand::SetId(Some(id))).await;
    manager.process_command(DeviceCommand::SetAccount(Some(Default::default()))).await;
    (keys, manager)
}

async fn stored_name(bench: &Bench) -> Option<String> {
    let reading = bench.keys();
    let b: &dyn Backend = &reading;
    b.load().await.unwrap().map(|device| device.push_name)
}

#[tokio::test]
async fn settling_waits_for_a_save_under_way_and_the_flush_does_not() {
    let bench = Bench::new().await;
    let (keys, manager) = paired(&bench).await;
    let saver = manager.flush();
    tokio::pin!(saver);
    // The save has begun: the library counts the device as clean.
    assert!(tokio::time::timeout(Duration::from_millis(20), &mut saver).await.is_err());
    manager.flush().await.unwrap();
    assert_eq!(stored_name(&bench).await, None, "the library's flush has not waited");
    let (settled, saved) = tokio::join!(
        async {
            keys.save_newest().await.unwrap();
            stored_name(&bench).await
        },
        saver
    );
    saved.unwrap();
    assert!(settled.is_some());
}

#[tokio::test]
async fn earlier_save_does_not_overwrite_a_later_one() {
    let bench = Bench::new().await;
    let (keys, manager) = paired(&bench).await;
    let old = manager.get_device_snapshot().to_serializable();
    manager.process_command(DeviceCommand::SetPushName("Toko Sari".into())).await;
    keys.save_newest().await.unwrap();
    let b: &dyn Backend = &*keys;
    b.save(&old).await.unwrap();
    assert_eq!(stored_name(&bench).await.as_deref(), Some("Toko Sari"));
}

#[tokio::test]
async fn name_of_100_kb_makes_no_long_row() {
    let bench = Bench::new().await;
    let (keys, manager) = paired(&bench).await;
    manager.process_command(DeviceCommand::SetPushName("é".repeat(50_000))).await;
    keys.save_newest().await.unwrap();
    assert_eq!(stored_name(&bench).await, Some("é".repeat(100)));
    let row = bench.stores.credentials.get(bench.lease.tenant(), "device", b"").await.unwrap().unwrap();
    assert!(row.len() < 8_000, "{}", row.len());
}
