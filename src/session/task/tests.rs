//! What no server can be made to do: links that say what a script says.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use crate::{
    clock,
    events::{Account, EndReason, PhoneNumber, Status},
    session::{ConnectError, Connector, Link, Request, Sessions, Settings, Signal},
    store::{
        Lease, Stores, Subscription, Update,
        crypt::MasterKey,
        embedded::{self, EmbeddedStore},
    },
    tenant::TenantId,
};

/// A link's part: whose credentials it finds, and what it says before it says nothing more.
struct Script {
    resumes: Option<PhoneNumber>,
    signals: VecDeque<Signal>,
}

impl Script {
    /// Of a link that begins with nothing.
    fn new(signals: impl IntoIterator<Item = Signal>) -> Self {
        Self { resumes: None, signals: signals.into_iter().collect() }
    }

    fn resuming(phone: &str, signals: impl IntoIterator<Item = Signal>) -> Self {
        Self { resumes: Some(account(phone).phone), ..Self::new(signals) }
    }
}

struct Scripted(Mutex<VecDeque<Script>>);

struct ScriptedLink(Script);

#[async_trait]
impl Connector for Scripted {
    async fn open(&self, _: &Lease) -> Result<Box<dyn Link>, ConnectError> {
        let script = self.0.lock().unwrap().pop_front();
        Ok(Box::new(ScriptedLink(script.expect("no more links are expected"))))
    }
}

#[async_trait]
impl Link for ScriptedLink {
    fn resumes(&self) -> Option<PhoneNumber> {
        self.0.resumes.clone()
    }

    async fn next(&mut self) -> Option<Signal> {
        match self.0.signals.pop_front() {
            Some(signal) => Some(signal),
            None => std::future::pending().await,
        }
    }

    async fn tell(&mut self, _: Request) -> Result<(), ConnectError> {
        Ok(())
    }

    async fn close(self: Box<Self>) {}

    async fn unlink(self: Box<Self>) -> Result<(), ConnectError> {
        Ok(())
    }
}

const OURS: &str = "6281234567890";
const THEIRS: &str = "6289876543210";

struct Stage {
    sessions: Sessions,
    tenant: TenantId,
    stores: Stores,
    stream: Subscription,
    _directory: tempfile::TempDir,
}

async fn play(links: impl IntoIterator<Item = Script>) -> Stage {
    let directory = tempfile::tempdir().unwrap();
    let key = MasterKey::from([7; 32]);
    let settings = embedded::Settings { dir: directory.path().into(), key, previous: None, on_commit: None };
    let stores = EmbeddedStore::open(settings, clock::system()).unwrap().stores();
    let scripted = Arc::new(Scripted(Mutex::new(links.into_iter().collect())));
    let stop = CancellationToken::new();
    let sessions = Sessions::new(stores.clone(), scripted, clock::system(), Settings::default(), stop);
    let tenant = TenantId::parse("toko").unwrap();
    let stream = stores.journal.subscribe(&tenant, None).await;
    sessions.connect(&tenant, None).await.unwrap();
    Stage { sessions, tenant, stores, stream, _directory: directory }
}

impl Stage {
    /// The statuses up to the next end, which is the last of them.
    async fn until_ended(&mut self) -> Vec<Status> {
        let mut told = Vec::new();
        while !matches!(told.last(), Some(Status::Disconnected { .. })) {
            let next = tokio::time::timeout(Duration::from_secs(10), self.stream.next());
            if let Update::Event(event) = next.await.expect("it ends").expect("the stream goes on") {
                told.push(event.status.clone());
            }
        }
        told
    }

    /// Nothing runs any more, and nothing is wanted.
    async fn is_over(&self) {
        tokio::time::timeout(Duration::from_secs(10), self.sessions.closed()).await.expect("nothing begins anew");
        assert!(self.stores.roster.unattended(1).await.unwrap().is_empty(), "the wish is settled");
    }
}

fn account(phone: &str) -> Account {
    Account { phone: PhoneNumber::parse(phone).unwrap(), name: None, platform: None }
}

fn connected(phone: &str) -> Signal {
    Signal::Connected { account: account(phone) }
}

#[tokio::test]
async fn a_login_as_another_account_is_never_told_as_connected() {
    let first = [connected(OURS), Signal::Dropped, connected(OURS), Signal::Dropped, connected(THEIRS)];
    let again = Script::resuming(OURS, [connected(THEIRS)]);
    let mut stage = play([Script::new(first), again]).await;
    let refused = Status::ended(EndReason::CredentialsUnreadable);
    let told = stage.until_ended().await;
    let logins = told.iter().filter(|status| matches!(status, Status::Connected { .. })).collect::<Vec<_>>();
    assert_eq!(logins, [&Status::Connected { account: account(OURS) }; 2]);
    assert_eq!(told.last(), Some(&refused));

    // The end names nobody, and whoever presses "connect" is no less to be told.
    stage.sessions.connect(&stage.tenant, None).await.unwrap();
    let told = stage.until_ended().await;
    assert!(told.iter().all(|status| !matches!(status, Status::Connected { .. })), "{told:?}");
    assert_eq!(told.last(), Some(&refused));
    stage.is_over().await;
}
