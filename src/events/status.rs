use serde::{Deserialize, Serialize};

use super::{Account, PairCode, PairingId, Passkey, PhoneNumber, QrCode};
use crate::clock::Timestamp;

/// The state of a tenant's session: all that the page needs to be drawn.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum Status {
    /// No session runs, and none is to run.
    Disconnected {
        /// Why the last one ended.
        reason: EndReason,
        /// When a ban ends, if WhatsApp has sent it.
        until: Option<Timestamp>,
        /// False where WhatsApp did not receive an unlink: the phone may still list the device.
        remote: bool,
        /// The only number that the next link may be of, from the request before. Pages do not receive it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expected: Option<PhoneNumber>,
    },
    /// On the way to a link, or back to one.
    Connecting {
        /// Why it is not connected yet.
        reason: ConnectingReason,
        /// Known once paired: a resumed session is shown with its number.
        account: Option<Account>,
        /// The question, where the reason is that WhatsApp asks for a passkey.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        passkey: Option<Passkey>,
    },
    /// A QR code can be scanned.
    QrPending {
        /// The code.
        qr: QrCode,
        /// A pairing code beside it, if one was requested.
        pair: Option<PairCode>,
    },
    /// Linked, and connected to WhatsApp.
    Connected {
        /// The linked account.
        account: Account,
    },
}

impl Status {
    /// The final status with this reason.
    pub fn ended(reason: EndReason) -> Self {
        Self::Disconnected { reason, until: None, remote: true, expected: None }
    }

    /// Keeps the number that the next link may be of, unless the user or the phone has ended the link: then nothing of it
    /// is kept.
    pub fn expecting(self, number: Option<&PhoneNumber>) -> Self {
        match (self, number) {
            (Self::Disconnected { reason, until, remote, .. }, Some(number)) if !reason.is_by_people() => {
                Self::Disconnected { reason, until, remote, expected: Some(number.clone()) }
            }
            (other, _) => other,
        }
    }

    /// Connecting, without a passkey question.
    pub fn connecting(reason: ConnectingReason, account: Option<Account>) -> Self {
        Self::Connecting { reason, account, passkey: None }
    }

    /// Connecting, while WhatsApp asks for a passkey.
    pub fn passkey_required(passkey: Passkey) -> Self {
        Self::Connecting { reason: ConnectingReason::PasskeyRequired, account: None, passkey: Some(passkey) }
    }

    /// See [`EndReason::gives_up_link`].
    pub fn gives_up_link(&self) -> bool {
        matches!(self, Self::Disconnected { reason, .. } if reason.gives_up_link())
    }

    /// Its word.
    pub fn word(&self) -> StatusWord {
        match self {
            Self::Disconnected { .. } => StatusWord::Disconnected,
            Self::Connecting { .. } => StatusWord::Connecting,
            Self::QrPending { .. } => StatusWord::QrPending,
            Self::Connected { .. } => StatusWord::Connected,
        }
    }

    /// The window of codes that the status belongs to, while there is one.
    pub fn pairing(&self) -> Option<PairingId> {
        match self {
            Self::QrPending { qr, .. } => Some(qr.pairing),
            Self::Connecting { passkey, .. } => passkey.as_ref().map(|passkey| passkey.pairing),
            Self::Disconnected { .. } | Self::Connected { .. } => None,
        }
    }

    /// The account, where the status has one.
    pub fn account(&self) -> Option<&Account> {
        match self {
            Self::Connected { account } => Some(account),
            Self::Connecting { account, .. } => account.as_ref(),
            Self::Disconnected { .. } | Self::QrPending { .. } => None,
        }
    }
}

/// The four words of `status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatusWord {
    /// `disconnected`
    Disconnected,
    /// `connecting`
    Connecting,
    /// `qr_pending`
    QrPending,
    /// `connected`
    Connected,
}

impl StatusWord {
    /// The four words.
    pub const ALL: &[Self] = &[Self::Disconnected, Self::Connecting, Self::QrPending, Self::Connected];

    /// The word as it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Disconnected => "disconnected",
            Self::Connecting => "connecting",
            Self::QrPending => "qr_pending",
            Self::Connected => "connected",
        }
    }
}

