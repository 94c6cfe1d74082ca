//! Links that say what a script says, over a store that fails on demand.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::flawed::{Flawed, Flaws};
use crate::{
    clock,
    events::{Account, EndReason, PhoneNumber, Status},
    link_options::LinkOptions,
    session::{ConnectError, Connector, Link, Request, Sessions, Settings, Signal},
    store::{
        DesiredState, Lease, StoreError, Stores, Subscription, Update,
        crypt::MasterKey,
        embedded::{self, EmbeddedStore},
    },
    tenant::TenantId,
};

pub const OURS: &str = "6281234567890";
pub const THEIRS: &str = "6289876543210";

const DEADLINE: Duration = Duration::from_secs(10);

/// A link's part: whose credentials it finds, and what it says before it says nothing more.
pub struct Script {
    resumes: Option<PhoneNumber>,
    signals: VecDeque<Signal>,
    unlink_takes: Duration,
    unreadable: bool,
    /// Whose credentials it finds, where its proxy is not configured.
    without_proxy: Option<Option<PhoneNumber>>,
    silent_for: Duration,
}

impl Script {
    /// The script of a link without credentials.
    pub fn new(signals: impl IntoIterator<Item = Signal>) -> Self {
        let signals = signals.into_iter().collect();
        let (unlink_takes, silent_for) = (Duration::ZERO, Duration::ZERO);
        Self { resumes: None, signals, unlink_takes, unreadable: false, without_proxy: None, silent_for }
    }

    pub fn resuming(phone: &str, signals: impl IntoIterator<Item = Signal>) -> Self {
        Self { resumes: Some(account(phone).phone), ..Self::new(signals) }
    }

    /// The script of a link that finds credentials of another version.
    pub fn unreadable() -> Self {
        Self { unreadable: true, ..Self::new([]) }
    }

    /// The script of a link whose proxy is not configured.
    pub fn without_proxy(resumes: Option<&str>) -> Self {
        Self { without_proxy: Some(resumes.map(|phone| account(phone).phone)), ..Self::new([]) }
    }

    /// Waits so long before its first signal.
    pub fn silent_for(self, silent_for: Duration) -> Self {
        Self { silent_for, ..self }
    }

    pub fn slow_to_unlink(self, unlink_takes: Duration) -> Self {
        Self { unlink_takes, ..self }
    }
}

#[derive(Default)]
struct Scripted {
    scripts: Mutex<VecDeque<Script>>,
    opened: AtomicUsize,
    opened_with: Mutex<Vec<LinkOptions>>,
    unlinks: Arc<AtomicUsize>,
    requests: Arc<Mutex<Vec<Request>>>,
}

struct ScriptedLink(Script, Arc<Mutex<Vec<Request>>>, Arc<AtomicUsize>);

#[async_trait]
impl Connector for Scripted {
    async fn open(&self, _: &Lease, options: &LinkOptions) -> Result<Box<dyn Link>, ConnectError> {
        self.opened.fetch_add(1, Ordering::SeqCst);
        self.opened_with.lock().unwrap().push(options.clone());
        let script = self.scripts.lock().unwrap().pop_front();
        let script = script.expect("no more links are expected");
        if script.unreadable {
            return Err(StoreError::Damaged("written by another version".into()).into());
        }
        if let Some(resumes) = script.without_proxy {
            return Err(ConnectError::UnknownProxy { resumes });
        }
        Ok(Box::new(ScriptedLink(script, self.requests.clone(), self.unlinks.clone())))
    }
}

#[async_trait]
impl Link for ScriptedLink {
    fn resumes(&self) -> Option<PhoneNumber> {
        self.0.resumes.clone()
    }

    async fn next(&mut self) -> Option<Signal> {
        tokio::time::sleep(self.0.silent_for).await;
        self.0.silent_for = Duration::ZERO;
        match self.0.signals.pop_front() {
            Some(signal) => Some(signal),
            None => std::future::pending().await,
        }
    }

    async fn send(&mut self, request: Request) -> Result<(), ConnectError> {
        self.1.lock().unwrap().push(request);
        Ok(())
    }

    async fn close(self: Box<Self>) {}

