use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

use super::{PairingId, pairing::ends};
use crate::clock::Timestamp;

/// WhatsApp's question to the account's owner between the scan and the link. Hides itself in `Debug`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Passkey {
    /// The question.
    pub step: PasskeyStep,
    /// Until then WhatsApp holds the pairing open.
    pub expires_at: Timestamp,
    /// For how long it was asked.
    #[serde(default)]
    pub lifetime: Option<Duration>,
    /// The window of codes whose scan led here.
    #[serde(default = "PairingId::random")]
    pub pairing: PairingId,
}

impl Passkey {
    /// When it ends, by the clock as it is now.
    pub fn ends(&self, now: Timestamp) -> Timestamp {
        ends(self.expires_at, self.lifetime, now)
    }

    /// Whether both are the same question. Times are not compared: two questions can end at the same time.
    pub fn is_same_question(&self, other: &Self) -> bool {
        self.pairing == other.pairing && self.step == other.step
    }
}

/// The two questions of the passkey step.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PasskeyStep {
    /// Show the passkey: WhatsApp's own `PublicKeyCredentialRequestOptions`, as JSON. An assertion counts only if it was
    /// made on a page of WhatsApp's origin.
    Assert {
        /// JSON.
        options: String,
    },
    /// Compare this code with the one on the phone, and confirm that they are the same.
    Compare {
        /// The code.
        code: String,
    },
}

impl fmt::Debug for Passkey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Passkey({:?})", self.step)
    }
}

impl fmt::Debug for PasskeyStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Assert { .. } => "Assert(…)",
            Self::Compare { .. } => "Compare(…)",
        })
    }
}
