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

/// The library's keeper of the device that is stored or of a new one, over a slow store.
async fn opened(bench: &Bench) -> (Arc<Keys>, Arc<PersistenceManager>) {
    let mut keys = bench.keys();
    keys.credentials = Arc::new(Slow(keys.credentials.clone()));
    let keys = Arc::new(keys);
    let manager = Arc::new(PersistenceManager::new(keys.clone()).await.unwrap());
    keys.attach(Arc::downgrade(&manager));
    (keys, manager)
}

/// The same, of a device that is paired now.
async fn paired(bench: &Bench) -> (Arc<Keys>, Arc<PersistenceManager>) {
    let (keys, manager) = opened(bench).await;
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

/// The driver signals a login only after this save, and not on a link that has ended.
#[tokio::test]
async fn login_as_another_account_ends_the_link_and_changes_nothing() {
    let bench = Bench::new().await;
    let (keys, manager) = paired(&bench).await;
    keys.save_newest().await.unwrap();
    let other = "6289876543210:1@s.whatsapp.net".parse().unwrap();
    manager.process_command(DeviceCommand::SetId(Some(other))).await;
    manager.process_command(DeviceCommand::SetPushName("Warung Budi".into())).await;
    keys.save_newest().await.unwrap();
    assert_eq!(keys.termination.end(), Some(End::AccountChanged));
    assert_eq!(stored_name(&bench).await.as_deref(), Some(""));
    keys.put("table", Bytes::from_static(b"row"), Bytes::new()).await.unwrap_err();

    // The next link knows whose the credentials are from the stored row.
    let (keys, manager) = opened(&bench).await;
    let other = "6289876543210:1@s.whatsapp.net".parse().unwrap();
    manager.process_command(DeviceCommand::SetId(Some(other))).await;
    keys.save_newest().await.unwrap();
    assert_eq!(keys.termination.end(), Some(End::AccountChanged));
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
