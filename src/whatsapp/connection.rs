//! One WebSocket to WhatsApp, and a bound on all that waits in it.
//!
//! The library's own transport queues the answer to each ping without a bound, and reads on while nothing can be
//! written. A server that pings and never reads would fill the memory. Here the next bytes are read only when what the
//! ones before caused is written, and when the library has few tasks and answers left to do.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{
    SinkExt as _, StreamExt as _,
    stream::{SplitSink, SplitStream},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::Mutex,
    time::timeout,
};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_websockets::{Message, WebSocketStream};
use whatsapp_rust::{
    anyhow::{self, anyhow},
    async_channel::{Receiver, Sender, bounded},
    transport::{Transport, TransportEvent},
    wacore::net::DisconnectReason,
};

use super::{backlog::Backlog, runtime::LinkRuntime};

/// Chunks that the library has not read yet.
const UNREAD_MAX: usize = 4;
/// So much of a message the library is given at once. Without this one message of 16 MiB makes as many tasks as it has
/// stanzas before anything is looked at.
const CHUNK_BYTES: usize = 4 << 10;
/// For so long WhatsApp may leave unread what we write. Then the connection ends, and the library dials anew.
const UNWRITTEN_FOR_MAX: Duration = Duration::from_secs(20);
/// A close frame is a courtesy.
const CLOSE_TIME_MAX: Duration = Duration::from_secs(1);

type Sink<S> = SplitSink<WebSocketStream<S>, Message>;

/// Hands a connection to the library. What reads it is a task of the link, and ends with the transport.
pub(super) fn start<S>(
    websocket: WebSocketStream<S>,
    runtime: &LinkRuntime,
    backlog: Backlog,
) -> (Arc<dyn Transport>, Receiver<TransportEvent>)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (sink, stream) = websocket.split();
    let (events, unread) = bounded(UNREAD_MAX);
    // There is room.
    let _ = events.try_send(TransportEvent::Connected);
    let outgoing = Arc::new(Outgoing { sink: Mutex::new(Some(sink)), ended: CancellationToken::new() });
    let ended = outgoing.ended.clone().drop_guard();
    runtime.run(read(stream, outgoing.clone(), events, backlog));
    (Arc::new(Connection { outgoing, _ended: ended }), unread)
}

struct Connection<S> {
    outgoing: Arc<Outgoing<S>>,
    _ended: DropGuard,
}

#[async_trait]
impl<S: AsyncRead + AsyncWrite + Send + Unpin + 'static> Transport for Connection<S> {
    async fn send(&self, data: Bytes) -> anyhow::Result<()> {
        self.outgoing.write(Some(Message::binary(data))).await
    }

    async fn disconnect(&self) {
        self.outgoing.ended.cancel();
        if let Some(mut sink) = self.outgoing.sink.lock().await.take() {
            let _ = timeout(CLOSE_TIME_MAX, sink.send(Message::close(None, ""))).await;
        }
    }
}

/// The half that is written, by one writer at a time.
struct Outgoing<S> {
    /// `None`: nothing can be written any more.
    sink: Mutex<Option<Sink<S>>>,
    ended: CancellationToken,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Outgoing<S> {
    /// Returns when this, and all that waited before it, is written. A failure ends the connection.
    async fn write(&self, message: Option<Message>) -> anyhow::Result<()> {
        let mut place = self.sink.lock().await;
        let sink = place.as_mut().ok_or_else(|| anyhow!("the connection has ended"))?;
        let written = async {
            match message {
                Some(message) => sink.send(message).await,
                None => sink.flush().await,
            }
        };
        let failure = tokio::select! {
            biased;
            () = self.ended.cancelled() => anyhow!("the connection has ended"),
            written = timeout(UNWRITTEN_FOR_MAX, written) => match written {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(error)) => error.into(),
                Err(_) => anyhow!("whatsapp does not read"),
            },
        };
        *place = None;
        self.ended.cancel();
        Err(failure)
    }
}

async fn read<S>(
    stream: SplitStream<WebSocketStream<S>>,
    outgoing: Arc<Outgoing<S>>,
    events: Sender<TransportEvent>,
    backlog: Backlog,
) where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let ended = outgoing.ended.clone();
    let reason = ended.run_until_cancelled(feed(stream, &outgoing, &events, &backlog)).await;
    // The library's loop waits for this word, also where it was the library that hung up.
    let _ = events.send(TransportEvent::Disconnected(reason.unwrap_or(DisconnectReason::Unknown))).await;
}

async fn feed<S>(
    mut stream: SplitStream<WebSocketStream<S>>,
    outgoing: &Outgoing<S>,
    events: &Sender<TransportEvent>,
    backlog: &Backlog,
) -> DisconnectReason
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    loop {
        let message = match stream.next().await {
            Some(Ok(message)) => message,
            Some(Err(error)) => return DisconnectReason::ReadError(error.to_string()),
            None => return DisconnectReason::StreamEnded,
        };
        if let Some((code, reason)) = message.as_close() {
            return DisconnectReason::ServerClose { code: Some(u16::from(code)), reason: reason.to_owned() };
        }
        let mut payload = if message.is_binary() { Bytes::from(message.into_payload()) } else { Bytes::new() };
        loop {
            // After a ping too: its answer waits in the socket.
            if let Err(error) = outgoing.write(None).await {
                return DisconnectReason::ReadError(error.to_string());
            }
            if payload.is_empty() {
                break;
            }
            backlog.small().await;
            let chunk = payload.split_to(payload.len().min(CHUNK_BYTES));
            if events.send(TransportEvent::DataReceived(chunk)).await.is_err() {
                return DisconnectReason::Unknown;
            }
        }
    }
}
