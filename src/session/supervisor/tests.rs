use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;

use super::*;
use crate::{
    clock,
    events::{EndReason, PhoneNumber},
    session::{ConnectError, Link},
    store::{
        Beginning, Commands, Generation, Ownership, Submitted, Update,
        crypt::MasterKey,
        embedded::{self, EmbeddedStore},
    },
};

/// A connector whose links never open.
#[derive(Default)]
struct Broken(AtomicUsize);

#[async_trait]
impl Connector for Broken {
    async fn open(&self, _: &Lease, _: &LinkOptions) -> Result<Box<dyn Link>, ConnectError> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Err(ConnectError::NotSent("broken".into()))
    }
}

#[tokio::test]
async fn session_ends_for_good_when_links_never_open() {
    let dir = tempfile::tempdir().unwrap();
    let settings = embedded::Settings::new(dir.path(), MasterKey::from([7; 32]));
    let store = EmbeddedStore::open(settings, clock::system()).unwrap();
    let (broken, stop) = (Arc::new(Broken::default()), CancellationToken::new());
    let settings = Settings { crashes_max: 1, ..Settings::default() };
    let sessions = Sessions::new(store.stores(), broken.clone(), clock::system(), settings, stop);
    let tenant = TenantId::parse("toko").unwrap();
    let mut stream = store.stores().journal.subscribe(&tenant, None).await;
    sessions.connect(&tenant, None, LinkOptions::default()).await.unwrap();
    loop {
        let next = tokio::time::timeout(Duration::from_secs(10), stream.next());
        let update = next.await.expect("the session ends").expect("the stream goes on");
        if matches!(&update, Update::Event(event) if event.status == Status::ended(EndReason::Internal)) {
            break;
        }
    }
    tokio::time::timeout(Duration::from_secs(10), sessions.closed()).await.expect("nothing begins anew");
    assert_eq!(broken.0.load(Ordering::SeqCst), 1);
    assert!(store.stores().ownership.orphaned(1).await.unwrap().is_empty(), "the request is fulfilled");
}

/// A store that lists tenants as orphaned and never gives a lease.
#[derive(Default)]
struct Crowded {
    listed: AtomicUsize,
    asked: AtomicUsize,
    /// Notifies its slot while the first lease is being acquired.
    notifies: std::sync::Mutex<Option<Sessions>>,
}

fn tenant(number: usize) -> TenantId {
    TenantId::parse(&format!("toko-{number}")).unwrap()
}

#[async_trait]
impl Ownership for Crowded {
    async fn acquire(&self, tenant: &TenantId) -> Result<Option<Lease>, StoreError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        if let Some(sessions) = self.notifies.lock().unwrap().take() {
            assert!(sessions.notify(tenant), "its slot is taken");
        }
        Ok(None)
    }

    async fn orphaned(&self, max: usize) -> Result<Vec<TenantId>, StoreError> {
        // Time stands still while it goes round in circles.
        assert!(self.listed.fetch_add(1, Ordering::SeqCst) < 100, "it does nothing else");
        Ok((0..max).map(tenant).collect())
    }

    async fn rescan(&self) {
        std::future::pending().await
    }

    fn acquire_delay(&self, _: &TenantId) -> Duration {
        Duration::ZERO
    }

    fn has_room(&self) -> bool {
        true
    }

    async fn release(&self, _: Lease) -> Result<(), StoreError> {
        unimplemented!("nothing runs")
    }

    async fn crashed(&self, _: &Lease, _: Duration) -> Result<usize, StoreError> {
        unimplemented!("nothing runs")
    }
}

#[async_trait]
impl Commands for Crowded {
    async fn notified(&self) -> Vec<TenantId> {
        std::future::pending().await
    }

    async fn submit(&self, _: &TenantId, _: DesiredState, _: bool) -> Result<Submitted, StoreError> {
        unimplemented!("the test requests nothing")
    }

    async fn beginning(&self, _: &TenantId) -> Result<Beginning, StoreError> {
        unimplemented!("nothing runs")
    }

    async fn current(&self, _: &TenantId) -> Result<Option<(Generation, DesiredState)>, StoreError> {
        unimplemented!("nothing runs")
    }

    async fn count_code(&self, _: &PhoneNumber) -> Result<bool, StoreError> {
        unimplemented!("nothing runs")
    }

    async fn send(&self, _: &TenantId, _: Bytes) -> Result<(), StoreError> {
        unimplemented!("the test sends nothing")
    }

    async fn receive(&self, _: &Lease) -> Result<Vec<Bytes>, StoreError> {
        unimplemented!("nothing runs")
    }
}

/// A supervisor over such a store, with room for as many sessions as `sessions_max`.
async fn sessions_in(crowd: &Arc<Crowded>, sessions_max: Option<usize>) -> (tempfile::TempDir, Sessions) {
    let dir = tempfile::tempdir().unwrap();
    let settings = embedded::Settings::new(dir.path(), MasterKey::from([7; 32]));
    let store = EmbeddedStore::open(settings, clock::system()).unwrap();
    let stores = Stores { ownership: crowd.clone(), commands: crowd.clone(), ..store.stores() };
    let settings = Settings { sessions_max, sweep_every: Duration::from_secs(10), ..Settings::default() };
    let sessions =
        Sessions::new(stores, Arc::new(Broken::default()), clock::system(), settings, CancellationToken::new());
    (dir, sessions)
}

#[tokio::test(start_paused = true)]
async fn sessions_that_cannot_be_acquired_are_retried_only_at_sweeps() {
    for sessions_max in [None, Some(0)] {
        let crowd = Arc::new(Crowded::default());
        let (_dir, sessions) = sessions_in(&crowd, sessions_max).await;
        let minute = tokio::time::timeout(Duration::from_secs(60), sessions.supervise()).await;
        assert!(minute.is_err(), "it goes on");
        let listed = crowd.listed.load(Ordering::SeqCst);
        assert!((5..=8).contains(&listed), "{listed} with {sessions_max:?}");
    }
}

#[tokio::test]
async fn notification_to_a_slot_being_freed_is_not_lost() {
    let crowd = Arc::new(Crowded::default());
    let (_dir, sessions) = sessions_in(&crowd, None).await;
    *crowd.notifies.lock().unwrap() = Some(sessions.clone());
    assert!(!sessions.try_start_or_notify(&tenant(1)).await);
    assert_eq!(crowd.asked.load(Ordering::SeqCst), 2, "tried again after the notification, and once");
    assert!(!sessions.notify(&tenant(1)), "its slot is free");
}
