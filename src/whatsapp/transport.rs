//! The library's access to the network. It connects only while this process holds the lease. Before the first login no
//! frame is sent before the data that a restart needs is durable.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use bytes::Bytes;
use tracing::debug;
use whatsapp_rust::{
    anyhow::{self, anyhow},
    async_channel::Receiver,
    transport::{Transport, TransportEvent, TransportFactory},
};

use super::{
    connection,
    dial::ProxyError,
    in_flight::InFlight,
    inbox::InboxEvent,
    settings::{OutgoingFrame, Settings},
    shared::Shared,
    socket::Sockets,
    termination::Stage,
};
use crate::proxy::Route;

/// WhatsApp counts as unreachable after so many connections without an answer.
const FRUITLESS_MAX: u32 = 2;

/// For this long after the lease was proven no other instance can have taken over the tenant: an owner closes its links
/// that long before it counts as dead.
const PROOF_HOLDS: Duration = Duration::from_secs(2);
/// A connection's first frames are its handshake; one of them logs the device in.
const HANDSHAKE_FRAMES: u64 = 2;

/// What an outage was last reported as.
const NOTHING: u8 = 0;
const WHATSAPP: u8 = 1;
const PROXY: u8 = 2;

/// Counts connections since WhatsApp's last useful answer.
#[derive(Default)]
pub(super) struct Dials {
    fruitless: AtomicU32,
    /// The last of them did not get past the proxy.
    at_proxy: AtomicBool,
    reported: AtomicU8,
}

impl Dials {
    /// WhatsApp has answered.
    pub fn reached(&self) {
        self.fruitless.store(0, Ordering::Relaxed);
        self.reported.store(NOTHING, Ordering::Relaxed);
    }

    /// Once per outage, and again if its cause is another one.
    fn outage(&self) -> Option<InboxEvent> {
        if self.fruitless.load(Ordering::Relaxed) < FRUITLESS_MAX {
            return None;
        }
        let at_proxy = self.at_proxy.load(Ordering::Relaxed);
        let (cause, event) =
            if at_proxy { (PROXY, InboxEvent::ProxyFailed) } else { (WHATSAPP, InboxEvent::Unreachable) };
        (self.reported.swap(cause, Ordering::Relaxed) != cause).then_some(event)
    }
}

#[derive(Clone)]
pub(super) struct Dialer {
    shared: Shared,
    sockets: Sockets,
    route: Route,
    dials: Arc<Dials>,
    in_flight: InFlight,
    outgoing: Outgoing,
}

impl Dialer {
    pub fn new(shared: &Shared, (sockets, route): (Sockets, Route), dials: Arc<Dials>, in_flight: InFlight) -> Self {
        let outgoing = Outgoing::new(&shared.settings);
        Self { shared: shared.clone(), sockets, route, dials, in_flight, outgoing }
    }
}

#[derive(Clone)]
struct Outgoing {
    hook: Option<OutgoingFrame>,
    frames: Arc<AtomicU64>,
}

impl Outgoing {
    fn new(settings: &Settings) -> Self {
        Self { hook: settings.outgoing_frame.clone(), frames: Arc::default() }
    }

    fn frame(&self) {
        if let Some(hook) = &self.hook {
            hook(self.frames.fetch_add(1, Ordering::Relaxed) + 1);
        }
    }
}

/// Counts a connection as fruitless even if the library cancels it.
struct Attempt<'a> {
    dialer: &'a Dialer,
    opened: bool,
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if !self.opened
            && let Some(event) = self.dialer.dials.outage()
        {
            self.dialer.shared.inbox.push(event);
        }
    }
}

#[async_trait]
impl TransportFactory for Dialer {
    async fn create_transport(&self) -> anyhow::Result<(Arc<dyn Transport>, Receiver<TransportEvent>)> {
        // The library reconnects by itself for days. Without this check, a process that was suspended would end the
        // link of the tenant's new owner.
        let proven = Instant::now();
        if let Err(error) = self.shared.keys.prove_lease().await {
            return Err(anyhow!("not dialling: {error}"));
        }
        if self.shared.termination.is_terminated() {
            return Err(anyhow!("not dialling: the link has ended"));
        }
        self.shared.inbox.push(InboxEvent::Redials);
        // The connections before may have opened without a useful answer.
        if let Some(event) = self.dials.outage() {
            self.shared.inbox.push(event);
        }
        self.dials.fruitless.fetch_add(1, Ordering::Relaxed);
        let mut attempt = Attempt { dialer: self, opened: false };
        let opened = self.sockets.open(&self.shared.settings.url, &self.route).await;
        let at_proxy = opened.as_ref().err().and_then(|error| error.downcast_ref::<ProxyError>());
        self.dials.at_proxy.store(at_proxy.is_some(), Ordering::Relaxed);
        if let Some(error) = at_proxy {
            debug!(tenant = %self.shared.lease.tenant(), %error, "no connection to whatsapp, the library redials");
        }
        let websocket = opened?;
        attempt.opened = true;
        let (inner, events) = connection::start(websocket, &self.shared.runtime, self.in_flight.clone());
        let frames = Frames {
            inner,
            proven,
            sent: AtomicU64::new(0),
            shared: self.shared.clone(),
            outgoing: self.outgoing.clone(),
        };
        Ok((Arc::new(frames), events))
    }
}

struct Frames {
    inner: Arc<dyn Transport>,
    /// When the lease was last proven.
    proven: Instant,
    sent: AtomicU64,
    shared: Shared,
    outgoing: Outgoing,
}

#[async_trait]
impl Transport for Frames {
    /// Until the first login, saves before it sends: the frame that makes the phone list the device must not be sent
    /// before a restart could log in with it. Holds no lock of the library: the device is read from its snapshot, which
    /// every change replaces before the change's own frame is built.
    async fn send(&self, data: Bytes) -> anyhow::Result<()> {
        if self.shared.progress.stage() < Stage::Linked
            && let Err(error) = self.shared.keys.save_newest().await
        {
            return Err(anyhow!("not sent: {error}"));
        }
        // The process may also have been suspended between the connection and the login.
        if self.sent.fetch_add(1, Ordering::Relaxed) < HANDSHAKE_FRAMES
            && self.proven.elapsed() >= PROOF_HOLDS
            && let Err(error) = self.shared.keys.prove_lease().await
        {
            return Err(anyhow!("not logging in: {error}"));
        }
        if self.shared.termination.stop().is_cancelled() {
            return Err(anyhow!("not sent: the link has ended"));
        }
        self.outgoing.frame();
        self.inner.send(data).await
    }

    async fn disconnect(&self) {
        self.inner.disconnect().await;
    }
}
