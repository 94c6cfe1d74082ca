use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use thiserror::Error;
use tokio::net::{TcpListener, ToSocketAddrs};
use tokio::sync::oneshot;

use crate::account::Account;
use crate::connection::{Order, serve};
use crate::device::DeviceId;
use crate::faults::Faults;
use crate::flood::Flood;
use crate::handshake::Pattern;
use crate::phone::Phone;
use crate::refusal::{CodeRefusal, Refusal};
use crate::stanza::stream_error;
use crate::tally::{PresenceCounts, Tally};
use crate::world::World;

/// A condition was not met in time.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("not so after {waited:?}")]
pub struct NotSo {
    waited: Duration,
}

/// A WhatsApp server on loopback. A clone is another handle to the same server, which ends with the last handle or at
/// [`Simulator::shutdown`].
#[derive(Clone)]
pub struct Simulator {
    address: SocketAddr,
    world: Arc<World>,
    _stop_with_last_handle: Arc<StopOnDrop>,
}

struct StopOnDrop(Arc<World>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.stop.cancel();
    }
}

impl Simulator {
    /// Listens on a free port of 127.0.0.1.
    pub async fn start() -> io::Result<Self> {
        Self::start_on((Ipv4Addr::LOCALHOST, 0)).await
    }

    pub async fn start_on(address: impl ToSocketAddrs) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let world = World::new();
        world.tasks.spawn(accept(world.clone(), listener));
        let stop = Arc::new(StopOnDrop(world.clone()));
        Ok(Self { address, world, _stop_with_last_handle: stop })
    }

    /// Ends every connection without a word and returns when nothing runs any more.
    pub async fn shutdown(self) {
        self.world.stop.cancel();
        self.world.tasks.close();
        self.world.tasks.wait().await;
    }

    /// Where a client connects to.
    pub fn url(&self) -> String {
        format!("ws://{}/ws/chat", self.address)
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The key in which the certificate chain ends, for clients that check it and can be given another root.
    pub fn root_public_key(&self) -> [u8; 32] {
        self.world.keys.root_public()
    }

    /// The phone with this number, which is made if it is new. A new link receives its name.
    ///
    /// # Panics
    /// If the number is not made of digits.
    pub fn phone(&self, number: &str, name: &str) -> Phone {
        let number = number.parse().expect("a number is made of digits");
        self.world.change(|state| {
            state.accounts.entry(number).or_insert_with(|| Account::new(name.to_owned()));
        });
        Phone::new(self.world.clone(), number)
    }

    pub fn faults(&self) -> &Faults {
        &self.world.faults
    }

    /// Every login and every registration is refused from now on, or with `None` no more.
    pub fn refuse(&self, refusal: Option<Refusal>) {
        self.world.change(|state| state.refusal = refusal);
    }

    /// Sets the newest version of WhatsApp's own client; with `None` the server names none.
    pub fn publish(&self, revision: Option<u32>) {
        self.world.change(|state| state.published = revision);
    }

    /// Clients of an older version are refused as outdated from now on.
    pub fn refuse_below(&self, revision: u32) {
        self.world.change(|state| state.oldest = revision);
    }

    /// No pairing code is granted from now on, or with `None` again.
    pub fn refuse_codes(&self, refusal: Option<CodeRefusal>) {
        self.world.change(|state| state.code_refusal = refusal);
    }

    /// Every pairing code has expired: entered now it is refused. Clients get no event, since they have clocks.
    pub fn expire_codes(&self) {
        self.world.change(|state| state.codes.values_mut().for_each(|request| request.expired = true));
    }

    /// Withdraws every pairing code and asks the clients for others; `by_hand`: only their users may ask.
    pub fn refresh_codes(&self, by_hand: bool) {
        self.expire_codes();
        let stale: Vec<_> = self.world.read().codes.values().map(|code| code.refresh(by_hand)).collect();
        for (connection, notification) in stale {
            self.world.order(connection, Order::Send(notification));
        }
    }

    /// New sockets are dropped as soon as they are accepted, and the old ones are cut.
    pub fn unreachable(&self, unreachable: bool) {
        self.world.change(|state| state.unreachable = unreachable);
        if unreachable {
            self.cut_all();
        }
    }

    /// Breaks the device's TCP connection without a word; false if it has none.
    pub fn cut(&self, device: DeviceId) -> bool {
        self.world.order_device(device, || Order::Cut) > 0
    }

    /// Breaks every TCP connection, those that are registering included.
    pub fn cut_all(&self) {
        let connections: Vec<u64> = self.world.read().connections.keys().copied().collect();
        for connection in connections {
            self.world.order(connection, Order::Cut);
        }
    }

    /// Tells the device that it was opened elsewhere; false if it is not connected.
    pub fn replace(&self, device: DeviceId) -> bool {
        self.world.order_device(device, || Order::End(stream_error(None, Some("replaced")))) > 0
    }

    /// Ends the device's stream with an error code such as 503 or 429; false if it is not connected.
    pub fn end(&self, device: DeviceId, code: u16) -> bool {
        self.world.order_device(device, || Order::End(stream_error(Some(code), None))) > 0
    }

    /// Asks the device whether it is there; false without an answer by the deadline.
    pub async fn ping(&self, device: DeviceId, deadline: Duration) -> bool {
        let (answered, pong) = oneshot::channel();
        let connection = self.world.read().device(device).and_then(|device| device.live.last().copied());
        let asked = connection.is_some_and(|connection| self.world.order(connection, Order::Ping(answered)));
        asked && matches!(tokio::time::timeout(deadline, pong).await, Ok(Ok(())))
    }

    /// Sends the device this without an end, until one side hangs up; false if it is not connected.
    pub fn flood(&self, device: DeviceId, flood: Flood) -> bool {
        self.world.order_device(device, || Order::Flood(flood)) > 0
    }

    /// Bytes that all floods have sent, or have in a buffer of the socket.
    pub fn flooded(&self) -> u64 {
        self.world.flooded.load(Ordering::Relaxed)
    }

    fn tally(&self, device: DeviceId) -> Tally {
        self.world.read().device(device).map(|device| device.tally.clone()).unwrap_or_default()
    }

    pub fn logins(&self, device: DeviceId) -> u64 {
        self.tally(device).logins
    }

    /// Logged-in sockets of the device now.
    pub fn live_sockets(&self, device: DeviceId) -> usize {
        self.world.read().device(device).map_or(0, |device| device.live.len())
    }

    /// The most logged-in sockets the device ever had at once.
    pub fn live_sockets_max(&self, device: DeviceId) -> usize {
        self.tally(device).live_max
    }

    /// Logins that replaced a live socket of the same device.
    pub fn double_logins(&self, device: DeviceId) -> usize {
        self.tally(device).replacements.len()
    }

    pub fn double_logins_at(&self, device: DeviceId) -> Vec<Instant> {
        self.tally(device).replacements
    }

    /// For how long, in all, the device had more than one logged-in socket.
    pub fn double_login_ms(&self, device: DeviceId) -> u64 {
        u64::try_from(self.tally(device).doubled(Instant::now()).as_millis()).unwrap_or(u64::MAX)
    }

    pub fn presence(&self, device: DeviceId) -> PresenceCounts {
        self.tally(device).presence
    }

    /// Whether the device is "available". Meanwhile the phone does not notify its owner.
    pub fn is_available(&self, device: DeviceId) -> bool {
        self.tally(device).is_available()
    }

    /// For how long, in all, it has said so.
    pub fn available_for(&self, device: DeviceId) -> Duration {
        self.tally(device).available(Instant::now())
    }

    /// Keepalive pings the device has sent.
    pub fn keepalives(&self, device: DeviceId) -> u64 {
        self.tally(device).pings
    }

    /// Offers of the chats of before that the device has answered.
    pub fn histories_answered(&self, device: DeviceId) -> u64 {
        self.tally(device).histories
    }

    /// How often the device asked where files are to be had, which it does before it fetches one.
    pub fn media_asked(&self, device: DeviceId) -> u64 {
        self.tally(device).media_asked
    }

    /// One-time keys that are left to hand out for the device.
    pub fn one_time_keys(&self, device: DeviceId) -> usize {
        self.world.read().device(device).map_or(0, |device| device.keys.count())
    }

    /// How the device's logins were opened, oldest first.
    pub fn handshakes(&self, device: DeviceId) -> Vec<Pattern> {
        self.tally(device).handshakes
    }

    /// Sockets accepted since the start.
    pub fn sockets_opened(&self) -> u64 {
        self.world.read().sockets_opened
    }

    /// Every connection that was accepted since the start, by the address that it came from. Requests for the newest release
    /// are among them.
    pub fn accepted(&self) -> BTreeMap<IpAddr, u64> {
        self.world.read().accepted.clone()
    }

    /// Sockets open now, logged in or not.
    pub fn sockets(&self) -> usize {
        self.world.read().connections.len()
    }

    /// How often the newest version was requested.
    pub fn lookups(&self) -> u64 {
        self.world.read().lookups
    }

    /// The client versions that clients have sent, each time one opened a channel.
    pub fn sent_versions(&self) -> Vec<u32> {
        self.world.read().sent_versions.clone()
    }

    pub fn refs_handed_out(&self) -> u64 {
        self.world.read().refs_handed_out
    }

    /// Pairing codes that clients have asked for, granted or not.
    pub fn codes_requested(&self) -> u64 {
        self.world.read().codes_requested
    }

    /// Waits until the condition holds, and looks again only after something has changed.
    pub async fn wait_until(&self, deadline: Duration, holds: impl Fn(&Self) -> bool) -> Result<(), NotSo> {
        let mut changes = self.world.watch();
        let wait = async {
            loop {
                changes.borrow_and_update();
                if holds(self) {
                    return;
                }
                // The sender lives in the world, which this handle keeps alive.
                let _ = changes.changed().await;
            }
        };
        tokio::time::timeout(deadline, wait).await.map_err(|_| NotSo { waited: deadline })
    }

    /// Waits for the device's login number `logins`, counted from its linking.
    pub async fn wait_for_logins(&self, device: DeviceId, logins: u64, deadline: Duration) -> Result<(), NotSo> {
        self.wait_until(deadline, |sim| sim.logins(device) >= logins).await
    }

    /// Waits until the device has exactly so many logged-in sockets.
    pub async fn wait_for_live(&self, device: DeviceId, sockets: usize, deadline: Duration) -> Result<(), NotSo> {
        self.wait_until(deadline, |sim| sim.live_sockets(device) == sockets).await
    }
}

async fn accept(world: Arc<World>, listener: TcpListener) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = world.stop.cancelled() => return,
        };
        match accepted {
            Ok((socket, peer)) => {
                world.change(|state| *state.accepted.entry(peer.ip()).or_default() += 1);
                drop(world.tasks.spawn(serve(world.clone(), socket)));
            }
            // Out of file descriptors, most likely: there will be some again.
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}
