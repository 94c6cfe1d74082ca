use std::sync::Arc;

use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use wacore_binary::Node;

use crate::faults::Fault;
use crate::flood::Flood;
use crate::handshake::{Opened, respond};
use crate::link_code::PrimaryHello;
use crate::pairing::Ceremony;
use crate::phone_passkey::Step;
use crate::refusal::Refusal;
use crate::wire::{Stream, Wire, WireError};
use crate::world::{ORDERS_MAX, World};
use crate::{front, registration, session};

/// What others ask of a connection's task.
pub(crate) enum Order {
    /// Say this and close.
    End(Node),
    /// Send whatever waits in the device's outbox.
    Deliver,
    /// Ask whether the client is there.
    Ping(oneshot::Sender<()>),
    /// The phone vouches for this registration.
    Pair(Box<Ceremony>),
    /// A code was entered for this registration.
    Hello(Box<PrimaryHello>),
    Send(Node),
    /// Send this without an end.
    Flood(Flood),
    /// The steps of a passkey are the phone's to answer.
    Relay(mpsc::Sender<Step>),
    /// Break the TCP connection without a word.
    Cut,
}

/// One client's connection, for the code that speaks on it.
pub(crate) struct Connection {
    pub(crate) id: u64,
    pub(crate) world: Arc<World>,
    pub(crate) stream: Stream,
    pub(crate) orders: mpsc::Receiver<Order>,
}

/// Takes the connection out of the books however its task ends.
struct Registered {
    id: u64,
    world: Arc<World>,
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.world.change(|state| state.disconnect(self.id));
    }
}

/// Serves a socket to its end.
pub(crate) async fn serve(world: Arc<World>, socket: TcpStream) {
    let asks = tokio::select! {
        asks = front::asks(&socket) => asks,
        () = world.stop.cancelled() => return,
    };
    if asks {
        if !world.read().unreachable {
            // A client that disconnects meanwhile may ask again.
            let _ = front::answer(&world, socket).await;
        }
        return;
    }
    let (sender, orders) = mpsc::channel(ORDERS_MAX);
    let id = world.change(|state| state.connect(sender));
    let _registered = Registered { id, world: world.clone() };
    let stop = world.stop.clone();
    tokio::select! {
        // Whatever a client does wrong ends its connection, and that is all a server would do about it.
        _ = converse(id, world, socket, orders) => {}
        () = stop.cancelled() => {}
    }
}

async fn converse(
    id: u64,
    world: Arc<World>,
    socket: TcpStream,
    mut orders: mpsc::Receiver<Order>,
) -> Result<(), WireError> {
    if world.read().unreachable {
        return Ok(());
    }
    if world.strike(Fault::SilentSocket) {
        return silence(&mut orders).await;
    }
    let opened = tokio::select! {
        opened = open(&world, socket) => opened?,
        () = cut(&mut orders) => return Ok(()),
    };
    let Opened { stream, client_static, payload, pattern } = opened;
    let mut connection = Connection { id, world, stream, orders };
    if connection.world.strike(Fault::SilentLogin) {
        return connection.ignore().await;
    }
    if connection.world.strike(Fault::Garbage) {
        return connection.stream.send_garbage().await;
    }
    let version = payload.user_agent.as_option().and_then(|agent| agent.app_version.as_option()?.tertiary);
    let refusal = connection.world.change(|state| {
        state.sent_versions.extend(version);
        state.refusal.or((version.unwrap_or_default() < state.oldest).then_some(Refusal::Outdated))
    });
    if let Some(refusal) = refusal {
        return connection.refuse(refusal).await;
    }
    match payload.device_pairing_data.into_option() {
        Some(data) => registration::run(connection, client_static, data).await,
        None => session::run(connection, client_static, payload.username, payload.device, pattern).await,
    }
}

async fn open(world: &World, socket: TcpStream) -> Result<Opened, WireError> {
    world.faults.wait().await;
    let mut wire = Wire::accept(socket).await?;
    wire.intro().await?;
    respond(wire, &world.keys, || world.strike(Fault::RefuseIk)).await
}

async fn cut(orders: &mut mpsc::Receiver<Order>) {
    while let Some(order) = orders.recv().await {
        if matches!(order, Order::Cut) {
            return;
        }
    }
}

/// Holds the socket open, reads nothing and says nothing.
async fn silence(orders: &mut mpsc::Receiver<Order>) -> Result<(), WireError> {
    cut(orders).await;
    Ok(())
}

impl Connection {
    pub(crate) async fn send(&mut self, stanza: &Node) -> Result<(), WireError> {
        self.world.faults.wait().await;
        self.stream.send(stanza).await
    }

    /// Says this last and closes.
    pub(crate) async fn end(mut self, stanza: &Node) -> Result<(), WireError> {
        self.send(stanza).await?;
        self.stream.close().await;
        Ok(())
    }

    pub(crate) async fn refuse(self, refusal: Refusal) -> Result<(), WireError> {
        self.end(&refusal.stanza()).await
    }

    /// Goes on reading and answers nothing until either side hangs up.
    pub(crate) async fn ignore(&mut self) -> Result<(), WireError> {
        let Self { stream, orders, .. } = self;
        tokio::select! {
            ended = async { loop { stream.next().await?; } } => ended,
            () = cut(orders) => Ok(()),
        }
    }

    /// Until either side hangs up.
    pub(crate) async fn flood(&mut self, flood: Flood) -> Result<(), WireError> {
        let Self { world, stream, orders, .. } = self;
        tokio::select! {
            ended = stream.flood(flood, &world.flooded) => ended,
            () = cut(orders) => Ok(()),
        }
    }
}
