use std::fmt;

use wacore_binary::Jid;

/// A linked device: the account's number and the index the server gave it. The phone itself is index 0 and never one of
/// these.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeviceId {
    number: u64,
    index: u16,
}

impl DeviceId {
    pub(crate) fn new(number: u64, index: u16) -> Self {
        Self { number, index }
    }

    /// The account's number, international, digits only.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Counts up per account and is never given twice, as the real server does.
    pub fn index(&self) -> u16 {
        self.index
    }

    pub(crate) fn jid(&self) -> Jid {
        Jid::pn_device(self.number.to_string(), self.index)
    }

    pub(crate) fn lid_jid(&self) -> Jid {
        Jid::lid_device(lid_user(self.number), self.index)
    }
}

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.jid())
    }
}

impl fmt::Debug for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DeviceId({self})")
    }
}

/// The account's hidden identity: stable for a number, and never the number itself, so that code which mixes the two up
/// is caught.
pub(crate) fn lid_user(number: u64) -> String {
    const SPREAD: u64 = 2_654_435_761;
    (100_000_000_000_000 + number.wrapping_mul(SPREAD) % 800_000_000_000_000).to_string()
}
