use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use tokio::sync::mpsc;
use tokio_util::sync::DropGuard;
use tracing::{debug, warn};
use whatsapp_rust::{
    Client,
    bot::{Bot, BotBuilderError},
    wacore::{iq::devices::RemoveCompanionDeviceSpec, store::DevicePropsOverride},
    waproto::whatsapp::device_props::PlatformType,
};

use super::{
    caches,
    driver::{Driver, SIGNALS_MAX, SentVersion, SignalSender},
    http::{Clients, Http},
    in_flight::InFlight,
    inbox::InboxEvent,
    keys::{self, Mappings, Stored},
    lookup::Version,
    pair_code::PairCodes,
    passkey::Passkeys,
    settings::Settings,
    shared::Shared,
    socket::Sockets,
    termination::{Stage, Termination},
    translate::Translator,
    transport::{Dialer, Dials},
    version::Versions,
};
use crate::{
    clock::SharedClock,
    events::PhoneNumber,
    link_options::{DeviceName, LinkOptions},
    proxy::UnknownProxy,
    session::{ConnectError, End, Link, Request, Signal},
    store::{CredentialStore, Lease, StoreError},
};

pub(super) struct Opening {
    pub settings: Arc<Settings>,
    pub credentials: Arc<dyn CredentialStore>,
    pub versions: Arc<Versions>,
    pub clock: SharedClock,
    pub http: Clients,
    pub sockets: Sockets,
    pub alive: Arc<AtomicUsize>,
    pub lease: Lease,
    pub options: LinkOptions,
}

impl Opening {
    pub async fn open(self) -> Result<WhatsAppLink, ConnectError> {
        let stored = self.stored().await?;
        let stage = stored.as_ref().map_or(Stage::Offering, |stored| stored.stage);
        let resumes = stored.as_ref().map(|stored| stored.phone.clone());
        // A request without a name leaves a device on the way that it has.
        let proxy = self.options.proxy.clone().or_else(|| stored.and_then(|stored| stored.proxy));
        let route = match self.settings.proxies.route(proxy.as_ref()) {
            Ok(route) => route,
            Err(UnknownProxy) => return Err(ConnectError::UnknownProxy { resumes }),
        };
        // In the phone's list of linked devices, after the platform's name.
        let name = self.options.device_name.clone().unwrap_or_else(|| self.settings.device_name.clone());
        let version = self.versions.current(&route).await;
        let (shared, events) = Shared::new(self.settings, self.credentials, self.lease, proxy, stage, self.alive);
        // From here on, dropping the future or an error ends every task that was started.
        let running = shared.termination.stop().clone().drop_guard();
        let platform = if stage > Stage::Offering { shared.keys.platform().await? } else { None };
        let dials = Arc::new(Dials::default());
        let in_flight = InFlight::new(shared.tasks.clone(), shared.termination.clone());
        let dialer = Dialer::new(&shared, (self.sockets, route.clone()), dials.clone(), in_flight.clone());
        let bot = bot(&shared, &name, version, self.http.on(&route), dialer).await?;
        let client = bot.client();
        in_flight.attach(&client);
        shared.keys.attach(Arc::downgrade(&client.persistence_manager()));
        let codes = PairCodes::new(shared.runtime.clone(), shared.inbox.clone());
        let passkeys = Passkeys::new(shared.runtime.clone(), shared.inbox.clone());
        let (to_session, signals) = mpsc::channel(SIGNALS_MAX);
        let driver = Driver {
            client: client.clone(),
            shared: shared.clone(),
            opened_at: stage,
            sent_version: SentVersion { versions: self.versions, version, route },
            platform,
            dials,
            codes: codes.clone(),
            passkeys: passkeys.clone(),
            clock: self.clock,
            translator: Translator::new(shared.settings.qr_pace),
            signals: SignalSender::new(to_session),
        };
        shared.runtime.run(driver.run(events));
        let inbox = shared.inbox.clone();
        shared.runtime.run(async move {
            bot.run().await;
            inbox.push(InboxEvent::LoopEnded);
        });
        Ok(WhatsAppLink { resumes, client, signals, shared, codes, passkeys, over: false, running })
    }

    /// The device to resume. `None`: start a new pairing.
    async fn stored(&self) -> Result<Option<Stored>, StoreError> {
        let tenant = self.lease.tenant();
        if let Some(stored) = keys::stored(&*self.credentials, tenant).await? {
            return Ok(Some(stored));
        }
        // Rows without a device are left from a pairing that crashed: no phone lists it.
        if self.credentials.holds(tenant).await? {
            self.credentials.erase(&self.lease).await?;
        }
        Ok(None)
    }
}

