use std::fmt;

use zeroize::Zeroizing;

use crate::strength::{self, Weakness};

pub const LENGTH_MIN: usize = 32;

/// How many different bytes a secret must have: random ones are far above.
const VARIETY_MIN: usize = 10;

/// A signing secret. Hides itself in `Debug`, wiped when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes the bytes as they are; [`Self::check`] refuses weak ones.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(Zeroizing::new(bytes.into()))
    }

    /// The secret itself.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Refuses a secret that can be guessed.
    pub fn check(&self) -> Result<(), WeakSecret> {
        // Placeholders first: after "too short" their owner would only append a few characters.
        if strength::is_placeholder(&String::from_utf8_lossy(&self.0)) {
            return Err(WeakSecret::WellKnown);
        }
        if self.0.len() < LENGTH_MIN {
            return Err(WeakSecret::Short { bytes: self.0.len() });
        }
        if strength::variety(&self.0) < VARIETY_MIN {
            return Err(WeakSecret::Monotonous);
        }
        match strength::check(&self.0) {
            Ok(()) => Ok(()),
            Err(Weakness::Repeats) => Err(WeakSecret::Monotonous),
            Err(Weakness::WellKnown) => Err(WeakSecret::WellKnown),
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Why a secret can be guessed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WeakSecret {
    /// The secret has fewer than 32 bytes.
    #[error("has {bytes} bytes, {LENGTH_MIN} are needed; `openssl rand -base64 32` makes a good one")]
    Short {
        /// The length of the secret.
        bytes: usize,
    },
    /// Is well-known, attackers try it first; `openssl rand -base64 32` makes a good one.
    #[error("is well-known, attackers try it first; `openssl rand -base64 32` makes a good one")]
    WellKnown,
    /// Repeats a few characters; `openssl rand -base64 32` makes a good one.
    #[error("repeats a few characters; `openssl rand -base64 32` makes a good one")]
    Monotonous,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_secret_is_accepted_in_every_encoding() {
        for good in [
            "q2Xo0v4n3bS1uJb7cD5mZk9rWf8yLhTgPaEiNwVsQxM=",
            "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
            "61830572946183057294618305729461830572946183",
            "correct-horse-battery-staple-and-a-few-more-words",
        ] {
            assert_eq!(Secret::new(good).check(), Ok(()), "{good}");
        }
    }

    #[test]
    fn placeholder_secret_is_refused_at_any_length() {
        for bad in [
            "secret",
            "changeme",
            "your-secret-key",
            "your-secret-key-your-secret-key-your-secret-key",
            "your-256-bit-secret-your-256-bit-secret",
            "SuperSecretJWTKeyPleaseChangeMe123456789",
            "THISISMYSECURETOKENTHISISMYSECURETOKEN",
            "please_change_this_secret_in_development",
        ] {
            assert_eq!(Secret::new(bad).check(), Err(WeakSecret::WellKnown), "{bad}");
        }
    }

    #[test]
    fn short_or_repetitive_secret_is_refused() {
        assert_eq!(Secret::new("Zk9rWf8yLhTg").check(), Err(WeakSecret::Short { bytes: 12 }));
        assert_eq!(Secret::new("x".repeat(64)).check(), Err(WeakSecret::Monotonous));
        assert_eq!(Secret::new("").check(), Err(WeakSecret::Short { bytes: 0 }));
    }

    #[test]
    fn secret_is_not_shown_in_debug() {
        assert_eq!(format!("{:?}", Secret::new("q2Xo0v4n3bS1uJb7")), "Secret(…)");
    }
}
