use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

/// What the server or the phone does wrong when asked to.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Fault {
    /// The HMAC in `pair-success` does not match.
    CorruptHmac,
    /// The account signature in `pair-success` does not match, while its HMAC does.
    CorruptSignature,
    /// A socket is accepted and nothing is ever said on it, not even the HTTP upgrade.
    SilentSocket,
    /// The handshake succeeds and neither `<success>` nor QR refs follow.
    SilentLogin,
    /// The device is logged in as one of another account.
    OtherAccount,
    /// The device is logged in and from then on nothing is answered.
    SilentSession,
    /// `pair-device-sign` arrives and the phone lists the device, but neither 515 nor a close follows.
    SilentPairing,
    /// A frame that no key opens, in place of `<success>` or the QR refs.
    Garbage,
    /// A client that logs in by Noise IK is made to fall back to XX.
    RefuseIk,
}

#[derive(Default)]
struct Entry {
    left: Option<u32>,
    consumed: u64,
    set: bool,
}

/// The faults that are set, and how often each has come true.
#[derive(Default)]
pub struct Faults {
    entries: Mutex<HashMap<Fault, Entry>>,
    delay: Mutex<Option<Duration>>,
}

impl Faults {
    /// From now on until [`Faults::clear`].
    pub fn set(&self, fault: Fault) {
        self.change(fault, true, None);
    }

    /// The next `times` occasions only.
    pub fn set_times(&self, fault: Fault, times: u32) {
        self.change(fault, times > 0, Some(times));
    }

    pub fn clear(&self, fault: Fault) {
        self.change(fault, false, None);
    }

    /// Every answer waits this long before it is sent; `None` ends it.
    pub fn slow(&self, delay: Option<Duration>) {
        *self.delay.lock().expect("no holder panics") = delay;
    }

    /// How often the fault came true, so that a test can prove it was not idle.
    pub fn consumed(&self, fault: Fault) -> u64 {
        self.entries.lock().expect("no holder panics").get(&fault).map_or(0, |entry| entry.consumed)
    }

    /// Before an answer.
    pub(crate) async fn wait(&self) {
        let delay = *self.delay.lock().expect("no holder panics");
        tokio::time::sleep(delay.unwrap_or_default()).await;
    }

    /// An occasion for the fault: whether it comes true, and if so counts it.
    pub(crate) fn strike(&self, fault: Fault) -> bool {
        let mut entries = self.entries.lock().expect("no holder panics");
        let Some(entry) = entries.get_mut(&fault).filter(|entry| entry.set) else { return false };
        entry.consumed += 1;
        if let Some(left) = &mut entry.left {
            *left -= 1;
            entry.set = *left > 0;
        }
        true
    }

    fn change(&self, fault: Fault, set: bool, left: Option<u32>) {
        let mut entries = self.entries.lock().expect("no holder panics");
        let entry = entries.entry(fault).or_default();
        entry.set = set;
        entry.left = left;
    }
}
