use std::{
    future::poll_fn,
    io, mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use serde_json::json;
use tokio::time::{Instant, Sleep, sleep};

use super::{
    chunk::Chunk,
    frame::{Frame, Name},
    handle::Order,
    socket::Socket,
    sse_encoder::SseEncoder,
    stream_limit::StreamSlot,
};
use crate::{
    clock::Timestamp,
    http::{self, connections::Held},
    store::Subscription,
};

/// One open stream. Its own task writes it to its socket, see `src/http/detach.rs`.
pub struct EventStream {
    /// The first write, behind the head of the answer.
    pub opening: String,
    /// The second write, if the first one does not hold the whole status.
    pub present: String,
    pub subscription: Subscription,
    pub encoder: SseEncoder,
    pub token_ends_at: Timestamp,
    pub context: Arc<http::Context>,
    /// Freed when the stream is dropped.
    pub slot: StreamSlot,
}

/// Time for a proxy to read the first write alone: two writes that it reads at once are one large write to it.
const SECOND_WRITE_AFTER: Duration = Duration::from_millis(50);

/// Bounds a timer: a token may be valid until the end of time, and tokio's timers are not.
const SLEEP_MAX: Duration = Duration::from_secs(24 * 3600);

/// What a stream does next.
enum Next {
    Write(Chunk),
    /// The last write of the stream.
    Last(Chunk),
    End,
    /// Ends without a write: the client has disconnected.
    Gone,
}

impl EventStream {
    /// Writes until the token ends, the instance drains, or the client disconnects or falls behind.
    #[expect(
        clippy::manual_async_fn,
        reason = "an async fn keeps its arguments twice, and this one is kept by each stream"
    )]
    pub fn write_to(mut self, mut socket: Socket, held: Option<Held>, head: Bytes) -> impl Future<Output = ()> + Send {
        async move {
            if let Err(error) = self.write(&mut socket, head).await {
                tracing::debug!(%error, "a stream broke off");
            }
            drop(socket);
            // The descriptor is free now.
            drop(held);
        }
    }

    async fn write(&mut self, socket: &mut Socket, head: Bytes) -> io::Result<()> {
        let opening = Chunk::new(&mem::take(&mut self.opening));
        let first = Bytes::from([head, opening.framed(socket.is_chunked())].concat());
        drop(opening);
        let mut token_end = Box::pin(sleep(Duration::ZERO));
        if !self.send(socket, first, &mut token_end).await? {
            return Ok(());
        }
        if !self.present.is_empty() {
            token_end.as_mut().reset(Instant::now() + SECOND_WRITE_AFTER);
            token_end.as_mut().await;
            let present = Chunk::new(&mem::take(&mut self.present)).framed(socket.is_chunked());
            if !self.send(socket, present, &mut token_end).await? {
                return Ok(());
            }
        }
        token_end.as_mut().reset(Instant::now() + self.token_left());
        loop {
            let (chunk, is_last) = match poll_fn(|cx| self.poll_next(socket, token_end.as_mut(), cx)).await {
                Next::Write(chunk) => (chunk, false),
                Next::Last(chunk) => (chunk, true),
                Next::End => (Chunk::default(), true),
                Next::Gone => return Ok(()),
            };
            let is_written = self.send(socket, chunk.framed(socket.is_chunked()), &mut token_end).await?;
            if is_last && is_written {
                socket.end_body();
            }
            if is_last || !is_written {
                return Ok(());
            }
        }
    }

    fn poll_next(&mut self, socket: &mut Socket, mut token_end: Pin<&mut Sleep>, cx: &mut Context<'_>) -> Poll<Next> {
        // The end comes first: a busy stream must not outlive its token.
        while token_end.as_mut().poll(cx).is_ready() {
            if self.is_token_over() {
                return Poll::Ready(self.end_with_token());
            }
            token_end.as_mut().reset(Instant::now() + self.token_left());
        }
        if socket.poll_gone(cx).is_ready() {
            return Poll::Ready(Next::Gone);
        }
        if self.slot.handle().poll_end(cx).is_ready() {
            return Poll::Ready(Next::End);
        }
        while let Poll::Ready(update) = self.subscription.poll_next_shared(cx) {
            // `None`: this reader was too slow, or the store closes. The client comes back with its last id.
            let Some((update, memo)) = update else { return Poll::Ready(Next::End) };
            let chunk = self.encoder.live_shared(&update, memo.as_deref(), self.now());
            if !chunk.is_empty() {
                return Poll::Ready(Next::Write(chunk));
            }
        }
        Poll::Ready(match ready!(self.slot.handle().poll_order(cx)) {
            Order::End => Next::End,
            // The wall clock may have jumped where the timer has not, for example in a laptop that slept.
            Order::Heartbeat if self.is_token_over() => self.end_with_token(),
            Order::Heartbeat => Next::Write(self.context.streams.heartbeat.clone()),
        })
    }

    /// Writes all bytes. False: the instance drains and the client does not read. An error if the client takes no byte
    /// for too long. Uses the stream's only timer, and sets it back to the end of the token.
    async fn send(&self, socket: &Socket, mut bytes: Bytes, timer: &mut Pin<Box<Sleep>>) -> io::Result<bool> {
        if socket.try_write(&mut bytes)? {
            return Ok(true);
        }
        timer.as_mut().reset(Socket::stalls_at());
        let sent = poll_fn(|cx| {
            if self.slot.handle().poll_end(cx).is_ready() {
                return Poll::Ready(Ok(false));
            }
            match socket.poll_write(&mut bytes, timer.as_mut(), cx) {
                Poll::Ready(written) => Poll::Ready(written.map(|()| true)),
                Poll::Pending => Poll::Pending,
            }
        });
        let sent = sent.await?;
        timer.as_mut().reset(Instant::now() + self.token_left());
        Ok(sent)
    }

    pub fn now(&self) -> Timestamp {
        self.context.services.clock.now()
    }

    fn token_left(&self) -> Duration {
        let left = self.token_ends_at.duration_since(self.now());
        Duration::try_from(left).unwrap_or(Duration::ZERO).min(SLEEP_MAX)
    }

    fn is_token_over(&self) -> bool {
        self.now() >= self.token_ends_at
    }

    fn end_with_token(&self) -> Next {
        let tenant = self.encoder.tenant();
        if let Some(unlogged) = self.context.budgets.take_line(tenant) {
            tracing::info!(%tenant, unlogged, "stream ended with its token for tenant");
        }
        let mut text = String::new();
        Frame::new(Name::TokenExpired, &json!({})).write(None, &mut text);
        Next::Last(Chunk::new(&text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size_of_future<A, B, C, D, F>(_: impl Fn(A, B, C, D) -> F) -> usize {
        size_of::<F>()
    }

    /// Idle streams take most of the memory. Measured 2026-11: 20 KB for each with the whole HTTP server behind it.
    #[test]
    fn task_of_an_idle_stream_is_small() {
        let bytes = size_of_future(EventStream::write_to);
        assert!(bytes <= 768, "{bytes} bytes");
    }
}
