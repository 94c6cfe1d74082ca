use std::{
    collections::VecDeque,
    sync::{
        Mutex as StdMutex,
        atomic::{AtomicI64, AtomicUsize, Ordering},
    },
};

use async_trait::async_trait;
use futures::future::join_all;
use whatsapp_rust::{
    anyhow::{self, anyhow},
    http::{HttpClient, HttpRequest, HttpResponse},
};

use super::*;
use crate::{clock::Clock, proxy::ProxyUrl, store::StoreError};

/// What WhatsApp answers, one look after the other; then the last one again. `None`: it cannot be asked.
#[derive(Clone, Default)]
struct Published(Arc<StdMutex<VecDeque<Option<u32>>>>, Arc<AtomicUsize>);

#[async_trait]
impl HttpClient for Published {
    async fn execute(&self, _: HttpRequest) -> anyhow::Result<HttpResponse> {
        tokio::time::sleep(Duration::from_millis(10)).await;
        self.1.fetch_add(1, Ordering::SeqCst);
        let mut answers = self.0.lock().unwrap();
        let answer = if answers.len() > 1 { answers.pop_front() } else { answers.front().copied() };
        let revision = answer.flatten().ok_or_else(|| anyhow!("away"))?;
        Ok(HttpResponse { status_code: 200, body: format!("client_revision:{revision};").into_bytes() })
    }
}

/// A store and a clock for several processes.
#[derive(Default)]
struct World {
    kept: StdMutex<Option<ClientVersion>>,
    seconds: AtomicI64,
    away: bool,
}

#[async_trait]
impl ClientVersions for World {
    async fn client_version(&self) -> Result<Option<ClientVersion>, StoreError> {
        if self.away { Err(StoreError::Unreadable) } else { Ok(*self.kept.lock().unwrap()) }
    }

    async fn keep_client_version(&self, version: ClientVersion) -> Result<(), StoreError> {
        if self.away {
            return Err(StoreError::Unreadable);
        }
        *self.kept.lock().unwrap() = Some(version);
        Ok(())
    }
}

impl Clock for World {
    fn now(&self) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + self.seconds.load(Ordering::SeqCst)).unwrap()
    }
}

impl World {
    async fn passes(&self, time: Duration) {
        self.seconds.fetch_add(time.as_secs() as i64, Ordering::SeqCst);
        tokio::time::advance(time).await;
    }
}

const OLD: u32 = 2_000_000_000;
const NEW: u32 = 2_000_000_001;

fn version_of(revision: u32) -> Version {
    (2, 3000, revision)
}

fn published(answers: impl IntoIterator<Item = Option<u32>>) -> Published {
    Published(Arc::new(StdMutex::new(answers.into_iter().collect())), Arc::default())
}

impl Published {
    fn looks(&self) -> usize {
        self.1.load(Ordering::SeqCst)
    }

    fn process(&self, world: &Arc<World>) -> Versions {
        let source = Source::Looked(Lookup::with(self.clone()));
        Versions { source, kept: world.clone(), clock: world.clone(), known: Mutex::default() }
    }
}

#[tokio::test(start_paused = true)]
async fn thousand_links_and_later_processes_look_up_once_a_day() {
    let (world, whatsapp) = (Arc::<World>::default(), published([Some(OLD), Some(NEW)]));
    let versions = whatsapp.process(&world);
    let sent = join_all((0..1_000).map(|_| versions.current(&Route::Direct))).await;
    assert!(sent.iter().all(|version| *version == version_of(OLD)));
    world.passes(LIFE - Duration::from_secs(1)).await;
    assert_eq!(whatsapp.process(&world).current(&Route::Direct).await, version_of(OLD));
    assert_eq!(whatsapp.looks(), 1);
    world.passes(Duration::from_secs(1)).await;
    assert_eq!(versions.current(&Route::Direct).await, version_of(NEW));
    assert_eq!(whatsapp.process(&world).current(&Route::Direct).await, version_of(NEW));
    assert_eq!(whatsapp.looks(), 2);
}

