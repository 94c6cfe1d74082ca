//! One session from its lease to its end: opens links, tells the journal what they say, does what the user wants.

mod requests;

use std::{ops::ControlFlow, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures_util::FutureExt as _;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::{
    ConnectError, Connector, End, Link, Settings, Signal,
    bell::Bell,
    machine,
    teller::{Teller, Told},
    trouble::Trouble,
};
use crate::{
    clock::SharedClock,
    events::{ConnectingReason, EndReason, PhoneNumber, Status},
    store::{Lease, StoreError, Stores, Wish, WishNo},
};

/// What every session of this instance works with.
pub(super) struct Surroundings {
    pub stores: Stores,
    pub connector: Arc<dyn Connector>,
    pub clock: SharedClock,
    pub settings: Settings,
    /// Ends when this instance goes: sessions are handed over, not ended.
    pub stop: CancellationToken,
}

/// Runs a session until it is finished, handed over or lost. A panic inside it is a crash of this session only.
pub(super) async fn run(lease: Lease, nudge: Arc<Bell>, around: Arc<Surroundings>) {
    let latest = around.stores.journal.latest(lease.tenant()).await.ok().flatten();
    let status = latest.map(|shown| shown.event.status.clone());
    let status = status.unwrap_or_else(|| Status::connecting(ConnectingReason::Starting, None));
    let paired = status.account().is_some() || status == Status::connecting(ConnectingReason::Scanned, None);
    // Known before the first link: an end that comes before the wish was read would settle none, and begin anew for ever.
    let wish = around.stores.roster.wish(lease.tenant()).await.ok().flatten();
    let mut session = Session {
        teller: Teller::new(around.stores.journal.clone(), lease.clone(), status),
        trouble: Trouble::default(),
        wish: wish.map_or(WishNo(0), |(no, _)| no),
        phone: None,
        windows: 1,
        paired,
        patience_ends: None,
        lease,
        nudge,
        around,
    };
    if let Some(status) = machine::inherited(session.teller.status())
        && session.teller.tell(status).await == Told::Fenced
    {
        return;
    }
    while let Next::Again = session.guarded_link().await {}
}

/// A session's memory across its links.
struct Session {
    lease: Lease,
    nudge: Arc<Bell>,
    around: Arc<Surroundings>,
    teller: Teller,
    trouble: Trouble,
    /// The newest wish this session has seen: what its end settles.
    wish: WishNo,
    phone: Option<PhoneNumber>,
    /// Windows of codes opened since the user last asked.
    windows: u32,
    /// The account accepted this device, as far as we were told.
    paired: bool,
    /// When something has to be done about a status that does not move on.
    patience_ends: Option<Instant>,
}

enum Next {
    /// Another link of the same session.
    Again,
    /// Nothing is left to do here: finished, handed over, or the lease is gone.
    Over,
}

/// Why a link is not attended any longer.
enum Leave {
    Stopped,
    LeaseLost,
    Unlink,
    Ended(End),
}

impl Session {
    async fn guarded_link(&mut self) -> Next {
        match AssertUnwindSafe(self.one_link()).catch_unwind().await {
            Ok(next) => next,
            Err(_) => {
                error!(tenant = %self.lease.tenant(), "session panicked");
                self.end(End::Internal).await
            }
        }
    }

    async fn one_link(&mut self) -> Next {
        let mut link = match self.around.connector.open(&self.lease).await {
            Ok(link) => link,
            Err(ConnectError::Store(StoreError::Fenced)) => return Next::Over,
            Err(ConnectError::Store(StoreError::Unreadable | StoreError::Damaged(_))) => {
                return self.unreadable().await;
            }
            Err(error) => {
                warn!(tenant = %self.lease.tenant(), %error, "link could not be opened");
                return self.end(End::Internal).await;
            }
        };
        self.be_patient();
        match self.attend(&mut *link).await {
            Leave::Stopped => {
                link.close().await;
                self.hand_over().await
            }
            Leave::LeaseLost => {
                link.close().await;
                Next::Over
            }
            Leave::Unlink => self.unlink(Some(link)).await,
            Leave::Ended(end) => {
                link.close().await;
                self.end(end).await
            }
        }
    }

    async fn attend(&mut self, link: &mut dyn Link) -> Leave {
        // A nudge that rang before this session listened is not lost: the wish is read before anything else.
        let mut flow = self.heed(link).await;
        loop {
            if let ControlFlow::Break(leave) = flow {
                return leave;
            }
            flow = tokio::select! {
                biased;
                () = self.around.stop.cancelled() => ControlFlow::Break(Leave::Stopped),
                () = self.lease.lost().cancelled() => ControlFlow::Break(Leave::LeaseLost),
                () = self.nudge.notified() => self.heed(link).await,
                () = self.teller.retry_due() => {
                    let told = self.teller.retry().await;
                    self.told(told)
                }
                () = until(self.patience_ends) => self.overdue().await,
                signal = link.next() => self.hear(signal, link).await,
            };
        }
    }

    async fn heed(&mut self, link: &mut dyn Link) -> ControlFlow<Leave> {
        for request in self.nudge.requests() {
            self.pass_on(request, link).await;
        }
        match self.around.stores.roster.wish(self.lease.tenant()).await {
            Ok(Some((no, Wish::Unlink))) => {
                self.wish = no;
                ControlFlow::Break(Leave::Unlink)
            }
            Ok(Some((no, Wish::Run { phone }))) => {
                let asked_again = no != self.wish;
                if asked_again {
                    self.wish = no;
                    self.windows = 1;
                }
                if let Some(phone) = phone {
                    self.offer_pair_code(phone, asked_again, link).await;
                }
                ControlFlow::Continue(())
            }
            Ok(None) => ControlFlow::Continue(()),
            Err(StoreError::Fenced) => ControlFlow::Break(Leave::LeaseLost),
            Err(error) => {
                // The wish is durable, only our reading of it failed.
                warn!(tenant = %self.lease.tenant(), %error, "wish could not be read, trying again");
                sleep(Duration::from_millis(500)).await;
                self.nudge.notify_one();
                ControlFlow::Continue(())
            }
        }
    }

    async fn hear(&mut self, signal: Option<Signal>, link: &mut dyn Link) -> ControlFlow<Leave> {
        let signal = match signal {
            Some(Signal::Ended(end)) => return ControlFlow::Break(Leave::Ended(end)),
            None => return ControlFlow::Break(Leave::Ended(End::Internal)),
            Some(signal) => signal,
        };
        let before = self.teller.status().word();
        let Some(status) = machine::advance(self.teller.status(), &signal, self.around.clock.now()) else {
            return ControlFlow::Continue(());
        };
        self.paired |= matches!(signal, Signal::Scanned | Signal::Connected { .. });
        let told = self.teller.tell(status).await;
        self.be_patient();
        match (&signal, self.teller.status()) {
            (Signal::Qr { attempt, .. }, Status::QrPending { pair, .. }) => {
                info!(tenant = %self.lease.tenant(), attempt, listeners = told.listeners(), "qr code generated and emitted");
                if pair.is_none() && self.phone.is_some() {
                    self.request_pair_code(link).await;
                }
            }
            (Signal::Connected { .. }, _) => info!(tenant = %self.lease.tenant(), "whatsapp connected"),
            (_, status) if status.word() != before => {
                info!(tenant = %self.lease.tenant(), status = status.word().as_str(), "connection status changed");
            }
            _ => {}
        }
        self.told(told)
    }

    async fn overdue(&mut self) -> ControlFlow<Leave> {
        self.patience_ends = None;
        match machine::overdue(self.teller.status()) {
            machine::Overdue::Say(status) => {
                let told = self.teller.tell(status).await;
                self.be_patient();
                self.told(told)
            }
            machine::Overdue::End(end) => {
                warn!(tenant = %self.lease.tenant(), status = ?self.teller.status(), "status did not move on");
                ControlFlow::Break(Leave::Ended(end))
            }
            machine::Overdue::Nothing => ControlFlow::Continue(()),
        }
    }

    fn be_patient(&mut self) {
        let patience = machine::patience(self.teller.status(), self.around.clock.now(), &self.around.settings);
        self.patience_ends = patience.map(|patience| Instant::now() + patience);
    }

    fn told(&self, told: Told) -> ControlFlow<Leave> {
        match told {
            Told::Fenced => ControlFlow::Break(Leave::LeaseLost),
            Told::Said { .. } | Told::Later => ControlFlow::Continue(()),
        }
    }

    /// What follows a link's end: another link, or the session's.
    async fn end(&mut self, end: End) -> Next {
        let settings = self.around.settings.clone();
        let again = match end {
            End::LeaseLost => return Next::Over,
            End::CodesUsedUp if self.windows < settings.qr_windows => {
                // Told first: whether anybody watches is known from the telling.
                let told = self.teller.tell(Status::connecting(ConnectingReason::Starting, None)).await;
                self.windows += 1;
                (told.listeners() > 0).then_some(Duration::ZERO)
            }
            End::Replaced => self.trouble.replaced(Instant::now()).then_some(settings.replaced_pause),
            End::Internal | End::StoreFailed | End::PairingCutShort => {
                // Of a pairing cut short nothing is left, so the next link offers codes.
                self.paired &= end != End::PairingCutShort;
                self.trouble.crashed(Instant::now(), settings.crashes_max, settings.crash_window)
            }
            End::CodesUsedUp
            | End::UnlinkedByPhone
            | End::Banned { .. }
            | End::AccountLocked
            | End::ClientOutdated
            | End::PairingFailed
            | End::PasskeyTimeout => None,
        };
        if let Some(pause) = again {
            return self.pause(pause).await;
        }
        if machine::erases(end, self.paired) && !self.erase().await {
            return Next::Over;
        }
        match machine::ended(end) {
            Some(status) => self.finish(status).await,
            None => Next::Over,
        }
    }

    async fn pause(&mut self, pause: Duration) -> Next {
        let account = self.teller.status().account().cloned();
        let reason =
            if account.is_some() || self.paired { ConnectingReason::Reconnecting } else { ConnectingReason::Starting };
        if matches!(self.teller.tell(Status::connecting(reason, account)).await, Told::Fenced) {
            return Next::Over;
        }
        tokio::select! {
            biased;
            () = self.around.stop.cancelled() => self.hand_over().await,
            () = self.lease.lost().cancelled() => Next::Over,
            // The user wants something: the next link reads what.
            () = self.nudge.notified() => Next::Again,
            () = sleep(pause) => Next::Again,
        }
    }

    /// Credentials that do not open cannot be used to tell WhatsApp either: an unlink wipes them, else they stay for
    /// the day when the right key is back.
    async fn unreadable(&mut self) -> Next {
        match self.around.stores.roster.wish(self.lease.tenant()).await {
            Ok(Some((no, Wish::Unlink))) => {
                self.wish = no;
                self.unlink(None).await
            }
            wish => {
                if let Ok(Some((no, _))) = wish {
                    self.wish = no;
                }
                error!(tenant = %self.lease.tenant(), "credentials do not open with the configured key");
                self.finish(Status::ended(EndReason::CredentialsUnreadable)).await
            }
        }
    }

    async fn unlink(&mut self, link: Option<Box<dyn Link>>) -> Next {
        let remote = match link {
            Some(link) => match link.unlink().await {
                Ok(()) => true,
                Err(error) => {
                    warn!(tenant = %self.lease.tenant(), %error, "whatsapp was not told of the unlink");
                    false
                }
            },
            None => false,
        };
        if !self.erase().await {
            return Next::Over;
        }
        self.finish(machine::unlinked(self.paired, remote)).await
    }

    /// False: the lease is gone, or this instance is going before the store answered.
    async fn erase(&mut self) -> bool {
        while let Err(error) = self.around.stores.vault.erase(&self.lease).await {
            if !self.outlast(error, "credentials could not be erased, trying again").await {
                return false;
            }
        }
        true
    }

    async fn finish(&mut self, status: Status) -> Next {
        loop {
            match self.around.stores.journal.finish(self.lease.clone(), status.clone(), self.wish).await {
                Ok(_) => {
                    info!(tenant = %self.lease.tenant(), ?status, "session ended");
                    return Next::Over;
                }
                Err(error) => {
                    if !self.outlast(error, "the end could not be kept, trying again").await {
                        return Next::Over;
                    }
                }
            }
        }
    }

    async fn hand_over(&mut self) -> Next {
        if let Err(error) = self.around.stores.roster.release(self.lease.clone()).await {
            warn!(tenant = %self.lease.tenant(), %error, "lease could not be given back: it runs out by itself");
        }
        Next::Over
    }

    async fn outlast(&self, error: StoreError, doing: &'static str) -> bool {
        if let StoreError::Fenced = error {
            return false;
        }
        warn!(tenant = %self.lease.tenant(), %error, "{doing}");
        tokio::select! {
            () = self.around.stop.cancelled() => false,
            () = self.lease.lost().cancelled() => false,
            () = sleep(Duration::from_millis(500)) => true,
        }
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}
