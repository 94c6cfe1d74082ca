//! Takes the socket of a stream out of the HTTP server. The server has read the request and the routes have answered
//! it. From then on a stream only writes. The server's own connection would cost each idle stream 14 KB more: its
//! buffers and the boxed future of the whole request.
//!
//! Start reading at [`Detach::poll`].

use std::{
    convert::Infallible,
    future::{Future, pending},
    io::Write as _,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use bytes::Bytes;
use hyper::{Method, Version, body::Body, server::conn::http1::Connection, service::HttpService};
use hyper_util::rt::TokioIo;
use jiff::fmt::rfc2822::DateTimePrinter;
use warp::{http::response, reply::Response};

use super::{
    arrival::{Arrival, Listening},
    events::{EventStream, Socket},
    parse_errors::ParseErrorBodies,
};
use crate::clock::Timestamp;

/// Passes the stream from a connection's answer to [`Self::poll`].
#[derive(Default)]
pub struct Detach(Mutex<Option<Box<Detached>>>);

/// A stream that its own task will write to its socket.
pub struct Detached {
    /// Everything up to the first byte of the body.
    pub head: Bytes,
    /// Whether the body is sent in chunks, as HTTP/1.1 does.
    pub chunked: bool,
    pub stream: EventStream,
}

/// How the server's part of a connection ends.
pub enum Served {
    Ended(hyper::Result<()>),
    Detached(Box<Detached>),
}

/// A route puts the stream into its answer with this; the server does not write the body. Extensions of an answer must
/// be `Clone`, although no answer is cloned.
#[derive(Clone)]
pub struct Leaving(Arc<Mutex<Option<EventStream>>>);

impl Leaving {
    pub fn new(stream: EventStream) -> Self {
        Self(Arc::new(Mutex::new(Some(stream))))
    }
}

impl Detach {
    /// Lets an answer without a stream through, and never returns for one with a stream: [`Self::poll`] ends the
    /// connection. Only GET has a stream.
    pub async fn leave(&self, (method, version): (Method, Version), mut answer: Response) -> Response {
        let leaving = answer.extensions_mut().remove::<Leaving>().filter(|_| method == Method::GET);
        let stream = leaving.and_then(|leaving| leaving.0.lock().unwrap_or_else(PoisonError::into_inner).take());
        let Some(stream) = stream else { return answer };
        let (parts, _) = answer.into_parts();
        let chunked = version == Version::HTTP_11;
        *self.slot() = Some(Box::new(Detached { head: head(&parts, chunked, stream.now()), chunked, stream }));
        pending().await
    }

    /// Serves the connection until it ends, or until its answer is a stream. Earlier answers on the same connection have
    /// been written then: the server keeps bytes for itself only while the socket refuses them, and this waits.
    pub fn poll<S, B>(
        &self,
        connection: &mut Connection<TokioIo<ParseErrorBodies<Listening>>, S>,
        arrival: &Arrival,
        cx: &mut Context<'_>,
    ) -> Poll<Served>
    where
        S: HttpService<hyper::body::Incoming, ResBody = B, Error = Infallible> + Unpin,
        B: Body + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        if let Poll::Ready(ended) = Pin::new(connection).poll(cx) {
            return Poll::Ready(Served::Ended(ended));
        }
        if arrival.is_refusing_writes() {
            return Poll::Pending;
        }
        self.slot().take().map_or(Poll::Pending, |detached| Poll::Ready(Served::Detached(detached)))
    }

    fn slot(&self) -> MutexGuard<'_, Option<Box<Detached>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The socket of a connection that has left its stream. What a client pipelines behind a stream has no answer, since the
/// stream ends the connection.
pub fn socket<S, B>(connection: Connection<TokioIo<ParseErrorBodies<Listening>>, S>, chunked: bool) -> Socket
where
    S: HttpService<hyper::body::Incoming, ResBody = B, Error = Infallible>,
    B: Body + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let parts = connection.into_parts();
    Socket::new(parts.io.into_inner().into_inner().socket, chunked, parts.read_buf.len())
}

fn head(answer: &response::Parts, chunked: bool, now: Timestamp) -> Bytes {
    let mut head = Vec::with_capacity(512);
    head.extend_from_slice(b"HTTP/1.1 ");
    head.extend_from_slice(answer.status.as_str().as_bytes());
    let reason = answer.status.canonical_reason().unwrap_or_default();
    write!(head, " {reason}\r\n").expect("writing into memory cannot fail");
    for (name, value) in &answer.headers {
        head.extend_from_slice(name.as_str().as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    if chunked {
        head.extend_from_slice(b"transfer-encoding: chunked\r\n");
    }
    let date = DateTimePrinter::new().timestamp_to_rfc9110_string(&now).unwrap_or_default();
    write!(head, "connection: close\r\ndate: {date}\r\n\r\n").expect("writing into memory cannot fail");
    head.into()
}
