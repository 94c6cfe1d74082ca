use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use tokio::sync::mpsc;
use tokio_util::{sync::DropGuard, task::TaskTracker};
use tracing::{debug, warn};
use whatsapp_rust::{
    Client,
    bot::{Bot, BotBuilderError},
    wacore::{iq::devices::RemoveCompanionDeviceSpec, store::DevicePropsOverride},
    waproto::whatsapp::device_props::PlatformType,
};

use super::{
    backlog::Backlog,
    caches,
    driver::{Driver, SIGNALS_MAX},
    fate::{Fate, Progress, Stage},
    http::Http,
    inbox::{HEARD_MAX, Heard, Inbox},
    keys::{self, Keys, Mappings, Stored},
    lookup::Version,
    pair_code::PairCodes,
    passkey::Passkeys,
    runtime::LinkRuntime,
    settings::Settings,
    socket::Sockets,
    translate::Translator,
    transport::{Dialer, Dials, Outgoing},
    version::Versions,
};
use crate::{
    clock::SharedClock,
    events::PhoneNumber,
    session::{ConnectError, End, Link, Request, Signal},
    store::{Lease, StoreError, Vault},
};

/// As the phone lists us, behind the platform's name.
const DEVICE_NAME: &str = "Tautan";

pub(super) struct Opening {
    pub settings: Arc<Settings>,
    pub vault: Arc<dyn Vault>,
    pub versions: Arc<Versions>,
    pub clock: SharedClock,
    pub http: Http,
    pub sockets: Sockets,
    pub alive: Arc<AtomicUsize>,
    pub lease: Lease,
}

impl Opening {
    pub async fn open(self) -> Result<WhatsAppLink, ConnectError> {
        let stored = self.stored().await?;
        let stage = stored.as_ref().map_or(Stage::Offering, |stored| stored.stage);
        let version = self.versions.current().await;
        let settings = self.settings;
        let fate = Arc::new(Fate::default());
        // From here on whoever gives up ends every task that was begun.
        let running = fate.stop().clone().drop_guard();
        let progress = Arc::new(Progress::new(stage));
        let tasks = TaskTracker::new();
        let runtime = LinkRuntime::new(tasks.clone(), fate.clone(), progress.clone(), settings.qr_pace);
        let keys = Arc::new(Keys::new(
            self.vault,
            self.lease.clone(),
            fate.clone(),
            progress.clone(),
            settings.flush_deadline,
            self.alive,
        ));
        let backlog = Backlog::new(tasks.clone(), fate.clone());
        let (heard_tx, heard) = mpsc::channel(HEARD_MAX);
        let inbox = Inbox::new(heard_tx, fate.clone());
        let dialer = Dialer {
            sockets: self.sockets,
            url: settings.url.clone(),
            keys: keys.clone(),
            fate: fate.clone(),
            progress: progress.clone(),
            dials: Arc::new(Dials::default()),
            inbox: inbox.clone(),
            runtime: runtime.clone(),
            backlog: backlog.clone(),
            outgoing: Outgoing::new(&settings),
        };
        let platform = if stage > Stage::Offering { keys.platform().await? } else { None };
        let dials = dialer.dials.clone();
        let bot = bot(&settings, version, self.http, &keys, dialer, runtime.clone(), inbox.clone()).await?;
        let client = bot.client();
        backlog.attach(&client);
        keys.attach(Arc::downgrade(&client.persistence_manager()));
        let codes = PairCodes::new(runtime.clone(), inbox.clone());
        let passkeys = Passkeys::new(runtime.clone(), inbox.clone());
        let (signals_tx, signals) = mpsc::channel(SIGNALS_MAX);
        let driver = Driver {
            client: client.clone(),
            lease: self.lease,
            keys: keys.clone(),
            fate: fate.clone(),
            progress: progress.clone(),
            opened_at: stage,
            versions: self.versions,
            version,
            platform,
            dials,
            codes: codes.clone(),
            passkeys: passkeys.clone(),
            runtime: runtime.clone(),
            clock: self.clock,
            flush_deadline: settings.flush_deadline,
            translator: Translator::new(settings.qr_pace),
            signals: signals_tx,
            connected: false,
            away_at: None,
        };
        runtime.run(driver.run(heard));
        runtime.run(async move {
            bot.run().await;
            inbox.push(Heard::LoopEnded);
        });
        Ok(WhatsAppLink {
            resumes: stored.map(|stored| stored.phone),
            client,
            signals,
            fate,
            progress,
            keys,
            codes,
            passkeys,
            tasks,
            settings,
            over: false,
            running,
        })
    }

    /// What the tenant's rows allow: to resume, or to begin anew.
    async fn stored(&self) -> Result<Option<Stored>, StoreError> {
        let tenant = self.lease.tenant();
        if let Some(stored) = keys::stored(&*self.vault, tenant).await? {
            return Ok(Some(stored));
        }
        // Rows without a device are what a crash left of a pairing: no phone lists it.
        if self.vault.holds(tenant).await? {
            self.vault.erase(&self.lease).await?;
        }
        Ok(None)
    }
}

async fn bot(
    settings: &Settings,
    version: Version,
    http: Http,
    keys: &Arc<Keys>,
    dialer: Dialer,
    runtime: LinkRuntime,
    inbox: Inbox,
) -> Result<Bot, ConnectError> {
    let looks = DevicePropsOverride::new().with_os(DEVICE_NAME).with_platform_type(PlatformType::CHROME);
    let builder = Bot::builder()
        .with_backend_arc(keys.clone())
        .with_transport_factory(dialer)
        .with_runtime(runtime)
        .with_http_client(http)
        .with_version(version)
        .with_device_props(looks)
        .with_cache_config(caches::bounded(Arc::new(Mappings::new(keys.clone()))))
        .with_wanted_pre_key_count(settings.prekeys)
        .with_event_handler(inbox)
        .skip_history_sync();
    builder.build().await.map_err(|error| ConnectError::Store(unopened(error)))
}

