use std::collections::HashMap;
use std::time::Instant;

use tokio::sync::oneshot;
use wacore_binary::builder::NodeBuilder;
use wacore_binary::{Node, SERVER_JID};

use crate::answers::{self, Next};
use crate::connection::{Connection, Order};
use crate::device::DeviceId;
use crate::faults::Fault;
use crate::handshake::Pattern;
use crate::phone::TextError;
use crate::refusal::Refusal;
use crate::stanza::{attr, fresh_id, offline_end, request, result, stream_error, unix_now};
use crate::wire::WireError;

/// Serves a client that says it is a linked device.
pub(crate) async fn run(
    mut connection: Connection,
    noise: [u8; 32],
    username: Option<u64>,
    index: Option<u32>,
    pattern: Pattern,
) -> Result<(), WireError> {
    let index = index.and_then(|index| u16::try_from(index).ok());
    let Some(device) = username.zip(index).map(|(number, index)| DeviceId::new(number, index)) else {
        return connection.refuse(Refusal::LoggedOut).await;
    };
    let logged_in = connection.world.change(|state| state.log_in(device, noise, connection.id, pattern));
    let replaced = match logged_in {
        Ok(replaced) => replaced,
        Err(refusal) => return connection.refuse(refusal).await,
    };
    for older in replaced {
        connection.world.order(older, Order::End(stream_error(None, Some("replaced"))));
    }
    let other =
        connection.world.strike(Fault::OtherAccount).then(|| DeviceId::new(device.number() + 1, device.index()));
    connection.send(&success(other.unwrap_or(device))).await?;
    Session { connection, device, active: false, pings: HashMap::new() }.run().await
}

fn success(device: DeviceId) -> Node {
    NodeBuilder::new("success")
        .attr("t", unix_now())
        .attr("props", "27")
        .attr("companion_enc_static", "")
        .attr("creation", unix_now())
        .attr("location", "sim")
        .attr("lid", device.lid_jid())
        .build()
}

struct Session {
    connection: Connection,
    device: DeviceId,
    /// Until the client says so it gets no messages.
    active: bool,
    pings: HashMap<String, oneshot::Sender<()>>,
}

impl Session {
    async fn run(mut self) -> Result<(), WireError> {
        loop {
            tokio::select! {
                stanza = self.connection.stream.next() => {
                    let stanza = stanza?;
                    if self.connection.world.strike(Fault::SilentSession) {
                        return self.connection.ignore().await;
                    }
                    if self.handle(&stanza).await? == Next::End {
                        return self.connection.end(&stream_error(Some(401), Some("device_removed"))).await;
                    }
                }
                order = self.connection.orders.recv() => match order {
                    Some(Order::End(stanza)) => return self.connection.end(&stanza).await,
                    Some(Order::Deliver) => drop(self.deliver().await?),
                    Some(Order::Ping(answered)) => self.ping(answered).await?,
                    Some(Order::Cut) | None => return Ok(()),
                    Some(Order::Flood(flood)) => return self.connection.flood(flood).await,
                    Some(Order::Send(stanza)) => self.connection.send(&stanza).await?,
                    Some(Order::Pair(_) | Order::Hello(_) | Order::Relay(_)) => {}
                }
            }
        }
    }

    async fn handle(&mut self, stanza: &Node) -> Result<Next, WireError> {
        let id = attr(stanza, "id");
        match &*stanza.tag {
            "iq" => return self.handle_iq(stanza).await,
            "message" => self.connection.send(&ack("message", stanza)).await?,
            "notification" => self.connection.send(&ack("notification", stanza)).await?,
            "receipt" => {
                let outcome = if attr(stanza, "type") == "retry" { Err(TextError::Undecryptable) } else { Ok(()) };
                self.confirmed(&id, outcome);
                if attr(stanza, "type") == "hist_sync" {
                    self.connection.world.change(|state| {
                        if let Some(device) = state.device_mut(self.device) {
                            device.tally.histories += 1;
                        }
                    });
                }
                self.connection.send(&ack("receipt", stanza)).await?;
            }
            "ack" if !attr(stanza, "error").is_empty() => {
                self.confirmed(&id, Err(TextError::Rejected(attr(stanza, "error"))));
            }
            "presence" => self.connection.world.change(|state| {
                if let Some(device) = state.device_mut(self.device) {
                    device.tally.presence(&attr(stanza, "type"), Instant::now());
                }
            }),
            // An <ack> alone says that a message arrived, not that it was read; <ib> and <chatstate> want no answer.
            _ => {}
        }
        Ok(Next::Nothing)
    }

    async fn handle_iq(&mut self, iq: &Node) -> Result<Next, WireError> {
        if matches!(attr(iq, "type").as_str(), "result" | "error") {
            if let Some(answered) = self.pings.remove(&attr(iq, "id")) {
                let _ = answered.send(());
            }
            return Ok(Next::Nothing);
        }
        let (children, next) = self.connection.world.change(|state| answers::answer(state, self.device, iq));
        self.connection.send(&result(iq, children)).await?;
        if next == Next::Activate {
            self.active = true;
            // Without this <ib> a client waits a minute for the backlog to end.
            self.connection.send(&offline_end(0)).await?;
            self.deliver().await?;
        }
        Ok(next)
    }

    /// Sends what this socket has not sent yet.
    async fn deliver(&mut self) -> Result<(), WireError> {
        if !self.active {
            return Ok(());
        }
        let id = self.connection.id;
        let parcels: Vec<Node> = self.connection.world.change(|state| {
            let Some(device) = state.device_mut(self.device) else { return Vec::new() };
            let unsent = device.outbox.iter_mut().filter(|parcel| parcel.sent_on != Some(id));
            unsent
                .map(|parcel| {
                    parcel.sent_on = Some(id);
                    parcel.stanza.clone()
                })
                .collect()
        });
        for stanza in parcels {
            self.connection.send(&stanza).await?;
        }
        Ok(())
    }

    fn confirmed(&self, id: &str, outcome: Result<(), TextError>) {
        let parcel = self.connection.world.change(|state| {
            let outbox = &mut state.device_mut(self.device)?.outbox;
            let position = outbox.iter().position(|parcel| parcel.id == id)?;
            outbox.remove(position)
        });
        if let Some(done) = parcel.and_then(|parcel| parcel.done) {
            let _ = done.send(outcome);
        }
    }

    async fn ping(&mut self, answered: oneshot::Sender<()>) -> Result<(), WireError> {
        let id = fresh_id();
        let ping = request(&id, "urn:xmpp:ping", "get", vec![NodeBuilder::new("ping").build()]);
        self.pings.insert(id, answered);
        self.connection.send(&ping).await
    }
}

fn ack(class: &'static str, stanza: &Node) -> Node {
    let mut ack = NodeBuilder::new("ack").attr("class", class).attr("id", attr(stanza, "id"));
    let from = attr(stanza, "to");
    ack = ack.attr("from", if from.is_empty() { SERVER_JID.to_owned() } else { from });
    let kind = attr(stanza, "type");
    if !kind.is_empty() {
        ack = ack.attr("type", kind);
    }
    ack.attr("t", unix_now()).build()
}
