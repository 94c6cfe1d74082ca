//! One WebSocket to WhatsApp, with a bound on everything that is queued for it.
//!
//! The library's own transport queues the answer to each ping without a bound, and goes on reading while it cannot
//! write. A server that pings and never reads would fill the memory. Here the next bytes are read only after the
//! answers to the bytes before are written, and while the library has few tasks and answers left.

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

use super::{in_flight::InFlight, runtime::LinkRuntime};

/// Chunks that the library has not read yet.
const UNREAD_MAX: usize = 4;
/// The largest part of a message that the library receives at once. Without this, a message of 16 MiB starts a task for
/// each of its stanzas before the tasks are counted.
const CHUNK_BYTES: usize = 4 << 10;
/// A write that WhatsApp does not read for this long ends the connection, and the library reconnects.
const UNWRITTEN_FOR_MAX: Duration = Duration::from_secs(20);
/// The close frame is optional: do not wait long for it.
const CLOSE_TIME_MAX: Duration = Duration::from_secs(1);

type Sink<S> = SplitSink<WebSocketStream<S>, Message>;

/// Makes a transport for the library. A task of the link reads the connection, and ends with the transport.
pub(super) fn start<S>(
    websocket: WebSocketStream<S>,
    runtime: &LinkRuntime,
    in_flight: InFlight,
) -> (Arc<dyn Transport>, Receiver<TransportEvent>)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (sink, stream) = websocket.split();
    let (events, unread) = bounded(UNREAD_MAX);
    // Cannot fail: the channel is empty.
    let _ = events.try_send(TransportEvent::Connected);
    let outgoing = Arc::new(Outgoing { sink: Mutex::new(Some(sink)), ended: CancellationToken::new() });
    let ended = outgoing.ended.clone().drop_guard();
    runtime.run(read(stream, outgoing.clone(), events, in_flight));
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

/// The writing half. One writer at a time.
struct Outgoing<S> {
    /// `None`: the connection has ended.
    sink: Mutex<Option<Sink<S>>>,
    ended: CancellationToken,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Outgoing<S> {
    /// Returns when this message and all earlier ones are written. A failure ends the connection.
    async fn write(&self, message: Option<Message>) -> anyhow::Result<()> {
        let mut slot = self.sink.lock().await;
        let sink = slot.as_mut().ok_or_else(|| anyhow!("the connection has ended"))?;
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
        *slot = None;
        self.ended.cancel();
        Err(failure)
    }
}

async fn read<S>(
    stream: SplitStream<WebSocketStream<S>>,
    outgoing: Arc<Outgoing<S>>,
    events: Sender<TransportEvent>,
    in_flight: InFlight,
) where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let ended = outgoing.ended.clone();
    let reason = ended.run_until_cancelled(feed(stream, &outgoing, &events, &in_flight)).await;
    // The library's loop waits for this event even if the library itself disconnected.
    let _ = events.send(TransportEvent::Disconnected(reason.unwrap_or(DisconnectReason::Unknown))).await;
}

