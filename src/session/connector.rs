//! What a session needs of WhatsApp, in its own words. Implemented by [`crate::whatsapp`]; tests may script one.

use std::{fmt, time::Duration};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::{
    clock::Timestamp,
    events::{Account, EndReason, PairRefusal, PasskeyStep, PhoneNumber},
    store::{Lease, StoreError},
};

/// Opens links. One for the whole process.
#[async_trait]
pub trait Connector: Send + Sync + 'static {
    /// Begins to link or to resume, depending on whether the lease's tenant has credentials. Returns at once; how it goes
    /// is told by [`Link::next`].
    async fn open(&self, lease: &Lease) -> Result<Box<dyn Link>, ConnectError>;
}

/// An open connection to WhatsApp, which redials by itself until it ends.
#[async_trait]
pub trait Link: Send {
    /// Whose device it was opened as, if with the credentials of one that a phone has accepted, whatever the journal
    /// knows.
    fn resumes(&self) -> Option<PhoneNumber>;

    /// Cancel safe. `None`: gone for good without a reason; also after every [`Signal::Ended`].
    async fn next(&mut self) -> Option<Signal>;

    /// Passes on what the user asks for or answers. Returns at once; what comes of it is a signal.
    async fn send(&mut self, request: Request) -> Result<(), ConnectError>;

    /// Hangs up and keeps the pairing: what is unsaved is saved first. When it returns nothing of the link runs any more.
    async fn close(self: Box<Self>);

    /// Removes this device from the account, then hangs up. Wipes nothing here: [`crate::store::CredentialStore::erase`] does.
    /// `Err`: WhatsApp could not be told; the link is closed all the same.
    async fn unlink(self: Box<Self>) -> Result<(), ConnectError>;
}

/// What a user says to an open link. Hides itself in `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub enum Request {
    /// A pairing code for this number beside the QR, in place of any other.
    PairCode(PhoneNumber),
    Passkey(PasskeyAnswer),
}

/// What the account's owner does for WhatsApp's passkey step. Hides itself in `Debug`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum PasskeyAnswer {
    /// A WebAuthn assertion in the JSON of WhatsApp's own page, and the credential that made it.
    Assertion { json: String, credential: Vec<u8> },
    /// Phone and page show the same code.
    Confirmed,
}

impl PasskeyAnswer {
    pub fn answers(&self, step: &PasskeyStep) -> bool {
        match self {
            Self::Assertion { .. } => matches!(step, PasskeyStep::Assert { .. }),
            Self::Confirmed => matches!(step, PasskeyStep::Compare { .. }),
        }
    }
}

impl fmt::Debug for PasskeyAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Assertion { .. } => "Assertion(…)",
            Self::Confirmed => "Confirmed",
        })
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PairCode(_) => f.write_str("PairCode(…)"),
            Self::Passkey(answer) => write!(f, "Passkey({answer:?})"),
        }
    }
}

/// What a link says. Hides codes and accounts in `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub enum Signal {
    /// A code to show for `lifetime`; replaces the one before.
    Qr {
        text: String,
        lifetime: Duration,
        attempt: u32,
        attempts_max: u32,
    },
    PairCode {
        code: String,
        phone: PhoneNumber,
        lifetime: Duration,
    },
    /// No pairing code will come for now; the QR goes on.
    PairCodeRefused {
        phone: PhoneNumber,
        reason: PairRefusal,
    },
    /// WhatsApp asks this account for a passkey, which only its owner can show; no code of this window will do.
    PasskeyRequired {
        step: PasskeyStep,
        lifetime: Duration,
    },
    /// The phone has scanned and WhatsApp accepted it; the login follows.
    Scanned,
    /// Logged in, and everything that a restart needs is saved.
    Connected {
        account: Account,
    },
    /// The account told its name, or another one.
    Renamed {
        account: Account,
    },
    /// The connection is gone and is being redialled.
    Dropped,
    /// Redialling fails: WhatsApp cannot be reached from here.
    Unreachable,
    Ended(End),
}

impl fmt::Debug for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Qr { attempt, attempts_max, .. } => write!(f, "Qr({attempt} of {attempts_max})"),
            Self::PairCode { .. } => f.write_str("PairCode(…)"),
            Self::PairCodeRefused { reason, .. } => write!(f, "PairCodeRefused({})", reason.as_str()),
            Self::PasskeyRequired { step, .. } => write!(f, "PasskeyRequired({step:?})"),
            Self::Scanned => f.write_str("Scanned"),
            Self::Connected { .. } => f.write_str("Connected(…)"),
            Self::Renamed { .. } => f.write_str("Renamed(…)"),
            Self::Dropped => f.write_str("Dropped"),
            Self::Unreachable => f.write_str("Unreachable"),
            Self::Ended(end) => write!(f, "Ended({end:?})"),
        }
    }
}

/// Why a link ended for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// All codes of the window were shown and none was scanned.
    CodesUsedUp,
    /// The phone removed this device: the credentials are worthless.
    UnlinkedByPhone,
    /// Another process logged in with the same credentials.
    Replaced,
    Banned {
        until: Option<Timestamp>,
    },
    AccountLocked,
    /// WhatsApp takes a release of its client like ours no more. `renewed`: a newer one is known by now, which the next
    /// link claims to be.
    ClientOutdated {
        renewed: bool,
    },
    /// WhatsApp lets nobody in from here for a while.
    RateLimited,
    /// The phone's answer did not prove itself, or WhatsApp refused the pairing.
    PairingFailed,
    /// A pairing that an earlier process left half done turned out never to have reached the phone: nothing of it is
    /// kept, and whoever wanted it is still waiting for a code.
    PairingCutShort,
    /// The credentials led to another account than the one that was linked.
    OtherAccount,
    /// A passkey was asked for and none was shown in time.
    PasskeyTimeout,
    /// What was to be kept cannot be kept: going on would lose the pairing.
    StoreFailed,
    /// A row of the credentials cannot be read now: it is sealed with another key, or another version wrote it.
    Unreadable,
    /// The lease is not ours any more: say nothing.
    LeaseLost,
    /// The library gave up without a reason we know.
    Internal,
}

impl End {
    /// What the page says of it. `None`: nothing may be said.
    pub fn reason(self) -> Option<EndReason> {
        match self {
            Self::CodesUsedUp => Some(EndReason::QrExpired),
            Self::UnlinkedByPhone => Some(EndReason::UnlinkedByPhone),
            Self::Replaced => Some(EndReason::Replaced),
            Self::Banned { .. } => Some(EndReason::Banned),
            Self::AccountLocked => Some(EndReason::AccountLocked),
            Self::ClientOutdated { .. } => Some(EndReason::ClientOutdated),
            // Only of a pairing: a linked device waits until it is let in.
            Self::RateLimited | Self::PairingFailed | Self::PairingCutShort => Some(EndReason::PairingFailed),
            Self::OtherAccount | Self::Unreadable => Some(EndReason::CredentialsUnreadable),
            Self::PasskeyTimeout => Some(EndReason::PasskeyTimeout),
            Self::StoreFailed | Self::Internal => Some(EndReason::Internal),
            Self::LeaseLost => None,
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("whatsapp could not be told")]
    NotSent(#[source] Box<dyn std::error::Error + Send + Sync>),
}
