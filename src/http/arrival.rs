use std::{
    io,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use hyper::body::{Body, Frame, SizeHint};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::Notify,
    time::{Instant, sleep_until},
};

/// The state of a connection between its requests. An idle connection may stay open for as long as balancers keep
/// theirs. Once the first byte of a request has arrived, its headers have to follow in time, and so on a new
/// connection.
pub(super) struct Arrival {
    state: Mutex<State>,
    changed: Notify,
    /// The last write was refused: the server keeps bytes that were not written.
    refusing_writes: AtomicBool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Idle,
    Arriving(Instant),
    /// The request's headers have arrived: the handler limits how long the rest may take.
    Served(Instant),
}

impl Arrival {
    pub fn new() -> Self {
        Self {
            state: Mutex::new(State::Arriving(Instant::now())),
            changed: Notify::new(),
            refusing_writes: AtomicBool::new(false),
        }
    }

    /// A request's headers are there.
    pub fn begin(&self) {
        self.set(State::Served(Instant::now()));
    }

    /// Its answer has been handed to the server.
    pub fn end(&self) {
        self.set(State::Idle);
    }

    pub fn is_refusing_writes(&self) -> bool {
        self.refusing_writes.load(Ordering::Relaxed)
    }

    fn heard(&self, now: Instant) {
        if *self.state.lock().unwrap_or_else(PoisonError::into_inner) == State::Idle {
            self.set(State::Arriving(now));
        }
    }

    fn set(&self, state: State) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = state;
        self.changed.notify_one();
    }

    /// No request is being answered, or one has been for `served_max`.
    pub fn is_idle(&self, now: Instant, served_max: Duration) -> bool {
        match *self.state.lock().unwrap_or_else(PoisonError::into_inner) {
            State::Idle | State::Arriving(_) => true,
            State::Served(since) => now.duration_since(since) >= served_max,
        }
    }

    /// Returns once a request has been arriving for so long. Cancel safe.
    pub async fn is_overdue(&self, max: Duration) {
        loop {
            let state = *self.state.lock().unwrap_or_else(PoisonError::into_inner);
            match state {
                State::Arriving(since) => {
                    tokio::select! {
                        () = self.changed.notified() => {}
                        () = sleep_until(since + max) => return,
                    }
                }
                State::Idle | State::Served(_) => self.changed.notified().await,
            }
        }
    }
}

/// The body of an answer. Until it is written, bytes that arrive do not begin another request.
pub(super) struct Answered<B> {
    pub body: B,
    pub arrival: Arc<Arrival>,
}

impl<B: Body + Unpin> Body for Answered<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<B> Drop for Answered<B> {
    fn drop(&mut self) {
        self.arrival.end();
    }
}

/// A socket that notes when bytes arrive.
pub(super) struct Listening {
    pub socket: TcpStream,
    pub arrival: Arc<Arrival>,
}

impl AsyncRead for Listening {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.socket).poll_read(cx, buffer))?;
        if buffer.filled().len() > before {
            self.arrival.heard(Instant::now());
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Listening {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write(cx, bytes);
        self.arrival.refusing_writes.store(written.is_pending(), Ordering::Relaxed);
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write_vectored(cx, bytes);
        self.arrival.refusing_writes.store(written.is_pending(), Ordering::Relaxed);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }
}
