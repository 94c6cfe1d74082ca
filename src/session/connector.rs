//! What a session needs of WhatsApp, without the types of the library. [`crate::whatsapp`] implements it, and so do
//! tests.

use std::{fmt, time::Duration};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::{
    clock::Timestamp,
    events::{Account, EndReason, PairRefusal, PasskeyStep, PhoneNumber},
    link_options::LinkOptions,
    store::{Lease, StoreError},
};

/// Opens links. One for the whole process.
#[async_trait]
pub trait Connector: Send + Sync + 'static {
    /// Begins to link or to resume, depending on whether the lease's tenant has credentials. Returns at once; progress
    /// arrives through [`Link::next`].
    async fn open(&self, lease: &Lease, options: &LinkOptions) -> Result<Box<dyn Link>, ConnectError>;
}

/// An open connection to WhatsApp, which redials by itself until it ends.
///
/// Its [`Signal::Connected`] always has the same account, and that of [`Link::resumes`]: a login as another one is
/// [`End::AccountChanged`] instead. A session publishes what it gets without a check of its own.
#[async_trait]
pub trait Link: Send {
    /// The number whose credentials it was opened with, if a phone has accepted them. The journal may know less.
    fn resumes(&self) -> Option<PhoneNumber>;

    /// Cancel safe. `None`: the link ended without a reason; also after every [`Signal::Ended`].
    async fn next(&mut self) -> Option<Signal>;

    /// Sends a user's request or answer to WhatsApp. Returns at once; the result arrives as a signal.
    async fn send(&mut self, request: Request) -> Result<(), ConnectError>;

    /// Closes the connection and keeps the pairing; saves what is unsaved first. After it returns nothing of the link
    /// runs.
    async fn close(self: Box<Self>);

    /// Removes this device from the account, then closes. Keeps the stored credentials:
    /// [`crate::store::CredentialStore::erase`] removes them. `Err`: WhatsApp did not receive it; the link is closed
    /// anyway.
    async fn unlink(self: Box<Self>) -> Result<(), ConnectError>;
}

/// A user's request or answer for an open link. Hides itself in `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub enum Request {
    /// A pairing code for this number beside the QR, in place of any other.
    PairCode(PhoneNumber),
    /// The answer to WhatsApp's passkey question.
    Passkey(PasskeyAnswer),
}

/// What the account's owner does for WhatsApp's passkey step. Hides itself in `Debug`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum PasskeyAnswer {
    /// A WebAuthn assertion in the JSON of WhatsApp's own page, and the credential that made it.
    Assertion {
        /// The assertion.
        json: String,
        /// The credential's id.
        credential: Vec<u8>,
    },
    /// Phone and page show the same code.
    Confirmed,
}

impl PasskeyAnswer {
    /// Whether it is an answer to this kind of question.
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

/// What a link reports. Hides codes and accounts in `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub enum Signal {
    /// A code to show for `lifetime`; replaces the one before.
    Qr {
        /// The text to draw.
        text: String,
        /// How long it is valid.
        lifetime: Duration,
        /// Counts from 1 within the window.
        attempt: u32,
        /// How many codes the window has.
        attempts_max: u32,
    },
    /// A pairing code to show beside the QR code.
    PairCode {
        /// As WhatsApp shows it: `ABCD-1234`.
        code: String,
        /// The number that it is for.
        phone: PhoneNumber,
        /// How long it is valid.
        lifetime: Duration,
    },
    /// WhatsApp gives no pairing code now; the QR code goes on.
    PairCodeRefused {
        /// The number that it was requested for.
        phone: PhoneNumber,
        /// Why not.
        reason: PairRefusal,
    },
    /// WhatsApp withdrew the pairing code: another one has to be requested.
    PairCodeVoid,
    /// WhatsApp asks the account's owner for a passkey. The codes of this window are not valid any more.
    PasskeyRequired {
        /// The question.
        step: PasskeyStep,
        /// How long WhatsApp waits.
        lifetime: Duration,
    },
    /// The phone has scanned and WhatsApp accepted it; the login follows.
    Scanned,
    /// Logged in, and everything that a restart needs is saved.
    Connected {
        /// The account.
        account: Account,
    },
    /// The account reported its name, or a new one.
    Renamed {
        /// The account with its new name.
        account: Account,
    },
    /// The connection is gone and is being redialled.
    Dropped,
    /// Redialling fails: WhatsApp cannot be reached from here.
    Unreachable,
    /// Redialling fails: the link's proxy makes no connection to WhatsApp.
    ProxyFailed,
    /// The link ended for good.
    Ended(End),
}

impl fmt::Debug for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Qr { attempt, attempts_max, .. } => write!(f, "Qr({attempt} of {attempts_max})"),
            Self::PairCode { .. } => f.write_str("PairCode(…)"),
            Self::PairCodeRefused { reason, .. } => write!(f, "PairCodeRefused({})", reason.as_str()),
            Self::PairCodeVoid => f.write_str("PairCodeVoid"),
            Self::PasskeyRequired { step, .. } => write!(f, "PasskeyRequired({step:?})"),
            Self::Scanned => f.write_str("Scanned"),
            Self::Connected { .. } => f.write_str("Connected(…)"),
            Self::Renamed { .. } => f.write_str("Renamed(…)"),
            Self::Dropped => f.write_str("Dropped"),
            Self::Unreachable => f.write_str("Unreachable"),
            Self::ProxyFailed => f.write_str("ProxyFailed"),
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
    /// WhatsApp banned the account.
    Banned {
        /// When the ban ends, if WhatsApp has sent it.
        until: Option<Timestamp>,
    },
    /// WhatsApp locked the account.
    AccountLocked,
    /// WhatsApp does not accept the client version that we send. `renewed`: a newer version is known by now, which the
    /// next link sends.
    ClientOutdated {
        /// A newer version is known now.
        renewed: bool,
    },
    /// WhatsApp refuses logins from here for a while.
    RateLimited,
    /// The phone's answer did not prove itself, or WhatsApp refused the pairing.
    PairingFailed,
    /// A pairing that an earlier process left unfinished never reached the phone. Nothing of it is kept, and the user
    /// still waits for a code.
    PairingCutShort,
    /// The credentials led to another account than the one that was linked.
    AccountChanged,
    /// A passkey was asked for and none was shown in time.
    PasskeyTimeout,
    /// The proxy of a pairing makes no connection to WhatsApp.
    ProxyFailed,
    /// Credentials could not be saved: going on would lose the pairing.
    StoreFailed,
    /// A row of the credentials cannot be read now: it is encrypted with another key, or another version wrote it.
    Unreadable,
    /// The lease is lost: publish nothing.
    LeaseLost,
    /// The library ended without a known reason.
    Internal,
}

impl End {
    /// The reason that the page shows. `None`: nothing may be published.
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
            Self::AccountChanged | Self::Unreadable => Some(EndReason::CredentialsUnreadable),
            Self::ProxyFailed => Some(EndReason::ProxyFailed),
            Self::PasskeyTimeout => Some(EndReason::PasskeyTimeout),
            Self::StoreFailed | Self::Internal => Some(EndReason::Internal),
            Self::LeaseLost => None,
        }
    }
}

/// Why a link could not be opened, or did not take a request.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The link's proxy is not among those of this instance. Nothing was connected.
    #[error("the link's proxy is not configured here")]
    UnknownProxy {
        /// As [`Link::resumes`].
        resumes: Option<PhoneNumber>,
    },
    /// The request or the unlink did not reach WhatsApp.
    #[error("the request could not be sent to whatsapp")]
    NotSent(#[source] Box<dyn std::error::Error + Send + Sync>),
}
