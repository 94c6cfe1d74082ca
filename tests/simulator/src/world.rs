use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use rand::RngExt;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use wacore_binary::Jid;

use crate::account::{Account, Device};
use crate::certificate::ServerKeys;
use crate::connection::Order;
use crate::device::{DeviceId, lid_user};
use crate::faults::{Fault, Faults};
use crate::handshake::Pattern;
use crate::link_code::CodeRequest;
use crate::refusal::{CodeRefusal, Refusal};

/// The refs that the server gives a client for each connection.
pub(crate) const REFS_PER_CONNECTION: usize = 6;
/// A connection with this many waiting orders gets no more.
pub(crate) const ORDERS_MAX: usize = 256;

/// The version that the server returns until another one is published: newer than that of any library of today.
const PUBLISHED: u32 = 1_060_000_000;

/// Everything the server and the phones know, shared by all connections.
pub(crate) struct World {
    pub(crate) keys: ServerKeys,
    pub(crate) faults: Faults,
    pub(crate) stop: CancellationToken,
    pub(crate) tasks: TaskTracker,
    /// Bytes of floods.
    pub(crate) flooded: AtomicU64,
    state: Mutex<State>,
    changes: watch::Sender<u64>,
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) accounts: HashMap<u64, Account>,
    pub(crate) refs: HashMap<String, QrRef>,
    /// The newest request for a pairing code of each number.
    pub(crate) codes: HashMap<u64, CodeRequest>,
    pub(crate) connections: HashMap<u64, mpsc::Sender<Order>>,
    pub(crate) refusal: Option<Refusal>,
    pub(crate) code_refusal: Option<CodeRefusal>,
    pub(crate) unreachable: bool,
    pub(crate) sockets_opened: u64,
    /// Connections that were accepted, with what only asks for the newest release, by their address.
    pub(crate) accepted: BTreeMap<IpAddr, u64>,
    pub(crate) refs_handed_out: u64,
    pub(crate) codes_requested: u64,
    /// The newest version of WhatsApp's own client, if the server names one.
    pub(crate) published: Option<u32>,
    pub(crate) lookups: u64,
    /// Clients of older releases are turned away.
    pub(crate) oldest: u32,
    /// The client versions that clients have sent, oldest first.
    pub(crate) sent_versions: Vec<u32>,
    last_connection: u64,
}

/// A ref in a QR text. It stays here after its end, to distinguish it from an unknown one.
pub(crate) struct QrRef {
    pub(crate) connection: u64,
    pub(crate) registrant: Registrant,
    pub(crate) spent: bool,
}

/// The keys with which a client asked to be registered; its QR text must name the same.
#[derive(Clone)]
pub(crate) struct Registrant {
    pub(crate) noise: [u8; 32],
    pub(crate) identity: Vec<u8>,
}

impl World {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            keys: ServerKeys::generate(),
            faults: Faults::default(),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
            flooded: AtomicU64::new(0),
            state: Mutex::new(State { published: Some(PUBLISHED), ..State::default() }),
            changes: watch::Sender::new(0),
        })
    }

    /// For reading; changes under this guard wake no waiting task.
    pub(crate) fn read(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder panics")
    }

    /// For changes; wakes every task that waits for one.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let value = change(&mut self.read());
        self.changes.send_modify(|version| *version += 1);
        value
    }

    /// An occasion for the fault; that it came true is a change others may wait for.
    pub(crate) fn strike(&self, fault: Fault) -> bool {
        let struck = self.faults.strike(fault);
        if struck {
            self.changes.send_modify(|version| *version += 1);
        }
        struck
    }

    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Sends an order to a connection; false if it is gone.
    pub(crate) fn order(&self, connection: u64, order: Order) -> bool {
        let sender = self.read().connections.get(&connection).cloned();
        sender.is_some_and(|sender| sender.try_send(order).is_ok())
    }

    /// Sends an order to every live socket of a device; the number of sockets reached.
    pub(crate) fn order_device(&self, device: DeviceId, order: impl Fn() -> Order) -> usize {
        let connections = self.read().device(device).map(|device| device.live.clone()).unwrap_or_default();
        connections.into_iter().filter(|connection| self.order(*connection, order())).count()
    }
}

impl State {
    pub(crate) fn connect(&mut self, orders: mpsc::Sender<Order>) -> u64 {
        self.last_connection += 1;
        self.sockets_opened += 1;
        self.connections.insert(self.last_connection, orders);
        self.last_connection
    }

    pub(crate) fn disconnect(&mut self, connection: u64) {
        self.connections.remove(&connection);
        let now = Instant::now();
        for device in self.accounts.values_mut().flat_map(|account| account.devices.values_mut()) {
            let before = device.live.len();
            device.live.retain(|live| *live != connection);
            if device.live.len() != before {
                device.tally.live(device.live.len(), now);
            }
        }
    }

    pub(crate) fn hand_out_refs(&mut self, connection: u64, registrant: &Registrant) -> Vec<String> {
        let mut rng = rand::rng();
        (0..REFS_PER_CONNECTION)
            .map(|_| {
                let text = format!("2@{:032x}{:032x}", rng.random::<u128>(), rng.random::<u128>());
                self.refs.insert(text.clone(), QrRef { connection, registrant: registrant.clone(), spent: false });
                self.refs_handed_out += 1;
                text
            })
            .collect()
    }

    pub(crate) fn device(&self, id: DeviceId) -> Option<&Device> {
        self.accounts.get(&id.number())?.devices.get(&id.index())
    }

    pub(crate) fn device_mut(&mut self, id: DeviceId) -> Option<&mut Device> {
        self.accounts.get_mut(&id.number())?.devices.get_mut(&id.index())
    }

    /// Checks a login, makes the socket the device's live one, and returns the sockets that it replaces.
    pub(crate) fn log_in(
        &mut self,
        id: DeviceId,
        noise: [u8; 32],
        connection: u64,
        pattern: Pattern,
    ) -> Result<Vec<u64>, Refusal> {
        let account = self.accounts.get_mut(&id.number()).ok_or(Refusal::LoggedOut)?;
        if let Some(refusal) = account.refusal {
            return Err(refusal);
        }
        let device = account.devices.get_mut(&id.index()).ok_or(Refusal::LoggedOut)?;
        if !device.linked || device.noise != noise {
            return Err(Refusal::LoggedOut);
        }
        let now = Instant::now();
        let replaced = device.live.clone();
        device.live.push(connection);
        device.tally.logins += 1;
        if !replaced.is_empty() {
            device.tally.replacements.push(now);
        }
        device.tally.live(device.live.len(), now);
        device.tally.handshakes.push(pattern);
        Ok(replaced)
    }

    /// Takes the device off its phone's list; false if it was not on it.
    pub(crate) fn unlink(&mut self, id: DeviceId) -> bool {
        let Some(device) = self.linked_mut(id) else { return false };
        device.linked = false;
        device.outbox.clear();
        true
    }

    pub(crate) fn linked_mut(&mut self, id: DeviceId) -> Option<&mut Device> {
        self.device_mut(id).filter(|device| device.linked)
    }

    /// Whose address this is, in either of its two forms.
    pub(crate) fn number_of(&self, jid: &Jid) -> Option<u64> {
        if jid.is_lid() {
            return self.accounts.keys().copied().find(|number| lid_user(*number) == jid.user);
        }
        jid.user.parse().ok()
    }
}
