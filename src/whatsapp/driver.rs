//! Turns the library's events into signals for the session, in order. Saves the device before it signals "connected".

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::mpsc::{Receiver, Sender},
    time::{Instant, sleep_until},
};
use tracing::{debug, error};
use whatsapp_rust::{Client, types::events::Event};

use super::{
    inbox::InboxEvent,
    lookup::Version,
    pair_code::PairCodes,
    passkey::Passkeys,
    shared::Shared,
    termination::Stage,
    translate::{Facts, Meaning, Translator},
    transport::Dials,
    version::Versions,
};
use crate::{
    clock::{SharedClock, until},
    events::{Account, PhoneNumber, Platform, shown_name},
    proxy::Route,
    session::{End, Signal},
    store::StoreError,
};

/// How many signals may wait for the session, which reads them at once.
pub(super) const SIGNALS_MAX: usize = 16;

/// The pause between two attempts to save at a login.
const SAVE_RETRY_PAUSE: Duration = Duration::from_millis(250);

/// When to send "unavailable" after a login. The library sends "available" from a task of its own: mostly at once,
/// under load a little later.
const SET_UNAVAILABLE_AFTER: [Duration; 4] =
    [Duration::ZERO, Duration::from_millis(300), Duration::from_millis(800), Duration::from_secs(2)];

/// WhatsApp restarts streams now and then. A link that reconnects within this time is not shown as dropped.
const BACK_WITHIN: Duration = Duration::from_secs(2);

/// The client version that a link sends.
pub(super) struct SentVersion {
    pub versions: Arc<Versions>,
    pub version: Version,
    /// Direct, or the proxy that the link uses.
    pub route: Route,
}

/// Sends a link's signals to its session, in order. Closed when the link ends.
pub(super) struct SignalSender {
    to: Sender<Signal>,
    /// The last signal was that the link is logged in.
    connected: bool,
    /// When a link that reconnects counts as dropped.
    away_at: Option<Instant>,
}

impl SignalSender {
    pub fn new(to: Sender<Signal>) -> Self {
        Self { to, connected: false, away_at: None }
    }

    fn redials(&mut self) {
        if self.connected {
            self.away_at.get_or_insert_with(|| Instant::now() + BACK_WITHIN);
        }
    }

    async fn send(&mut self, signal: Signal) {
        match &signal {
            Signal::Connected { .. } => (self.connected, self.away_at) = (true, None),
            Signal::Dropped | Signal::Unreachable | Signal::ProxyFailed => {
                (self.connected, self.away_at) = (false, None)
            }
            Signal::Qr { .. }
            | Signal::PairCode { .. }
            | Signal::PairCodeRefused { .. }
            | Signal::PairCodeVoid
            | Signal::PasskeyRequired { .. }
            | Signal::Scanned
            | Signal::Renamed { .. }
            | Signal::Ended(_) => {}
        }
        // An error means that the session has dropped the link.
        let _ = self.to.send(signal).await;
    }
}

pub(super) struct Driver {
    pub client: Arc<Client>,
    pub shared: Shared,
    /// The stage of the pairing when the link was opened.
    pub opened_at: Stage,
    pub sent_version: SentVersion,
    pub platform: Option<Platform>,
    pub dials: Arc<Dials>,
    pub codes: PairCodes,
    pub passkeys: Passkeys,
    pub clock: SharedClock,
    pub translator: Translator,
    pub signals: SignalSender,
}

impl Driver {
    /// Runs until the link ends. Then the channel of signals closes, and [`Shared::termination`] has the reason.
    pub async fn run(mut self, mut events: Receiver<InboxEvent>) {
        let (lease, termination) = (self.shared.lease.clone(), self.shared.termination.clone());
        loop {
            let event = tokio::select! {
                biased;
                () = lease.lost().cancelled() => return termination.terminate(End::LeaseLost),
                _ = termination.terminated() => return,
                event = events.recv() => event,
                () = until(self.signals.away_at) => {
                    // The library sends no event for a connection that it closed itself.
                    self.signals.send(Signal::Dropped).await;
                    continue;
                }
            };
            match event {
                Some(InboxEvent::Redials) => self.signals.redials(),
                Some(InboxEvent::Event(event)) => self.event(&event).await,
                Some(InboxEvent::Unreachable) => self.signals.send(Signal::Unreachable).await,
                Some(InboxEvent::ProxyFailed) => self.signals.send(Signal::ProxyFailed).await,
                Some(InboxEvent::CodeRefused(reason)) => {
                    if let Some(phone) = self.codes.phone() {
                        self.signals.send(Signal::PairCodeRefused { phone, reason }).await;
                    }
                }
                Some(InboxEvent::PasskeyRefused) => self.end(End::PairingFailed).await,
                Some(InboxEvent::LoopEnded) | None => return termination.terminate(End::Internal),
            }
        }
    }

