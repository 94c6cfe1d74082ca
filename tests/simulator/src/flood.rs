use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;

use futures::{SinkExt, StreamExt};
use tokio_websockets::{Message, WebSocketStream};
use wacore_binary::Node;
use wacore_binary::builder::NodeBuilder;

use crate::stanza::{fresh_id, request};
use crate::wire::WireError;

/// What the server sends without an end, as fast as it can.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flood {
    /// WebSocket pings. It reads nothing meanwhile.
    Pings,
    /// Stanzas that ask for an answer. It reads nothing meanwhile.
    UnreadStanzas,
    /// Stanzas that ask for an answer, and it reads the answers.
    Stanzas,
    /// Stanzas that the client has to acknowledge, and it reads the acknowledgements.
    Notifications,
}

/// As long as a ping may be.
const PING_BYTES: usize = 125;
/// Stanzas in one message.
pub(crate) const TOGETHER: usize = 32;
/// Messages between two looks at what else the task has to do.
const TURN: usize = 64;

impl Flood {
    fn reads(self) -> bool {
        matches!(self, Self::Stanzas | Self::Notifications)
    }

    /// `None`: a ping of the WebSocket.
    pub(crate) fn stanza(self) -> Option<Node> {
        let ping = || request(&fresh_id(), "urn:xmpp:ping", "get", vec![NodeBuilder::new("ping").build()]);
        match self {
            Self::Pings => None,
            Self::UnreadStanzas | Self::Stanzas => Some(ping()),
            Self::Notifications => Some(
                NodeBuilder::new("notification")
                    .attr("from", "s.whatsapp.net")
                    .attr("type", "flood")
                    .attr("id", fresh_id())
                    .attr("t", "1")
                    .build(),
            ),
        }
    }
}

pub(crate) fn ping() -> Message {
    Message::ping(vec![b'x'; PING_BYTES])
}

/// Sends what `next` makes until the socket fails, and counts the bytes that were taken for it.
pub(crate) async fn run(
    socket: &mut WebSocketStream<tokio::net::TcpStream>,
    flood: Flood,
    sent: &AtomicU64,
    mut next: impl FnMut() -> Result<Message, WireError>,
) -> Result<(), WireError> {
    std::future::poll_fn(|context| {
        for _ in 0..TURN {
            let mut idle = true;
            if let Poll::Ready(ready) = socket.poll_ready_unpin(context) {
                ready?;
                let message = next()?;
                sent.fetch_add(message.as_payload().len() as u64, Ordering::Relaxed);
                socket.start_send_unpin(message)?;
                idle = false;
            }
            if flood.reads()
                && let Poll::Ready(read) = socket.poll_next_unpin(context)
            {
                read.ok_or(WireError::Closed)??;
                idle = false;
            }
            if idle {
                return Poll::Pending;
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await
}
