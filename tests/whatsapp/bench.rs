use std::{sync::Arc, time::Duration};

use tautan::{
    clock,
    events::Account,
    link_options::LinkOptions,
    session::{Connector, End, Link, Signal},
    store::{
        DesiredState, Lease, Stores,
        crypt::MasterKey,
        embedded::{self, EmbeddedStore},
    },
    tenant::TenantId,
    whatsapp::{Settings, WhatsApp},
};
use tautan_simulator::{DeviceId, Phone, Simulator};
use tempfile::TempDir;

use crate::shaky::Shaky;

/// Every wait of a test ends within this time on any machine.
pub const DEADLINE: Duration = Duration::from_secs(30);

pub const NUMBER: &str = "6281234567890";
pub const NAME: &str = "Toko Sari";
/// The platform of the simulator's phones.
pub const PLATFORM: &str = "android";

/// A simulator, a store, and the connector between them.
pub struct Bench {
    pub sim: Simulator,
    pub phone: Phone,
    pub stores: Stores,
    pub credentials: Arc<Shaky>,
    pub whatsapp: WhatsApp,
    pub settings: Settings,
    _store: EmbeddedStore,
    _dir: TempDir,
}

impl Bench {
    pub async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub async fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let sim = Simulator::start().await.unwrap();
        let phone = sim.phone(NUMBER, NAME);
        let dir = tempfile::tempdir().unwrap();
        let key = MasterKey::load_or_create(&dir.path().join("key")).unwrap();
        let store =
            EmbeddedStore::open(embedded::Settings::new(dir.path().join("store"), key), clock::system()).unwrap();
        let stores = store.stores();
        let credentials = Shaky::new(stores.credentials.clone());
        let mut settings = Settings { url: sim.url(), ..Settings::default() };
        change(&mut settings);
        let whatsapp =
            WhatsApp::new(settings.clone(), credentials.clone(), stores.client_versions.clone(), clock::system())
                .unwrap();
        Self { sim, phone, stores, credentials, whatsapp, settings, _store: store, _dir: dir }
    }

    /// Starts again over the same data, as the next process does: the credential store works again.
    pub fn restart(&mut self) {
        self.credentials = Shaky::new(self.stores.credentials.clone());
        self.whatsapp = WhatsApp::new(
            self.settings.clone(),
            self.credentials.clone(),
            self.stores.client_versions.clone(),
            clock::system(),
        )
        .unwrap();
    }

    /// A connector of the next process, while this one still runs.
    pub fn whatsapp_with_good_store(&self) -> WhatsApp {
        WhatsApp::new(
            self.settings.clone(),
            self.stores.credentials.clone(),
            self.stores.client_versions.clone(),
            clock::system(),
        )
        .unwrap()
    }

    pub async fn lease(&self) -> Lease {
        self.lease_of("toko").await
    }

    pub async fn lease_of(&self, tenant: &str) -> Lease {
        let tenant = TenantId::parse(tenant).unwrap();
        self.stores.commands.request(&tenant, DesiredState::run(None)).await.unwrap();
        self.stores.ownership.acquire(&tenant).await.unwrap().expect("no other owner runs it")
    }

    pub async fn open(&self, lease: &Lease) -> Box<dyn Link> {
        self.whatsapp.open(lease, &LinkOptions::default()).await.unwrap()
    }

    pub async fn holds(&self, lease: &Lease) -> bool {
        self.stores.credentials.holds(lease.tenant()).await.unwrap()
    }

    pub async fn paired(&self, lease: &Lease) -> Paired {
        let mut link = self.open(lease).await;
        let text = qr_text(&mut *link).await;
        let scanned = std::time::Instant::now();
        let device = self.phone.scan(&text).await.unwrap();
        let account = connected(&mut *link).await;
        Paired { link, device, account, scan_to_connected: scanned.elapsed() }
    }

    /// Waits until the library's clients are gone.
    pub async fn clients_gone(&self) {
        let gone = async {
            while self.whatsapp.clients_alive() > 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(DEADLINE, gone).await.expect("a client outlives its link");
    }
}

pub struct Paired {
    pub link: Box<dyn Link>,
    pub device: DeviceId,
    pub account: Account,
    pub scan_to_connected: Duration,
}

/// The next signal, whatever it is.
pub async fn next(link: &mut dyn Link) -> Option<Signal> {
    tokio::time::timeout(DEADLINE, link.next()).await.expect("the link says something in time")
}

/// Reads until the expected signal; an unexpected end fails the test.
pub async fn until<T>(link: &mut dyn Link, what: &str, mut pick: impl FnMut(&Signal) -> Option<T>) -> T {
    loop {
        let signal = next(link).await.unwrap_or_else(|| panic!("the link is gone, waiting for {what}"));
        if let Some(picked) = pick(&signal) {
            return picked;
        }
        assert!(!matches!(signal, Signal::Ended(_)), "{signal:?} while waiting for {what}");
    }
}

pub async fn qr_text(link: &mut dyn Link) -> String {
    until(link, "a code", |signal| match signal {
        Signal::Qr { text, .. } => Some(text.clone()),
        _ => None,
    })
    .await
}

pub async fn connected(link: &mut dyn Link) -> Account {
    until(link, "the connection", |signal| match signal {
        Signal::Connected { account } => Some(account.clone()),
        _ => None,
    })
    .await
}

pub async fn heard(link: &mut dyn Link, wanted: Signal) {
    until(link, "a signal", |signal| (*signal == wanted).then_some(())).await;
}

pub async fn ended(link: &mut dyn Link) -> End {
    let end = until(link, "the end", |signal| match signal {
        Signal::Ended(end) => Some(*end),
        _ => None,
    })
    .await;
    assert_eq!(next(link).await, None, "nothing is said after the end");
    end
}
