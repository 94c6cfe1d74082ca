use std::{
    future::poll_fn,
    io,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use serde_json::json;
use tokio::time::Instant;

use super::{
    chunk::Chunk,
    frame::{Frame, Name},
    handle::Order,
    socket::Socket,
    sse_encoder::SseEncoder,
    stream_limit::StreamSlot,
    timer::Timer,
};
use crate::{
    clock::Timestamp,
    http::{self, connections::Held},
    store::Subscription,
    telemetry::{metrics, words::READER_STALLED},
};

/// One open stream. Its own task writes it to its socket, see `src/http/detach.rs`.
pub struct EventStream {
    /// The first write, behind the head of the answer, and the second write, if the first one does not hold the whole
    /// status.
    pub texts: Option<Box<[String; 2]>>,
    pub subscription: Subscription,
    pub encoder: SseEncoder,
    pub token_ends_at: Timestamp,
    pub context: Arc<http::Context>,
    /// Freed when the stream is dropped.
    pub slot: StreamSlot,
}

/// Time for a proxy to read the first write alone: two writes that it reads at once are one large write to it.
const SECOND_WRITE_AFTER: Duration = Duration::from_millis(50);

/// A token that ends within so many heartbeats has a timer. For all other tokens each heartbeat checks the end.
const HEARTBEATS_TIMED: u32 = 2;

/// What a stream does next.
enum Next {
    Write(Bytes),
    /// The last write of the stream.
    Last(Bytes),
    End,
    /// Ends without a write: the client has disconnected.
    Gone,
}

impl EventStream {
    /// Writes until the token ends, the instance drains, or the client disconnects or falls behind.
    pub fn write_to(mut self, mut socket: Socket, held: Option<Held>, head: Bytes) -> impl Future<Output = ()> + Send {
        let [opening, present] = self.texts.take().map(|texts| *texts).unwrap_or_default();
        let [opening, present] = [opening, present].map(|text| Chunk::new(&text).framed(socket.is_chunked()));
        // Boxed, since an idle stream has written it. No async fn: it would keep its arguments twice.
        let begin = Box::new([Bytes::from([head, opening].concat()), present]);
        async move {
            if let Err(error) = self.write(&mut socket, begin).await {
                if error.kind() == io::ErrorKind::TimedOut {
                    metrics().slow_readers.add(READER_STALLED);
                }
                tracing::debug!(%error, "a stream broke off");
            }
            drop(socket);
            // The descriptor is free now.
            drop(held);
        }
    }

    async fn write(&mut self, socket: &mut Socket, begin: Box<[Bytes; 2]>) -> io::Result<()> {
        let mut timer = Timer::default();
        if !self.begin(socket, begin, &mut timer).await? {
            return Ok(());
        }
        self.await_token_end(&mut timer);
        loop {
            let (bytes, is_last) = match poll_fn(|cx| self.poll_next(socket, &mut timer, cx)).await {
                Next::Write(bytes) => (bytes, false),
                Next::Last(bytes) => (bytes, true),
                Next::End => (Bytes::new(), true),
                Next::Gone => return Ok(()),
            };
            let is_written = self.send(socket, bytes, &mut timer).await?;
            if is_last && is_written {
                socket.end_body();
            }
            if is_last || !is_written {
                return Ok(());
            }
        }
    }

    /// What stands before live events. False: as of [`Self::send`].
    async fn begin(&self, socket: &Socket, begin: Box<[Bytes; 2]>, timer: &mut Timer) -> io::Result<bool> {
        let [first, second] = *begin;
        if !self.send(socket, first, timer).await? {
            return Ok(false);
        }
        if second.is_empty() {
            return Ok(true);
        }
        timer.set(Instant::now() + SECOND_WRITE_AFTER);
        poll_fn(|cx| timer.poll(cx)).await;
        self.send(socket, second, timer).await
    }

    fn poll_next(&mut self, socket: &mut Socket, timer: &mut Timer, cx: &mut Context<'_>) -> Poll<Next> {
        // The end comes first: a busy stream must not outlive its token.
        while timer.poll(cx).is_ready() {
            if self.is_token_over() {
                return Poll::Ready(self.end_with_token(socket));
            }
            self.await_token_end(timer);
        }
        if socket.poll_gone(cx).is_ready() {
            return Poll::Ready(Next::Gone);
        }
        if let Poll::Ready(end) = self.slot.handle().poll_end(cx) {
            return Poll::Ready(self.carry_out(end, socket, timer));
        }
        while let Poll::Ready(update) = self.subscription.poll_next_shared(cx) {
            // `None`: this reader was too slow, or the store closes. The client comes back with its last id.
            let Some((update, memo)) = update else { return Poll::Ready(Next::End) };
            let chunk = self.encoder.live_shared(&update, memo.as_deref(), self.now());
            if !chunk.is_empty() {
                metrics().events_delivered.increment(1);
                return Poll::Ready(Next::Write(chunk.framed(socket.is_chunked())));
            }
        }
        let order = ready!(self.slot.handle().poll_order(cx));
        Poll::Ready(self.carry_out(order, socket, timer))
    }

    fn carry_out(&self, order: Order, socket: &Socket, timer: &mut Timer) -> Next {
        match order {
            Order::End => Next::End,
            Order::EndRevoked => self.end_with_token(socket),
            // The wall clock may have jumped where the timer has not, for example in a laptop that slept.
            Order::Heartbeat if self.is_token_over() => self.end_with_token(socket),
            Order::Heartbeat => {
                self.await_token_end(timer);
                Next::Write(self.context.streams.heartbeat.framed(socket.is_chunked()))
            }
        }
    }

    /// Writes all bytes. False: the stream must end and the client does not read. An error if the client takes no byte
    /// for too long. Uses the stream's only timer, and sets it back to the end of the token.
    async fn send(&self, socket: &Socket, mut bytes: Bytes, timer: &mut Timer) -> io::Result<bool> {
        if socket.try_write(&mut bytes)? {
            return Ok(true);
        }
        timer.set(Socket::stalls_at());
        let sent = poll_fn(|cx| {
            if self.slot.handle().poll_end(cx).is_ready() {
                return Poll::Ready(Ok(false));
            }
            match socket.poll_write(&mut bytes, timer, cx) {
                Poll::Ready(written) => Poll::Ready(written.map(|()| true)),
                Poll::Pending => Poll::Pending,
            }
        });
        let sent = sent.await?;
        self.await_token_end(timer);
        Ok(sent)
    }

    pub fn now(&self) -> Timestamp {
        self.context.services.clock.now()
    }

    fn token_left(&self) -> Duration {
        let left = self.token_ends_at.duration_since(self.now());
        Duration::try_from(left).unwrap_or(Duration::ZERO)
    }

    /// Sets the timer to the token's end if that is near.
    fn await_token_end(&self, timer: &mut Timer) {
        let left = self.token_left();
        if left <= self.context.services.settings.heartbeat * HEARTBEATS_TIMED {
            timer.set(Instant::now() + left);
        } else {
            timer.clear();
        }
    }

    fn is_token_over(&self) -> bool {
        self.now() >= self.token_ends_at
    }

    fn end_with_token(&self, socket: &Socket) -> Next {
        let tenant = self.encoder.tenant();
        if let Some(unlogged) = self.context.budgets.take_line(tenant) {
            tracing::info!(%tenant, unlogged, "stream ended with its token for tenant");
        }
        let mut text = String::new();
        Frame::new(Name::TokenExpired, &json!({})).write(None, &mut text);
        Next::Last(Chunk::new(&text).framed(socket.is_chunked()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size_of_future<A, B, C, D, F>(_: impl Fn(A, B, C, D) -> F) -> usize {
        size_of::<F>()
    }

    /// Idle streams take most of the memory. With its task around it this is just within 768 bytes, the next size is 896.
    /// Measured 2026-11: 20 KB for each with the whole HTTP server behind it.
    #[test]
    fn task_of_an_idle_stream_is_small() {
        let bytes = size_of_future(EventStream::write_to);
        assert!(bytes <= 648, "{bytes} bytes");
    }
}
