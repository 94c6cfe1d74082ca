//! Turns what a link hears into what it says, in order, and saves before it says "connected".

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
    session::{End, Signal},
    store::StoreError,
};

/// Signals a session may leave unread. It reads at once or it is stuck.
pub(super) const SIGNALS_MAX: usize = 16;

/// Saving at a login is tried this often before the next try.
const SAVE_RETRY_PAUSE: Duration = Duration::from_millis(250);

/// The library itself says "available" in a task of its own, shortly after the events that we answer: mostly at once, and
/// under load a little later.
const SET_UNAVAILABLE_AFTER: [Duration; 4] =
    [Duration::ZERO, Duration::from_millis(300), Duration::from_millis(800), Duration::from_secs(2)];

/// A link that dials anew after a login is back in a moment, as a rule: WhatsApp restarts streams now and then.
const BACK_WITHIN: Duration = Duration::from_secs(2);

/// What a link claims to be.
pub(super) struct Claim {
    pub versions: Arc<Versions>,
    pub version: Version,
}

/// Where a link's signals leave for its session, in order. It closes when the link ends.
pub(super) struct SignalSender {
    to: Sender<Signal>,
    /// The last word was that we are logged in.
    connected: bool,
    /// When a link that dials anew has been away for too long to go on saying so.
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
            Signal::Dropped | Signal::Unreachable => (self.connected, self.away_at) = (false, None),
            Signal::Qr { .. }
            | Signal::PairCode { .. }
            | Signal::PairCodeRefused { .. }
            | Signal::PasskeyRequired { .. }
            | Signal::Scanned
            | Signal::Renamed { .. }
            | Signal::Ended(_) => {}
        }
        // Closed: the session has let go of the link.
        let _ = self.to.send(signal).await;
    }
}

pub(super) struct Driver {
    pub client: Arc<Client>,
    pub shared: Shared,
    /// How far the account was ours when the link was opened.
    pub opened_at: Stage,
    pub claim: Claim,
    pub platform: Option<Platform>,
    pub dials: Arc<Dials>,
    pub codes: PairCodes,
    pub passkeys: Passkeys,
    pub clock: SharedClock,
    pub translator: Translator,
    pub signals: SignalSender,
}

impl Driver {
    /// Until the link ends. Then the channel of its signals closes, and why stands in the termination.
    pub async fn run(mut self, mut events: Receiver<InboxEvent>) {
        let (lease, termination) = (self.shared.lease.clone(), self.shared.termination.clone());
        loop {
            let event = tokio::select! {
                biased;
                () = lease.lost().cancelled() => return termination.terminate(End::LeaseLost),
                _ = termination.terminated() => return,
                event = events.recv() => event,
                () = until(self.signals.away_at) => {
                    // The library says nothing of a connection that it gave up itself.
                    self.signals.send(Signal::Dropped).await;
                    continue;
                }
            };
            match event {
                Some(InboxEvent::Redials) => self.signals.redials(),
                Some(InboxEvent::Event(event)) => self.event(&event).await,
                Some(InboxEvent::Unreachable) => self.signals.send(Signal::Unreachable).await,
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
            // The phone lists us by now: whoever gives the pairing up meanwhile has something to tell WhatsApp.
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
            Meaning::AskCodeAgain => self.codes.ask_again(&self.client),
            Meaning::ConfirmPasskey => self.passkeys.confirm(&self.client),
            Meaning::Send(signal) => self.send_signal(signal).await,
        }
    }

    /// A write that fails here has ended the link, like every other one of a pairing.
    async fn paired_with(&mut self, platform: &str) {
        self.platform = Platform::parse(platform).ok();
        if let Some(platform) = &self.platform
            && let Err(error) = self.shared.keys.keep_platform(platform).await
        {
            debug!(tenant = %self.shared.lease.tenant(), %error, "the phone's platform could not be kept");
        }
    }

    async fn send_signal(&mut self, signal: Signal) {
        match &signal {
            Signal::Ended(end) => return self.end(*end).await,
            Signal::Connected { .. } => {
                if self.shared.progress.stage() == Stage::Linked {
                    // By now the library has said that somebody is there, and saving may take its time.
                    self.set_unavailable();
                }
                if let Err(error) = self.save_newest().await {
                    error!(tenant = %self.shared.lease.tenant(), %error, "logged in, but the device cannot be saved");
                    return self.shared.termination.terminate(End::StoreFailed);
                }
                if self.shared.termination.is_terminated() {
                    // Such as where saving found that this is not our account.
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
            | Signal::PasskeyRequired { .. }
            | Signal::Dropped
            | Signal::Unreachable => {}
        }
        self.signals.send(signal).await;
    }

    async fn end(&mut self, end: End) {
        if end == End::CodesUsedUp && self.client.pn().is_some() {
            // The phone took the last one in its last moment: what became of it shows at the next login.
            self.signals.send(Signal::Scanned).await;
            return self.shared.termination.terminate(End::Internal);
        }
        if end == End::UnlinkedByPhone {
            self.shared.keys.retire();
        }
        if end == End::PairingFailed
            && let Err(error) = self.shared.keys.forget().await
        {
            // The next opening finds a device that WhatsApp does not know, and ends here again.
            debug!(tenant = %self.shared.lease.tenant(), %error, "a failed pairing could not be removed");
        }
        // A process that died between saving the phone's signature and sending ours: its user never heard of a failure.
        let cut_short = self.opened_at == Stage::Scanned;
        self.shared.termination.terminate(match end {
            End::PairingFailed if cut_short => End::PairingCutShort,
            End::ClientOutdated { .. } => {
                End::ClientOutdated { renewed: self.claim.versions.has_newer_than(self.claim.version).await }
            }
            end => end,
        });
    }

    /// A proven pairing outlives a passing trouble of the store; one that is not proven must not go on without it.
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

    /// While a linked device is "available" the phone does not notify its owner.
    fn set_unavailable(&self) {
        let client = self.client.clone();
        self.shared.runtime.run(async move {
            let began = Instant::now();
            for after in SET_UNAVAILABLE_AFTER {
                sleep_until(began + after).await;
                // Fails without a name or a connection: then nothing said "available" either.
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
