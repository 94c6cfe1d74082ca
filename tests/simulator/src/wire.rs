use std::sync::atomic::AtomicU64;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use futures::{SinkExt, StreamExt};
use thiserror::Error;
use tokio::net::TcpStream;
use tokio_websockets::{Message, ServerBuilder, WebSocketStream};
use wacore_binary::consts::WA_CONN_HEADER;
use wacore_binary::util::unpack_bytes;
use wacore_binary::{BinaryError, Node, OwnedNodeRef, marshal};
use wacore_noise::{HandshakeError, NoiseCipher, NoiseError};

use crate::flood::{self, Flood};

const LENGTH_BYTES: usize = 3;
/// What a client may send before its intro, so that the front end can route it: `ED 00 01`, a length, that many bytes.
const ROUTING_INTRO: [u8; 4] = [b'E', b'D', 0, 1];

#[derive(Debug, Error)]
pub(crate) enum WireError {
    #[error("the peer closed the socket")]
    Closed,
    #[error("websocket failed")]
    WebSocket(#[from] tokio_websockets::Error),
    #[error("noise failed")]
    Noise(#[from] NoiseError),
    #[error("handshake failed")]
    Handshake(#[from] HandshakeError),
    #[error("stanza is not binary XML")]
    Stanza(#[from] BinaryError),
    #[error("protobuf is malformed")]
    Protobuf(#[from] waproto::buffa::DecodeError),
    #[error("protocol violated: {0}")]
    Protocol(&'static str),
}

/// Length-prefixed frames over one WebSocket. A WebSocket message may carry several frames, or a part of one.
pub(crate) struct Wire {
    socket: WebSocketStream<TcpStream>,
    unread: BytesMut,
}

impl Wire {
    pub(crate) async fn accept(stream: TcpStream) -> Result<Self, WireError> {
        // Request and answer are small packets that wait for each other, which is where Nagle costs 40 ms a time.
        let _ = stream.set_nodelay(true);
        let (_, socket) = ServerBuilder::new().accept(stream).await?;
        Ok(Self { socket, unread: BytesMut::new() })
    }

    /// Reads past the optional routing intro and the protocol header.
    pub(crate) async fn intro(&mut self) -> Result<(), WireError> {
        self.fill(WA_CONN_HEADER.len()).await?;
        if self.unread.starts_with(&ROUTING_INTRO) {
            self.unread.advance(ROUTING_INTRO.len());
            self.frame().await?;
            self.fill(WA_CONN_HEADER.len()).await?;
        }
        if !self.unread.starts_with(&WA_CONN_HEADER) {
            return Err(WireError::Protocol("unknown intro"));
        }
        self.unread.advance(WA_CONN_HEADER.len());
        Ok(())
    }

    /// Cancel safe: bytes that arrived stay in `unread`.
    pub(crate) async fn frame(&mut self) -> Result<BytesMut, WireError> {
        self.fill(LENGTH_BYTES).await?;
        let [high, middle, low] = [self.unread[0], self.unread[1], self.unread[2]];
        let length = u32::from_be_bytes([0, high, middle, low]) as usize;
        self.fill(LENGTH_BYTES + length).await?;
        self.unread.advance(LENGTH_BYTES);
        Ok(self.unread.split_to(length))
    }

    async fn fill(&mut self, needed: usize) -> Result<(), WireError> {
        while self.unread.len() < needed {
            let message = self.socket.next().await.ok_or(WireError::Closed)??;
            if message.is_close() {
                return Err(WireError::Closed);
            }
            if message.is_binary() {
                self.unread.extend_from_slice(message.as_payload());
            }
        }
        Ok(())
    }

    pub(crate) async fn send(&mut self, payload: &[u8]) -> Result<(), WireError> {
        Ok(self.socket.send(Message::binary(framed(payload)?)).await?)
    }

    /// Says goodbye and waits for the peer to hang up, so that what was sent last is read before the socket is gone.
    pub(crate) async fn close(mut self) {
        const PATIENCE: Duration = Duration::from_secs(2);
        if self.socket.send(Message::close(None, "")).await.is_ok() {
            let _ = tokio::time::timeout(PATIENCE, async { while let Some(Ok(_)) = self.socket.next().await {} }).await;
        }
    }
}

fn framed(payload: &[u8]) -> Result<BytesMut, WireError> {
    let length = u32::try_from(payload.len()).ok().filter(|length| *length < 1 << 24);
    let length = length.ok_or(WireError::Protocol("frame too long"))?.to_be_bytes();
    let mut frame = BytesMut::with_capacity(LENGTH_BYTES + payload.len());
    frame.extend_from_slice(&length[1..]);
    frame.extend_from_slice(payload);
    Ok(frame)
}

/// Stanzas over an open Noise channel.
pub(crate) struct Stream {
    wire: Wire,
    outgoing: NoiseCipher,
    incoming: NoiseCipher,
    sent: u32,
    received: u32,
}

impl Stream {
    pub(crate) fn new(wire: Wire, outgoing: NoiseCipher, incoming: NoiseCipher) -> Self {
        Self { wire, outgoing, incoming, sent: 0, received: 0 }
    }

    /// Cancel safe: nothing is awaited once the frame is complete.
    pub(crate) async fn next(&mut self) -> Result<Node, WireError> {
        let mut frame = self.wire.frame().await?;
        self.incoming.decrypt_in_place_with_counter(self.received, &mut frame)?;
        self.received += 1;
        Ok(OwnedNodeRef::new(unpack_bytes(frame)?)?.to_owned_node())
    }

    pub(crate) async fn send(&mut self, stanza: &Node) -> Result<(), WireError> {
        let frame = encrypted(&self.outgoing, &mut self.sent, marshal(stanza)?)?;
        self.wire.send(&frame).await
    }

    /// Until the client hangs up.
    pub(crate) async fn flood(&mut self, flood: Flood, bytes: &AtomicU64) -> Result<(), WireError> {
        let Self { wire, outgoing, sent, .. } = self;
        // Made once: making them takes longer than the client takes to read them.
        let stanza = flood.stanza().map(|stanza| marshal(&stanza)).transpose()?;
        flood::run(&mut wire.socket, flood, bytes, || {
            let Some(stanza) = &stanza else { return Ok(flood::ping()) };
            let frames: Result<Vec<_>, WireError> =
                (0..flood::TOGETHER).map(|_| framed(&encrypted(outgoing, sent, stanza.clone())?)).collect();
            Ok(Message::binary(frames?.concat()))
        })
        .await
    }

    /// A frame that no key opens.
    pub(crate) async fn send_garbage(&mut self) -> Result<(), WireError> {
        self.wire.send(&rand::random::<[u8; 64]>()).await
    }

    pub(crate) async fn close(self) {
        self.wire.close().await;
    }
}

fn encrypted(cipher: &NoiseCipher, sent: &mut u32, mut frame: Vec<u8>) -> Result<Vec<u8>, WireError> {
    cipher.encrypt_in_place_with_counter(*sent, &mut frame)?;
    *sent += 1;
    Ok(frame)
}
