use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use hyper::{
    Uri,
    http::{HeaderValue, header::ORIGIN},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_websockets::{ClientBuilder, Limits, MaybeTlsStream, WebSocketStream};
use whatsapp_rust::{
    anyhow,
    transport::{Connector, default_tls_connector},
    wacore::net::WHATSAPP_WEB_ORIGIN,
};

use super::dial::dial;
use crate::proxy::Route;

/// The answer to the upgrade has some 200 bytes. The WebSocket library would read one without an end.
const UPGRADE_BYTES_MAX: usize = 16 << 10;
/// A WhatsApp frame has a length field of three bytes, so no frame is longer than this.
const MESSAGE_BYTES_MAX: usize = (1 << 24) + 2;

pub(super) type Socket = WebSocketStream<Bounded<MaybeTlsStream<TcpStream>>>;

/// Opens WebSockets to WhatsApp. The library's own factory leaves Nagle's algorithm on: a small frame of a login would
/// wait for the acknowledgement of the frame before, 40 ms on Linux. It also builds a set of root certificates for each
/// connection; here all links share one.
#[derive(Clone)]
pub(super) struct Sockets {
    tls: Arc<Connector>,
}

impl Sockets {
    pub fn new() -> Self {
        Self { tls: Arc::new(default_tls_connector()) }
    }

    /// Connects to a URL that [`super::guard`] allows.
    pub async fn open(&self, url: &str, route: &Route) -> anyhow::Result<Socket> {
        let uri: Uri = url.parse()?;
        let secure = uri.scheme_str() == Some("wss");
        let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let tcp = dial(route, &host, port).await?;
        let tls = if secure { &*self.tls } else { &Connector::Plain };
        let stream = Bounded { stream: tls.wrap(&host, tcp).await?, left: Some(UPGRADE_BYTES_MAX) };
        let client = ClientBuilder::from_uri(uri)
            .limits(Limits::default().max_payload_len(Some(MESSAGE_BYTES_MAX)))
            .add_header(ORIGIN, HeaderValue::from_static(WHATSAPP_WEB_ORIGIN))?;
        let (mut websocket, _) = client.connect_on(stream).await?;
        websocket.get_mut().left = None;
        Ok(websocket)
    }
}

/// A stream whose reads fail after `left` bytes, while there is such a bound.
pub(super) struct Bounded<S> {
    stream: S,
    left: Option<usize>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Bounded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.left == Some(0) {
            return Poll::Ready(Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the answer to the upgrade is too long",
            )));
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        let read = buffer.filled().len() - before;
        self.left = self.left.map(|left| left.saturating_sub(read));
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Bounded<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };
    use tokio_util::task::TaskTracker;

    use super::*;

    /// The first bytes that WhatsApp would receive. The connection fails, since the listener does not answer.
    async fn first_bytes(scheme: &str) -> Vec<u8> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("{scheme}://{}/ws/chat", listener.local_addr().unwrap());
        let answer = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut bytes = vec![0; 2048];
            let read = stream.read(&mut bytes).await.unwrap();
            bytes.truncate(read);
            bytes
        };
        let sockets = Sockets::new();
        let (opened, bytes) = tokio::join!(sockets.open(&url, &Route::Direct), answer);
        assert!(opened.is_err());
        bytes
    }

    #[tokio::test]
    async fn secure_url_is_connected_with_tls() {
        const HANDSHAKE: u8 = 22;
        assert_eq!(first_bytes("wss").await[0], HANDSHAKE);
    }

    #[tokio::test]
    async fn whatsapp_is_asked_from_its_own_origin() {
        let request = String::from_utf8(first_bytes("ws").await).unwrap().to_lowercase();
        assert!(request.starts_with("get /ws/chat http/1.1\r\n"), "{request}");
        assert!(request.contains("origin: https://web.whatsapp.com\r\n"), "{request}");
    }

    /// Without a bound this dial goes on, and grows, until the library's own time for a dial ends.
    #[tokio::test]
    async fn answer_to_the_upgrade_without_an_end_is_given_up() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("ws://{}/ws/chat", listener.local_addr().unwrap());
        let server = TaskTracker::new().spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(b"HTTP/1.1 101 Switching Protocols\r\nx: ").await.unwrap();
            let mut sent = 0_usize;
            while sent < 64 << 20 && stream.write_all(&[b'x'; 4096]).await.is_ok() {
                sent += 4096;
            }
            sent
        });
        let opened =
            tokio::time::timeout(std::time::Duration::from_secs(10), Sockets::new().open(&url, &Route::Direct)).await;
        assert!(opened.expect("it is given up").is_err());
        assert!(server.await.unwrap() < 64 << 20);
    }
}
