//! The only place that opens connections to WhatsApp. With a proxy all of them go through it, and so does the look-up of
//! WhatsApp's name: the proxy is given the name and not an address.

use std::{fmt::Display, future::poll_fn, time::Duration};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use hyper::{Uri, http::HeaderValue};
use hyper_util::{
    client::legacy::connect::{
        HttpConnector,
        proxy::{SocksV5, Tunnel},
    },
    rt::TokioIo,
};
use tokio::{net::TcpStream, time::timeout};
use tower_service::Service;
use whatsapp_rust::anyhow;

use crate::proxy::{ProxyKind, ProxyUrl, Route};

/// From the dial of the proxy until it has connected to WhatsApp. Two tries fit into the time after which a page shows that
/// WhatsApp is unreachable: without this it would show the wrong reason first.
const PROXY_TIME_MAX: Duration = Duration::from_secs(8);

/// The proxy has made no connection to WhatsApp. Has no source: only texts of the library, without user and password.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("the proxy has not connected to whatsapp: {0}")]
pub(super) struct ProxyError(String);

/// Opens a connection on this way, and on no other.
pub(super) async fn dial(route: &Route, host: &str, port: u16) -> anyhow::Result<TcpStream> {
    let tcp = match route {
        Route::Direct => TcpStream::connect((host, port)).await?,
        Route::Through(proxy) => match timeout(PROXY_TIME_MAX, through(proxy, host, port)).await {
            Ok(opened) => opened?,
            Err(_) => return Err(ProxyError("no answer in time".to_owned()).into()),
        },
    };
    tcp.set_nodelay(true)?;
    Ok(tcp)
}

async fn through(proxy: &ProxyUrl, host: &str, port: u16) -> Result<TcpStream, ProxyError> {
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    let (at, target) = (uri(&proxy.authority())?, uri(&format!("{host}:{port}"))?);
    match proxy.kind {
        ProxyKind::Connect => {
            let mut tunnel = Tunnel::new(at, HttpConnector::new());
            if let Some((user, password)) = &proxy.credentials {
                let basic = format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{password}")));
                tunnel = tunnel.with_auth(HeaderValue::from_str(&basic).map_err(failed)?);
            }
            connect(tunnel, target).await
        }
        ProxyKind::Socks5 => {
            let mut socks = SocksV5::new(at, HttpConnector::new());
            if let Some((user, password)) = &proxy.credentials {
                socks = socks.with_auth(user.clone(), password.clone());
            }
            connect(socks, target).await
        }
    }
}

async fn connect<C>(mut connector: C, target: Uri) -> Result<TcpStream, ProxyError>
where
    C: Service<Uri, Response = TokioIo<TcpStream>>,
    C::Error: Display,
{
    poll_fn(|context| connector.poll_ready(context)).await.map_err(failed)?;
    Ok(connector.call(target).await.map_err(failed)?.into_inner())
}

fn uri(authority: &str) -> Result<Uri, ProxyError> {
    format!("http://{authority}").parse().map_err(failed)
}

fn failed(error: impl Display) -> ProxyError {
    ProxyError(error.to_string())
}

#[cfg(test)]
pub mod tests;