async fn feed<S>(
    mut stream: SplitStream<WebSocketStream<S>>,
    outgoing: &Outgoing<S>,
    events: &Sender<TransportEvent>,
    in_flight: &InFlight,
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
            // Also after a ping: its answer is queued in the socket.
            if let Err(error) = outgoing.write(None).await {
                return DisconnectReason::ReadError(error.to_string());
            }
            if payload.is_empty() {
                break;
            }
            in_flight.until_low().await;
            let chunk = payload.split_to(payload.len().min(CHUNK_BYTES));
            if events.send(TransportEvent::DataReceived(chunk)).await.is_err() {
                return DisconnectReason::Unknown;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex},
        time::Instant,
    };
    use tokio_util::task::TaskTracker;
    use tokio_websockets::ClientBuilder;

    use super::*;
    use crate::whatsapp::termination::{Progress, Stage, Termination};

    const PING: [u8; 2] = [0x89, 0];

    /// A connection as the library has it, and the server's end.
    fn connected() -> (Arc<dyn Transport>, Receiver<TransportEvent>, DuplexStream) {
        let (ours, theirs) = duplex(64 << 10);
        let (tasks, termination) = (TaskTracker::new(), Arc::new(Termination::default()));
        let progress = Arc::new(Progress::new(Stage::Linked));
        let runtime = LinkRuntime::new(tasks.clone(), termination.clone(), progress, 1.0);
        let in_flight = InFlight::new(tasks, termination);
        let (transport, events) = start(ClientBuilder::new().take_over(ours), &runtime, in_flight);
        (transport, events, theirs)
    }

    async fn disconnected(events: &Receiver<TransportEvent>) {
        assert!(matches!(events.recv().await, Ok(TransportEvent::Connected)));
        assert!(matches!(events.recv().await, Ok(TransportEvent::Disconnected(_))));
    }

    /// Far more pings than the two directions hold with their answers.
    const PINGS_MAX: u64 = 1_000_000;

    /// Sends pings and reads nothing, for as long as the connection takes them.
    async fn ping(mut theirs: DuplexStream) -> u64 {
        let mut pings = 0;
        while pings < PINGS_MAX && theirs.write_all(&PING.repeat(1_000)).await.is_ok() {
            pings += 1_000;
        }
        pings
    }

    #[tokio::test(start_paused = true)]
    async fn connection_whose_pongs_are_not_read_ends() {
        let (transport, events, theirs) = connected();
        let pings = TaskTracker::new().spawn(ping(theirs));
        let begun = Instant::now();
        disconnected(&events).await;
        let after = begun.elapsed();
        assert!((UNWRITTEN_FOR_MAX..2 * UNWRITTEN_FOR_MAX).contains(&after), "{after:?}");
        transport.send(Bytes::from_static(b"frame")).await.unwrap_err();
        drop(transport);
        // As many as fit into the two directions, each of them answered with six bytes.
        let pings = pings.await.unwrap();
        assert!((10_000..60_000).contains(&pings), "{pings}");
    }

    #[tokio::test(start_paused = true)]
    async fn writer_that_is_stuck_lets_go_when_the_library_hangs_up() {
        let (transport, events, _theirs) = connected();
        let writer = transport.clone();
        let written = TaskTracker::new().spawn(async move { while writer.send(vec![0; 4096].into()).await.is_ok() {} });
        tokio::time::sleep(UNWRITTEN_FOR_MAX / 2).await;
        let begun = Instant::now();
        transport.disconnect().await;
        written.await.unwrap();
        disconnected(&events).await;
        assert!(begun.elapsed() <= CLOSE_TIME_MAX, "{:?}", begun.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn long_message_reaches_the_library_in_parts() {
        let (_transport, events, mut theirs) = connected();
        let payload: Vec<u8> = (0..100_000_u32).map(|n| n as u8).collect();
        let mut frame = vec![0x82, 127];
        frame.extend_from_slice(&(payload.len() as u64).to_be_bytes());
        frame.extend_from_slice(&payload);
        frame.extend_from_slice(&PING);
        TaskTracker::new().spawn(async move {
            theirs.write_all(&frame).await.unwrap();
            let mut pong = [0; 6];
            theirs.read_exact(&mut pong).await.unwrap();
            assert_eq!(pong[0], 0x8a);
        });
        assert!(matches!(events.recv().await, Ok(TransportEvent::Connected)));
        let mut read = Vec::new();
        loop {
            match events.recv().await.unwrap() {
                TransportEvent::DataReceived(part) => {
                    assert!(part.len() <= CHUNK_BYTES);
                    read.extend_from_slice(&part);
                }
                other => {
                    assert!(matches!(other, TransportEvent::Disconnected(_)));
                    break;
                }
            }
        }
        assert_eq!(read, payload);
    }
}