    async fn event(&mut self, event: &Event) {
        let stage = self.shared.progress.stage();
        if let Event::PairSuccess(success) = event {
            // The phone lists this device from now on: a pairing that is cancelled now must be unlinked at WhatsApp.
            self.shared.progress.reach(Stage::Scanned);
            self.paired_with(&success.platform).await;
        }
        let facts = Facts {
            stage,
            now: self.clock.now(),
            account: account(&self.client, self.platform.as_ref()),
            phone: self.codes.phone(),
        };
        match self.translator.meaning(event, &facts) {
            Meaning::Nothing => {}
            Meaning::ConfirmPasskey => self.passkeys.confirm(&self.client),
            Meaning::Send(signal) => self.send_signal(signal).await,
        }
    }

    /// Every failed write during a pairing ends the link, so an error is only logged here.
    async fn paired_with(&mut self, platform: &str) {
        self.platform = Platform::parse(platform).ok();
        if let Some(platform) = &self.platform
            && let Err(error) = self.shared.keys.keep_platform(platform).await
        {
            debug!(tenant = %self.shared.lease.tenant(), %error, "the phone's platform could not be saved");
        }
    }

    async fn send_signal(&mut self, signal: Signal) {
        match &signal {
            Signal::Ended(end) => return self.end(*end).await,
            Signal::Connected { .. } => {
                if self.shared.progress.stage() == Stage::Linked {
                    // The library has already sent "available", and saving may take a while.
                    self.set_unavailable();
                }
                if let Err(error) = self.save_newest().await {
                    error!(tenant = %self.shared.lease.tenant(), %error, "logged in, but the device cannot be saved");
                    return self.shared.termination.terminate(End::StoreFailed);
                }
                if self.shared.termination.is_terminated() {
                    // For example because saving found another account.
                    return;
                }
                if self.shared.progress.stage() < Stage::Linked {
                    self.shared.progress.reach(Stage::Linked);
                    self.set_unavailable();
                }
                self.dials.reached();
            }
            Signal::Renamed { .. } => self.set_unavailable(),
            Signal::Scanned => {
                self.shared.progress.reach(Stage::Scanned);
                self.dials.reached();
            }
            Signal::Qr { .. } => self.dials.reached(),
            Signal::PairCode { .. }
            | Signal::PairCodeRefused { .. }
            | Signal::PairCodeVoid
            | Signal::PasskeyRequired { .. }
            | Signal::Dropped
            | Signal::Unreachable
            | Signal::ProxyFailed => {}
        }
        self.signals.send(signal).await;
    }

    async fn end(&mut self, end: End) {
        if end == End::CodesUsedUp && self.client.pn().is_some() {
            // The phone scanned the last code just before it expired: the next login shows the result.
            self.signals.send(Signal::Scanned).await;
            return self.shared.termination.terminate(End::Internal);
        }
        if end == End::UnlinkedByPhone {
            self.shared.keys.retire();
        }
        if end == End::PairingFailed
            && let Err(error) = self.shared.keys.forget().await
        {
            // The next link will resume a device that WhatsApp does not know, and will end here again.
            debug!(tenant = %self.shared.lease.tenant(), %error, "a failed pairing could not be removed");
        }
        // The process died between saving the phone's signature and sending its own: the user saw no failure.
        let cut_short = self.opened_at == Stage::Scanned;
        self.shared.termination.terminate(match end {
            End::PairingFailed if cut_short => End::PairingCutShort,
            End::ClientOutdated { .. } => End::ClientOutdated {
                renewed: self
                    .sent_version
                    .versions
                    .has_newer_than(self.sent_version.version, &self.sent_version.route)
                    .await,
            },
            end => end,
        });
    }

    /// Saves the newest device. A pairing that has logged in retries if the store is unavailable for a moment; a
    /// pairing that has not must not go on without the store.
    async fn save_newest(&self) -> Result<(), StoreError> {
        let deadline = Instant::now() + self.shared.settings.flush_deadline;
        loop {
            match self.shared.keys.save_newest().await {
                Err(StoreError::Unavailable(_))
                    if self.shared.progress.stage() == Stage::Linked && Instant::now() < deadline =>
                {
                    tokio::time::sleep(SAVE_RETRY_PAUSE).await;
                }
                saved => return saved,
            }
        }
    }

    /// Sends "unavailable": while a linked device is "available", the phone shows no notifications.
    fn set_unavailable(&self) {
        let client = self.client.clone();
        self.shared.runtime.run(async move {
            let began = Instant::now();
            for after in SET_UNAVAILABLE_AFTER {
                sleep_until(began + after).await;
                // Fails without a name or a connection: then "available" was not sent either.
                let _ = client.presence().set_unavailable().await;
            }
        });
    }
}

fn account(client: &Client, platform: Option<&Platform>) -> Option<Account> {
    let phone = PhoneNumber::parse(&client.pn()?.user).ok()?;
    let name = shown_name(&client.push_name());
    Some(Account { phone, name, platform: platform.cloned() })
}