#[tokio::test(start_paused = true)]
async fn failed_lookup_is_not_repeated_for_each_link() {
    let (world, whatsapp) = (Arc::<World>::default(), published([None, None, Some(OLD), None]));
    let versions = whatsapp.process(&world);
    for looks in [1, 2] {
        assert!(
            join_all((0..100).map(|_| versions.current(&Route::Direct)))
                .await
                .iter()
                .all(|version| *version == bundled())
        );
        assert_eq!(whatsapp.looks(), looks);
        world.passes(PAUSE_MIN * looks as u32 - Duration::from_secs(1)).await;
        versions.current(&Route::Direct).await;
        assert_eq!(whatsapp.looks(), looks, "each pause is longer");
        world.passes(Duration::from_secs(1)).await;
    }
    assert_eq!(versions.current(&Route::Direct).await, version_of(OLD));
    world.passes(LIFE * 400).await;
    assert_eq!(versions.current(&Route::Direct).await, version_of(OLD));
    assert_eq!(
        whatsapp.process(&world).current(&Route::Direct).await,
        version_of(OLD),
        "another process knows no better"
    );
}

#[tokio::test(start_paused = true)]
async fn one_version_that_is_older_than_the_library_is_not_sent() {
    let (world, whatsapp) = (Arc::<World>::default(), published([Some(1)]));
    assert_eq!(whatsapp.process(&world).current(&Route::Direct).await, bundled());
}

#[tokio::test(start_paused = true)]
async fn thousand_outdated_links_look_once_and_get_the_newer_version() {
    let (world, whatsapp) = (Arc::<World>::default(), published([Some(OLD), Some(NEW)]));
    let (versions, elsewhere) = (whatsapp.process(&world), whatsapp.process(&world));
    let (refused, _) = (versions.current(&Route::Direct).await, elsewhere.current(&Route::Direct).await);
    let newer = join_all((0..1_000).map(|_| versions.has_newer_than(refused, &Route::Direct))).await;
    assert!(newer.into_iter().all(|newer| newer));
    assert!(elsewhere.has_newer_than(refused, &Route::Direct).await, "another process reads it");
    assert_eq!(
        (versions.current(&Route::Direct).await, elsewhere.current(&Route::Direct).await),
        (version_of(NEW), version_of(NEW))
    );
    assert_eq!(whatsapp.looks(), 2);
}

#[tokio::test(start_paused = true)]
async fn outdated_links_without_a_newer_version_look_up_rarely() {
    let (world, whatsapp) = (Arc::<World>::default(), published([Some(OLD), Some(OLD), None, Some(NEW)]));
    let versions = whatsapp.process(&world);
    let refused = versions.current(&Route::Direct).await;
    for looks in [2, 3] {
        assert!(
            join_all((0..100).map(|_| versions.has_newer_than(refused, &Route::Direct)))
                .await
                .into_iter()
                .all(|newer| !newer)
        );
        assert_eq!(whatsapp.looks(), looks);
        world.passes(RENEW_EVERY).await;
    }
    assert!(
        versions.has_newer_than(refused, &Route::Direct).await,
        "a look that failed is no reason not to look again"
    );
}

#[tokio::test(start_paused = true)]
async fn unavailable_store_costs_one_lookup_and_no_more() {
    let (world, whatsapp) = (Arc::new(World { away: true, ..World::default() }), published([Some(OLD), Some(NEW)]));
    let versions = whatsapp.process(&world);
    assert_eq!(
        (versions.current(&Route::Direct).await, versions.current(&Route::Direct).await),
        (version_of(OLD), version_of(OLD))
    );
    assert!(versions.has_newer_than(version_of(OLD), &Route::Direct).await);
    assert_eq!(whatsapp.looks(), 2);
}

#[tokio::test]
async fn configured_version_is_never_looked_up() {
    let world = Arc::<World>::default();
    let settings = Settings { version: Some((2, 3000, 7)), ..Settings::default() };
    let versions = Versions::new(&settings, Check::Strict, world.clone(), world.clone());
    assert_eq!(versions.current(&Route::Direct).await, (2, 3000, 7));
    assert!(!versions.has_newer_than((2, 3000, 7), &Route::Direct).await);
    assert!(world.kept.lock().unwrap().is_none());
}

/// A tenant's proxy that is away costs other tenants no look-up.
#[tokio::test(start_paused = true)]
async fn failed_lookup_pauses_only_its_own_way() {
    let (world, whatsapp) = (Arc::<World>::default(), published([None, None, Some(OLD)]));
    let versions = whatsapp.process(&world);
    let away = Route::Through(ProxyUrl::parse("http://proxy:1").unwrap());
    for _ in 0..2 {
        assert_eq!(versions.current(&away).await, bundled());
    }
    assert_eq!(versions.current(&Route::Direct).await, bundled());
    assert_eq!(whatsapp.looks(), 2);
    world.passes(PAUSE_MIN).await;
    assert_eq!(versions.current(&away).await, version_of(OLD));
}