    async fn unlink(self: Box<Self>) -> Result<(), ConnectError> {
        tokio::time::sleep(self.0.unlink_takes).await;
        self.2.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

/// One tenant's sessions, in a process that may be followed by others.
pub struct SessionTest {
    pub sessions: Sessions,
    pub tenant: TenantId,
    stores: Stores,
    scripted: Arc<Scripted>,
    stop: CancellationToken,
    stream: Subscription,
    supervisors: TaskTracker,
    _directory: tempfile::TempDir,
}

impl SessionTest {
    pub async fn new(links: impl IntoIterator<Item = Script>) -> Self {
        Self::with(Flaws::default(), links).await
    }

    pub async fn with(flaws: Flaws, links: impl IntoIterator<Item = Script>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let settings = embedded::Settings::new(directory.path(), MasterKey::from([7; 32]));
        let stores = EmbeddedStore::open(settings, clock::system()).unwrap().stores();
        let stores = Flawed::over(stores, flaws);
        let scripted = Arc::new(Scripted::default());
        scripted.scripts.lock().unwrap().extend(links);
        let stop = CancellationToken::new();
        let sessions = sessions(&stores, &scripted, &stop);
        let tenant = TenantId::parse("toko").unwrap();
        let stream = stores.journal.subscribe(&tenant, None).await;
        let supervisors = TaskTracker::new();
        Self { sessions, tenant, stores, scripted, stop, stream, supervisors, _directory: directory }
    }

    pub async fn connect(&self) {
        self.connect_with(LinkOptions::default()).await;
    }

    pub async fn connect_by_code(&self, phone: &str) {
        let phone = PhoneNumber::parse(phone).unwrap();
        self.sessions.connect(&self.tenant, Some(phone), LinkOptions::default()).await.unwrap();
    }

    /// Asks for a link of this account only.
    pub async fn connect_expecting(&self, phone: &str) {
        self.connect_with(LinkOptions::expecting(PhoneNumber::parse(phone).unwrap())).await;
    }

    pub async fn connect_with(&self, options: LinkOptions) {
        self.sessions.connect(&self.tenant, None, options).await.unwrap();
    }

    /// Another tenant asks for a code for this number.
    pub async fn count_code(&self, phone: &str) -> bool {
        self.stores.commands.count_code(&PhoneNumber::parse(phone).unwrap()).await.unwrap()
    }

    /// The requests that links received.
    pub fn requests(&self) -> Vec<Request> {
        self.scripted.requests.lock().unwrap().clone()
    }

    pub async fn disconnect(&self) {
        self.sessions.disconnect(&self.tenant).await.unwrap();
    }

    /// The next process over the same store.
    pub async fn restart(&mut self) {
        self.stop.cancel();
        self.sessions.closed().await;
        self.stop = CancellationToken::new();
        self.sessions = sessions(&self.stores, &self.scripted, &self.stop);
    }

    /// Lets this process resume orphaned sessions, until it is stopped.
    pub fn supervise(&self) {
        let sessions = self.sessions.clone();
        self.supervisors.spawn(async move { sessions.supervise().await });
    }

    /// How often a link removed its device from the account.
    pub fn unlinks(&self) -> usize {
        self.scripted.unlinks.load(Ordering::SeqCst)
    }

    /// Saves a request. The session does not receive its notification, as where another instance saves it.
    pub async fn request_without_notifying(&self, options: LinkOptions) {
        self.stores.commands.request(&self.tenant, DesiredState::Run { phone: None, options }).await.unwrap();
    }

    /// What each link was opened with.
    pub fn opened_with(&self) -> Vec<LinkOptions> {
        self.scripted.opened_with.lock().unwrap().clone()
    }

    pub fn links_opened(&self) -> usize {
        self.scripted.opened.load(Ordering::SeqCst)
    }

    /// The statuses up to the first one that fits, which is the last of them.
    pub async fn until(&mut self, what: &str, wanted: impl Fn(&Status) -> bool) -> Vec<Status> {
        let mut statuses = Vec::new();
        while !statuses.last().is_some_and(&wanted) {
            let next = tokio::time::timeout(DEADLINE, self.stream.next()).await;
            if let Update::Event(event) = next.unwrap_or_else(|_| panic!("{what} after {statuses:?}")).unwrap() {
                statuses.push(event.status.clone());
            }
        }
        statuses
    }

    pub async fn until_connected(&mut self) -> Vec<Status> {
        self.until("a connection", |status| matches!(status, Status::Connected { .. })).await
    }

    pub async fn until_ended(&mut self) -> Vec<Status> {
        self.until("an end", |status| matches!(status, Status::Disconnected { .. })).await
    }

    /// The user unlinks, and WhatsApp does not receive it.
    pub async fn unlinks_without_whatsapp(&mut self) {
        self.disconnect().await;
        let unlinked =
            Status::Disconnected { reason: EndReason::UnlinkedByUser, until: None, remote: false, expected: None };
        assert_eq!(self.until_ended().await.last(), Some(&unlinked));
        self.is_over().await;
    }

    /// Waits until no session runs and every request is fulfilled.
    pub async fn is_over(&self) {
        tokio::time::timeout(DEADLINE, self.sessions.closed()).await.expect("nothing begins anew");
        assert!(self.stores.ownership.orphaned(1).await.unwrap().is_empty(), "the request is fulfilled");
    }

    pub async fn status(&self) -> Status {
        self.stores.journal.latest(&self.tenant).await.unwrap().unwrap().event.status.clone()
    }
}

fn sessions(stores: &Stores, scripted: &Arc<Scripted>, stop: &CancellationToken) -> Sessions {
    Sessions::new(stores.clone(), scripted.clone(), clock::system(), Settings::default(), stop.clone())
}

pub fn account(phone: &str) -> Account {
    Account { phone: PhoneNumber::parse(phone).unwrap(), name: None, platform: None }
}

pub fn connected(phone: &str) -> Signal {
    Signal::Connected { account: account(phone) }
}