async fn bot(
    shared: &Shared,
    name: &DeviceName,
    version: Version,
    http: Http,
    dialer: Dialer,
) -> Result<Bot, ConnectError> {
    let looks = DevicePropsOverride::new().with_os(name.as_str()).with_platform_type(PlatformType::CHROME);
    let builder = Bot::builder()
        .with_backend_arc(shared.keys.clone())
        .with_transport_factory(dialer)
        .with_runtime(shared.runtime.clone())
        .with_http_client(http)
        .with_version(version)
        .with_device_props(looks)
        .with_cache_config(caches::bounded(Arc::new(Mappings::new(shared.keys.clone()))))
        .with_wanted_pre_key_count(shared.settings.prekeys)
        .with_event_handler(shared.inbox.clone())
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
    shared: Shared,
    codes: PairCodes,
    passkeys: Passkeys,
    /// `next` has returned [`Signal::Ended`].
    over: bool,
    /// Ends the tasks of a link that is dropped instead of closed. Then nothing is saved.
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
        let signal = self.signals.recv().await;
        // The driver has ended, and all its signals were read.
        Some(signal.unwrap_or_else(|| {
            self.over = true;
            Signal::Ended(self.shared.termination.end().unwrap_or(End::Internal))
        }))
    }

    async fn send(&mut self, request: Request) -> Result<(), ConnectError> {
        match request {
            Request::PairCode(phone) => self.codes.ask(&self.client, phone),
            Request::Passkey(answer) => self.passkeys.answer(&self.client, answer),
        }
        Ok(())
    }

    async fn close(self: Box<Self>) {
        self.disconnect().await;
    }

    async fn unlink(mut self: Box<Self>) -> Result<(), ConnectError> {
        let sent = self.send_unlink().await;
        // The credentials are given up even if WhatsApp did not receive the unlink.
        self.shared.keys.retire();
        self.disconnect().await;
        sent.map_err(|reason| ConnectError::NotSent(Box::new(reason)))
    }
}

/// Why WhatsApp did not receive an unlink. Has no source: the library's errors print whole stanzas.
#[derive(Debug, thiserror::Error)]
enum NotSent {
    #[error("the link had ended already")]
    Ended,
    #[error("no answer in time")]
    Late,
    #[error("whatsapp refused, or the connection was lost")]
    Refused,
}

/// How often to check for the login: the library's only event for it is `Connected`, which may come 10 s later.
const LOGIN_POLL: Duration = Duration::from_millis(50);

/// WhatsApp ends the stream of a removed device while it answers. The end may be read before the answer.
const REMOVAL_GRACE: Duration = Duration::from_millis(500);

impl WhatsAppLink {
    async fn send_unlink(&mut self) -> Result<(), NotSent> {
        if self.shared.progress.stage() == Stage::Offering && self.client.pn().is_none() {
            return Ok(());
        }
        match self.shared.termination.end() {
            Some(end) if is_removed(end) => return Ok(()),
            Some(_) => return Err(NotSent::Ended),
            None => {}
        }
        let (client, termination) = (self.client.clone(), self.shared.termination.clone());
        let signals = &mut self.signals;
        let sent = tokio::time::timeout(self.shared.settings.unlink_deadline, async {
            tokio::select! {
                sent = remove_device(&client, &termination) => sent,
                // The session no longer reads signals. A full channel would block the driver and so the answer.
                () = async { while signals.recv().await.is_some() {} std::future::pending().await } => Err(NotSent::Ended),
            }
        });
        match sent.await.unwrap_or(Err(NotSent::Late)) {
            Ok(()) => Ok(()),
            Err(not_sent) => match tokio::time::timeout(REMOVAL_GRACE, self.shared.termination.terminated()).await {
                Ok(end) if is_removed(end) => Ok(()),
                Ok(_) | Err(_) => Err(not_sent),
            },
        }
    }

    async fn disconnect(self: Box<Self>) {
        let Self { client, signals, shared, codes, passkeys, running, .. } = *self;
        let (tasks, settings) = (shared.tasks.clone(), shared.settings.clone());
        drop(signals);
        // After a hard end there is nothing to save, or saving is not allowed.
        if !shared.termination.stop().is_cancelled() {
            let saved = tokio::time::timeout(settings.close_deadline, async {
                client.disconnect().await;
                shared.keys.save_newest().await
            });
            match saved.await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => debug!(%error, "a link was closed without its last save"),
                Err(_) => warn!("whatsapp link did not close in time and is cut off"),
            }
        }
        drop(running);
        tasks.close();
        drop((client, codes, passkeys, shared));
        if tokio::time::timeout(settings.close_deadline, tasks.wait()).await.is_err() {
            warn!(tasks = tasks.len(), "tasks of a closed whatsapp link are still running");
        }
    }
}

/// Whether WhatsApp has no such device any more. Before its first login a device ends as a pairing that failed.
fn is_removed(end: End) -> bool {
    matches!(end, End::UnlinkedByPhone | End::PairingFailed | End::PairingCutShort)
}

async fn remove_device(client: &Arc<Client>, termination: &Termination) -> Result<(), NotSent> {
    while !client.is_logged_in() {
        if termination.is_terminated() {
            return Err(NotSent::Ended);
        }
        tokio::time::sleep(LOGIN_POLL).await;
    }
    let device = client.pn().ok_or(NotSent::Refused)?;
    // WhatsApp ends the stream with its answer. Without this the library would reconnect.
    client.enable_auto_reconnect.store(false, Ordering::Relaxed);
    client.execute(RemoveCompanionDeviceSpec::new(&device)).await.map_err(|_| NotSent::Refused)
}
