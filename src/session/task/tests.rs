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

type Script = VecDeque<Signal>;

/// Each link says its part and then nothing more.
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
    fn resumes(&self) -> bool {
        false
    }

    async fn next(&mut self) -> Option<Signal> {
        match self.0.pop_front() {
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

struct Stage {
    sessions: Sessions,
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
    Stage { sessions, stores, stream, _directory: directory }
}

fn account(phone: &str) -> Account {
    Account { phone: PhoneNumber::parse(phone).unwrap(), name: None, platform: None }
}

fn connected(phone: &str) -> Signal {
    Signal::Connected { account: account(phone) }
}

#[tokio::test]
async fn a_login_as_another_account_is_never_told_as_connected() {
    let (ours, theirs) = ("6281234567890", "6289876543210");
    let script = [connected(ours), Signal::Dropped, connected(ours), Signal::Dropped, connected(theirs)];
    let mut stage = play([Script::from(script)]).await;
    let (mut logins, mut last) = (0, None);
    while !matches!(&last, Some(Status::Disconnected { .. })) {
        let next = tokio::time::timeout(Duration::from_secs(10), stage.stream.next());
        if let Update::Event(event) = next.await.expect("it ends").expect("the stream goes on") {
            if let Status::Connected { account } = &event.status {
                assert_eq!(account.phone.as_str(), ours);
                logins += 1;
            }
            last = Some(event.status.clone());
        }
    }
    assert_eq!((logins, last), (2, Some(Status::ended(EndReason::CredentialsUnreadable))));
    tokio::time::timeout(Duration::from_secs(10), stage.sessions.closed()).await.expect("nothing begins anew");
    assert!(stage.stores.roster.unattended(1).await.unwrap().is_empty(), "the wish is settled");
}
