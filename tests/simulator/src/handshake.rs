use wacore_binary::consts::{NOISE_PATTERN_IK, NOISE_PATTERN_XX, NOISE_PATTERN_XXFALLBACK, WA_CONN_HEADER};
use wacore_libsignal::protocol::KeyPair;
use wacore_noise::NoiseHandshake;
use waproto::buffa::{Message, MessageField};
use waproto::whatsapp as wa;
use waproto::whatsapp::handshake_message::{ClientHello, ServerHello};

use crate::certificate::{ServerKeys, raw};
use crate::wire::{Stream, Wire, WireError};

/// How a channel was opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pattern {
    /// The client knew nothing of the server: the first connections of a link.
    Xx,
    /// The client knew the server's key from before and logged in with its first message.
    Ik,
    /// The client tried IK, the server refused it, and both fell back without a new socket.
    XxFallback,
}

/// The open channel and the client's payload from the handshake.
pub(crate) struct Opened {
    pub(crate) stream: Stream,
    pub(crate) client_static: [u8; 32],
    pub(crate) payload: wa::ClientPayload,
    pub(crate) pattern: Pattern,
}

/// Plays the responder of the Noise handshake.
///
/// `refuse_ik` is asked only when the client tries IK.
pub(crate) async fn respond(
    mut wire: Wire,
    keys: &ServerKeys,
    refuse_ik: impl FnOnce() -> bool,
) -> Result<Opened, WireError> {
    let message = wa::HandshakeMessage::decode_from_slice(&wire.frame().await?)?;
    let hello = message.client_hello.into_option().ok_or(WireError::Protocol("no client hello"))?;
    let tries_ik = hello.r#static.is_some();
    if tries_ik && !refuse_ik() {
        // A client that cached another server's key fails here, which is what the fallback is for.
        if let Ok(zero_rtt) = read_ik(&hello, keys) {
            return finish_ik(wire, keys, zero_rtt).await;
        }
    }
    let pattern = if tries_ik { Pattern::XxFallback } else { Pattern::Xx };
    respond_xx(wire, keys, ephemeral(&hello)?, pattern).await
}

struct ZeroRtt {
    noise: NoiseHandshake,
    client_ephemeral: [u8; 32],
    client_static: [u8; 32],
    payload: wa::ClientPayload,
}

fn read_ik(hello: &ClientHello, keys: &ServerKeys) -> Result<ZeroRtt, WireError> {
    let client_ephemeral = ephemeral(hello)?;
    let mut noise = NoiseHandshake::new(NOISE_PATTERN_IK, &WA_CONN_HEADER)?;
    noise.authenticate(&keys.noise_public());
    noise.authenticate(&client_ephemeral);
    noise.mix_shared_secret(keys.noise_private(), &client_ephemeral)?;
    let client_static = key(&noise.decrypt(hello.r#static.as_deref().unwrap_or_default())?)?;
    noise.mix_shared_secret(keys.noise_private(), &client_static)?;
    let payload = noise.decrypt(hello.payload.as_deref().unwrap_or_default())?;
    let payload = wa::ClientPayload::decode_from_slice(&payload)?;
    Ok(ZeroRtt { noise, client_ephemeral, client_static, payload })
}

async fn finish_ik(mut wire: Wire, keys: &ServerKeys, zero_rtt: ZeroRtt) -> Result<Opened, WireError> {
    let ZeroRtt { mut noise, client_ephemeral, client_static, payload } = zero_rtt;
    let ours = KeyPair::generate(&mut rand::rng());
    noise.authenticate(&raw(&ours));
    noise.mix_shared_secret(ours.private_key.serialize(), &client_ephemeral)?;
    noise.mix_shared_secret(ours.private_key.serialize(), &client_static)?;
    let chain = noise.encrypt(keys.chain())?;
    let hello = ServerHello { ephemeral: Some(raw(&ours).to_vec()), payload: Some(chain), ..Default::default() };
    send_hello(&mut wire, hello).await?;
    // The keys come out in the initiator's order: its writing key is our reading key.
    let (theirs, ours) = noise.finish()?;
    Ok(Opened { stream: Stream::new(wire, ours, theirs), client_static, payload, pattern: Pattern::Ik })
}

async fn respond_xx(
    mut wire: Wire,
    keys: &ServerKeys,
    client_ephemeral: [u8; 32],
    pattern: Pattern,
) -> Result<Opened, WireError> {
    let name = if pattern == Pattern::XxFallback { NOISE_PATTERN_XXFALLBACK } else { NOISE_PATTERN_XX };
    let mut noise = NoiseHandshake::new(name, &WA_CONN_HEADER)?;
    noise.authenticate(&client_ephemeral);
    let ours = KeyPair::generate(&mut rand::rng());
    noise.authenticate(&raw(&ours));
    noise.mix_shared_secret(ours.private_key.serialize(), &client_ephemeral)?;
    let sealed_static = noise.encrypt(&keys.noise_public())?;
    noise.mix_shared_secret(keys.noise_private(), &client_ephemeral)?;
    let chain = noise.encrypt(keys.chain())?;
    let hello = ServerHello {
        ephemeral: Some(raw(&ours).to_vec()),
        r#static: Some(sealed_static),
        payload: Some(chain),
        ..Default::default()
    };
    send_hello(&mut wire, hello).await?;

    let message = wa::HandshakeMessage::decode_from_slice(&wire.frame().await?)?;
    let finish = message.client_finish.into_option().ok_or(WireError::Protocol("no client finish"))?;
    let client_static = key(&noise.decrypt(finish.r#static.as_deref().unwrap_or_default())?)?;
    noise.mix_shared_secret(ours.private_key.serialize(), &client_static)?;
    let payload = noise.decrypt(finish.payload.as_deref().unwrap_or_default())?;
    let payload = wa::ClientPayload::decode_from_slice(&payload)?;
    let (theirs, ours) = noise.finish()?;
    Ok(Opened { stream: Stream::new(wire, ours, theirs), client_static, payload, pattern })
}

async fn send_hello(wire: &mut Wire, hello: ServerHello) -> Result<(), WireError> {
    let message = wa::HandshakeMessage { server_hello: MessageField::some(hello), ..Default::default() };
    wire.send(&message.encode_to_vec()).await
}

fn ephemeral(hello: &ClientHello) -> Result<[u8; 32], WireError> {
    key(hello.ephemeral.as_deref().unwrap_or_default())
}

fn key(bytes: &[u8]) -> Result<[u8; 32], WireError> {
    bytes.try_into().map_err(|_| WireError::Protocol("a key is not 32 bytes"))
}
