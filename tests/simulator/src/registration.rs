use std::collections::VecDeque;

use tokio::sync::{mpsc, oneshot};
use wacore_binary::Node;
use wacore_binary::builder::NodeBuilder;
use waproto::buffa::Message as _;
use waproto::whatsapp::DeviceProps;
use waproto::whatsapp::client_payload::DevicePairingRegistrationData;

use crate::account::Device;
use crate::connection::{Connection, Order};
use crate::faults::Fault;
use crate::keys::KeyDirectory;
use crate::link_code::{self, PrimaryHello};
use crate::message::share_app_state_key;
use crate::pairing::Ceremony;
use crate::phone::ScanError;
use crate::phone_passkey::{STEPS, Step};
use crate::refusal::CodeRefusal;
use crate::stanza::{attr, bytes, fresh_id, request, result, stream_error};
use crate::tally::Tally;
use crate::wire::WireError;
use crate::world::Registrant;

/// Serves a client that has no account yet: shows it refs, and links it when a phone has scanned one or has
/// entered the client's code.
pub(crate) async fn run(
    mut connection: Connection,
    noise: [u8; 32],
    data: DevicePairingRegistrationData,
) -> Result<(), WireError> {
    let keys = KeyDirectory::from_registration(&data);
    let name = device_name(&data);
    let registrant = Registrant { noise, identity: keys.identity().to_vec() };
    let refs = connection.world.change(|state| state.hand_out_refs(connection.id, &registrant));
    let refs = refs.into_iter().map(|text| NodeBuilder::new("ref").bytes(text.into_bytes()).build());
    let pair_device = NodeBuilder::new("pair-device").children(refs).build();
    connection.send(&request(&fresh_id(), "md", "set", vec![pair_device])).await?;

    let mut ceremony: Option<Box<Ceremony>> = None;
    let mut hello: Option<Box<PrimaryHello>> = None;
    let mut relay: Option<mpsc::Sender<Step>> = None;
    loop {
        tokio::select! {
            stanza = connection.stream.next() => {
                let stanza = stanza?;
                let answers = ceremony.as_ref().is_some_and(|ceremony| ceremony.request_id == attr(&stanza, "id"));
                if let Some(ceremony) = ceremony.take_if(|_| answers) {
                    match countersigned(&ceremony, &stanza) {
                        Ok(signed_identity) => {
                            return link(connection, *ceremony, noise, keys, (name, signed_identity)).await;
                        }
                        // The client said no; the socket stays, and with it the other refs.
                        Err(refused) => drop(ceremony.outcome.send(Err(refused))),
                    }
                } else if let Some(code) = stanza.get_optional_child("link_code_companion_reg") {
                    let answer = link_code::answer(&connection, &registrant, &stanza, code, &mut hello);
                    connection.send(&answer).await?;
                } else if let Some(step) = STEPS.iter().find_map(|tag| stanza.get_optional_child(tag)) {
                    let answer = relayed(relay.as_ref(), &stanza, step).await;
                    connection.send(&answer).await?;
                } else if stanza.tag == "iq" && attr(&stanza, "type") == "get" {
                    connection.send(&result(&stanza, vec![])).await?;
                }
            }
            order = connection.orders.recv() => match order {
                Some(Order::Pair(next)) => {
                    connection.send(&next.pair_success()).await?;
                    ceremony = Some(next);
                }
                Some(Order::Hello(next)) => {
                    connection.send(&next.notification()).await?;
                    hello = Some(next);
                }
                Some(Order::Relay(steps)) => relay = Some(steps),
                Some(Order::Send(stanza)) => connection.send(&stanza).await?,
                Some(Order::End(stanza)) => return connection.end(&stanza).await,
                Some(Order::Cut) | None => return Ok(()),
                Some(Order::Deliver | Order::Ping(_) | Order::Flood(_)) => {}
            }
        }
    }
}

/// What the phone shows in its list of linked devices; empty if the client named itself in no readable way.
fn device_name(data: &DevicePairingRegistrationData) -> String {
    let props = data.device_props.as_ref().and_then(|props| DeviceProps::decode_from_slice(props).ok());
    props.and_then(|props| props.os).unwrap_or_default()
}

async fn relayed(phone: Option<&mpsc::Sender<Step>>, iq: &Node, step: &Node) -> Node {
    let (answer, answered) = oneshot::channel();
    let step = Step { child: step.clone(), answer };
    let asked = match phone {
        Some(phone) => phone.send(step).await.is_ok(),
        None => false,
    };
    let answer =
        if asked { answered.await.unwrap_or(Err(CodeRefusal::Forbidden)) } else { Err(CodeRefusal::Forbidden) };
    answer.map_or_else(|refusal| refusal.to(iq), |children| result(iq, children))
}

/// The device's signed identity, if the answer to `pair-success` holds one and its signature is right.
fn countersigned(ceremony: &Ceremony, answer: &Node) -> Result<Vec<u8>, ScanError> {
    if attr(answer, "type") == "error" {
        let error = answer.get_optional_child("error");
        return Err(ScanError::Refused(error.map(|error| attr(error, "text")).unwrap_or_default()));
    }
    let sign = answer.get_optional_child("pair-device-sign");
    let identity = bytes(sign.and_then(|sign| sign.get_optional_child("device-identity")));
    if ceremony.statement.countersigned(&identity) { Ok(identity) } else { Err(ScanError::BadDeviceSignature) }
}

async fn link(
    mut connection: Connection,
    ceremony: Ceremony,
    noise: [u8; 32],
    keys: KeyDirectory,
    (name, signed_identity): (String, Vec<u8>),
) -> Result<(), WireError> {
    let id = ceremony.device;
    let device = Device {
        linked: true,
        noise,
        signed_identity,
        name,
        keys,
        outbox: VecDeque::new(),
        live: Vec::new(),
        tally: Tally::default(),
    };
    connection.world.change(|state| {
        if let Some(account) = state.accounts.get_mut(&id.number()) {
            account.devices.insert(id.index(), device);
        }
    });
    // Waits in the outbox before the device first logs in, as the real phone's share does.
    share_app_state_key(&connection.world, id).await;
    let _ = ceremony.outcome.send(Ok(id));
    if connection.world.strike(Fault::SilentPairing) {
        return connection.ignore().await;
    }
    connection.end(&stream_error(Some(515), None)).await
}