/// Declares a closed list of kebab-case codes once: the enum, all of it in order, and its words.
macro_rules! codes {
    ($(#[$doc:meta])* $name:ident { $($(#[$item:meta])* $variant:ident = $code:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum $name { $($(#[$item])* #[doc = concat!("`", $code, "`")] #[serde(rename = $code)] $variant),+ }

        impl $name {
            /// Every value, in this order.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The word as it is written.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $code),+ }
            }
        }
    };
}

codes! {
    /// Why the page says "connecting".
    ConnectingReason {
        Starting = "starting",
        Resuming = "resuming",
        /// The pairing is being finished; WhatsApp's own restart (515) is inside it.
        Scanned = "scanned",
        PasskeyRequired = "passkey-required",
        Reconnecting = "reconnecting",
        /// A new owner takes over.
        Moving = "moving",
        WhatsappUnreachable = "whatsapp-unreachable",
    }
}

codes! {
    /// Why a session ended.
    EndReason {
        NeverLinked = "never-linked",
        QrExpired = "qr-expired",
        Cancelled = "cancelled",
        UnlinkedByUser = "unlinked-by-user",
        UnlinkedByPhone = "unlinked-by-phone",
        /// The phone's account was not the one that the request expected: our device was removed from it.
        OtherAccount = "other-account",
        Replaced = "replaced",
        Banned = "banned",
        AccountLocked = "account-locked",
        ClientOutdated = "client-outdated",
        PairingFailed = "pairing-failed",
        CredentialsUnreadable = "credentials-unreadable",
        StoreLost = "store-lost",
        PasskeyTimeout = "passkey-timeout",
        ProxyFailed = "proxy-failed",
        Internal = "internal",
    }
}

codes! {
    /// Why there is no pairing code for a number.
    PairRefusal {
        /// Too many codes were asked for.
        RateLimited = "rate-limited",
        /// WhatsApp does not link this account by number: the QR code does.
        NotAvailable = "not-available",
        /// WhatsApp gives none for this number now; it does not say whether the number is wrong or asked for too often.
        NumberRefused = "number-refused",
        /// The phone accepted none of the codes that WhatsApp gives for one request.
        TriesUsedUp = "tries-used-up",
        Unanswered = "unanswered",
    }
}

impl PairRefusal {
    /// Whether asking again for the same number can help.
    pub fn retryable(self) -> bool {
        match self {
            Self::RateLimited | Self::NumberRefused | Self::TriesUsedUp | Self::Unanswered => true,
            Self::NotAvailable => false,
        }
    }
}

impl EndReason {
    /// Whether the user ended the link, here or on the phone.
    fn is_by_people(self) -> bool {
        matches!(self, Self::Cancelled | Self::UnlinkedByUser | Self::UnlinkedByPhone)
    }

    /// Whether the link ended with a message to WhatsApp, which may not have arrived.
    pub fn sends_unlink(self) -> bool {
        matches!(self, Self::UnlinkedByUser | Self::OtherAccount)
    }

    /// Whether the link was given up: nothing that is kept may name the account any more.
    pub fn gives_up_link(self) -> bool {
        match self {
            Self::Cancelled | Self::UnlinkedByUser | Self::UnlinkedByPhone | Self::OtherAccount => true,
            Self::NeverLinked
            | Self::QrExpired
            | Self::Replaced
            | Self::Banned
            | Self::AccountLocked
            | Self::ClientOutdated
            | Self::PairingFailed
            | Self::CredentialsUnreadable
            | Self::StoreLost
            | Self::PasskeyTimeout
            | Self::ProxyFailed
            | Self::Internal => false,
        }
    }

    /// Whether pressing "connect" again can help.
    pub fn retryable(self) -> bool {
        match self {
            Self::NeverLinked
            | Self::QrExpired
            | Self::Cancelled
            | Self::UnlinkedByUser
            | Self::UnlinkedByPhone
            | Self::OtherAccount
            | Self::Replaced
            | Self::PairingFailed
            | Self::StoreLost
            | Self::PasskeyTimeout
            | Self::ProxyFailed
            | Self::Internal => true,
            Self::Banned | Self::AccountLocked | Self::ClientOutdated | Self::CredentialsUnreadable => false,
        }
    }
}
