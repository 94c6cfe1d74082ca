use std::{io, sync::Arc};

use hyper::{
    Uri,
    http::{HeaderValue, header::ORIGIN},
};
use tokio::net::TcpStream;
use tokio_websockets::ClientBuilder;
use whatsapp_rust::{
    anyhow,
    async_channel::Receiver,
    transport::{Connector, Transport, TransportEvent, default_tls_connector, from_websocket},
    wacore::net::WHATSAPP_WEB_ORIGIN,
};

/// Opens WebSockets to WhatsApp. The library's own factory leaves Nagle's algorithm on: of the small frames of a login one
/// would wait for the acknowledgement of the one before, 40 ms on Linux. It also builds a set of root certificates for each
/// dial; this one has one for all links.
#[derive(Clone)]
pub(super) struct Sockets {
    tls: Arc<Connector>,
}

impl Sockets {
    pub fn new() -> Self {
        Self { tls: Arc::new(default_tls_connector()) }
    }

    /// The URL is one that [`super::guard`] allows.
    pub async fn open(&self, url: &str) -> anyhow::Result<(Arc<dyn Transport>, Receiver<TransportEvent>)> {
        let uri: Uri = url.parse()?;
        let secure = uri.scheme_str() == Some("wss");
        let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let tcp = dial(&host, port).await?;
        let tls = if secure { &*self.tls } else { &Connector::Plain };
        let stream = tls.wrap(&host, tcp).await?;
        let client = ClientBuilder::from_uri(uri).add_header(ORIGIN, HeaderValue::from_static(WHATSAPP_WEB_ORIGIN))?;
        let (websocket, _) = client.connect_on(stream).await?;
        Ok(from_websocket(websocket))
    }
}

async fn dial(host: &str, port: u16) -> io::Result<TcpStream> {
    let tcp = TcpStream::connect((host, port)).await?;
    tcp.set_nodelay(true)?;
    Ok(tcp)
}

#[cfg(test)]
mod tests {
    use tokio::{io::AsyncReadExt as _, net::TcpListener};

    use super::*;

    /// The first bytes that WhatsApp would see. The dial fails, since nobody answers.
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
        let (opened, bytes) = tokio::join!(sockets.open(&url), answer);
        assert!(opened.is_err());
        bytes
    }

    #[tokio::test]
    async fn a_secure_url_is_dialled_with_tls() {
        const HANDSHAKE: u8 = 22;
        assert_eq!(first_bytes("wss").await[0], HANDSHAKE);
    }

    #[tokio::test]
    async fn whatsapp_is_asked_from_its_own_origin() {
        let request = String::from_utf8(first_bytes("ws").await).unwrap().to_lowercase();
        assert!(request.starts_with("get /ws/chat http/1.1\r\n"), "{request}");
        assert!(request.contains("origin: https://web.whatsapp.com\r\n"), "{request}");
    }
}