/// Building a client only reads the store.
fn unopened(error: BotBuilderError) -> StoreError {
    StoreError::Unavailable(Box::new(error))
}

pub(super) struct WhatsAppLink {
    resumes: Option<PhoneNumber>,
    client: Arc<Client>,
    signals: mpsc::Receiver<Signal>,
    fate: Arc<Fate>,
    progress: Arc<Progress>,
    keys: Arc<Keys>,
    codes: PairCodes,
    passkeys: Passkeys,
    tasks: TaskTracker,
    settings: Arc<Settings>,
    /// The end has been told.
    over: bool,
    /// A link that is dropped instead of closed ends its tasks too, only without saving.
    running: DropGuard,
}

#[async_trait]
impl Link for WhatsAppLink {
    fn resumes(&self) -> Option<PhoneNumber> {
        self.resumes.clone()
    }

    async fn next(&mut self) -> Option<Signal> {
        if self.over {
            return None;
        }
        tokio::select! {
            // What was said before the end is told before it.
            biased;
            Some(signal) = self.signals.recv() => Some(signal),
            end = self.fate.sealed() => {
                self.over = true;
                Some(Signal::Ended(end))
            }
        }
    }

    async fn tell(&mut self, request: Request) -> Result<(), ConnectError> {
        match request {
            Request::PairCode(phone) => self.codes.ask(&self.client, phone),
            Request::Passkey(answer) => self.passkeys.answer(&self.client, answer),
        }
        Ok(())
    }

    async fn close(self: Box<Self>) {
        self.hang_up().await;
    }

    async fn unlink(mut self: Box<Self>) -> Result<(), ConnectError> {
        let told = self.tell_unlinked().await;
        // Told or not, the credentials are given up.
        self.keys.retire();
        self.hang_up().await;
        told.map_err(|reason| ConnectError::Untold(Box::new(reason)))
    }
}

/// Why WhatsApp did not hear of an unlink. Says no more than that: the library's errors print whole stanzas.
#[derive(Debug, thiserror::Error)]
enum Untold {
    #[error("the link had ended already")]
    Ended,
    #[error("no answer in time")]
    Late,
    #[error("whatsapp refused, or the connection was lost")]
    Refused,
}

/// How often the login is looked for: the library has no notice of it but `Connected`, which may come 10 s later.
const LOGIN_POLL: Duration = Duration::from_millis(50);

/// WhatsApp ends the stream of a removed device while it answers; which of the two is read first is chance.
const REMOVAL_GRACE: Duration = Duration::from_millis(500);

impl WhatsAppLink {
    async fn tell_unlinked(&mut self) -> Result<(), Untold> {
        if self.progress.stage() == Stage::Offering && self.client.pn().is_none() {
            return Ok(());
        }
        match self.fate.end() {
            Some(End::UnlinkedByPhone) => return Ok(()),
            Some(_) => return Err(Untold::Ended),
            None => {}
        }
        let (client, fate) = (self.client.clone(), self.fate.clone());
        let signals = &mut self.signals;
        let told = tokio::time::timeout(self.settings.unlink_deadline, async {
            tokio::select! {
                told = remove_device(&client, &fate) => told,
                // Nobody listens any more, and a full channel would hold up what we wait for.
                () = async { while signals.recv().await.is_some() {} std::future::pending().await } => Err(Untold::Ended),
            }
        });
        match told.await.unwrap_or(Err(Untold::Late)) {
            Ok(()) => Ok(()),
            Err(untold) => match tokio::time::timeout(REMOVAL_GRACE, self.fate.sealed()).await {
                Ok(End::UnlinkedByPhone) => Ok(()),
                Ok(_) | Err(_) => Err(untold),
            },
        }
    }

    async fn hang_up(self: Box<Self>) {
        let Self { client, signals, fate, keys, codes, passkeys, tasks, settings, running, .. } = *self;
        drop(signals);
        // After a hard end there is nothing to save, or no right to.
        if !fate.stop().is_cancelled() {
            let saved = tokio::time::timeout(settings.close_deadline, async {
                client.disconnect().await;
                keys.settle().await
            });
            match saved.await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => debug!(%error, "a link was closed without its last save"),
                Err(_) => warn!("a WhatsApp link did not hang up in time and is cut off"),
            }
        }
        drop(running);
        tasks.close();
        drop((client, codes, passkeys, keys));
        if tokio::time::timeout(settings.close_deadline, tasks.wait()).await.is_err() {
            warn!(tasks = tasks.len(), "tasks of a closed WhatsApp link are still running");
        }
    }
}

async fn remove_device(client: &Arc<Client>, fate: &Fate) -> Result<(), Untold> {
    while !client.is_logged_in() {
        if fate.is_sealed() {
            return Err(Untold::Ended);
        }
        tokio::time::sleep(LOGIN_POLL).await;
    }
    let device = client.pn().ok_or(Untold::Refused)?;
    // The stream that ends with the answer must not be dialled again.
    client.enable_auto_reconnect.store(false, Ordering::Relaxed);
    client.execute(RemoveCompanionDeviceSpec::new(&device)).await.map_err(|_| Untold::Refused)
}
