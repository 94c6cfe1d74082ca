//! The HTTP client for WhatsApp. It looks up the newest client version, and the library fetches the larger parts of an
//! account's settings with it. The library's own client has no timeout and reads up to 2 GiB.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{
    Request, Uri,
    client::conn::http1,
    http::{
        header::HOST,
        uri::{Authority, PathAndQuery},
    },
};
use hyper_util::rt::TokioIo;
use tokio::{sync::Semaphore, task::JoinSet, time::timeout};
use tokio_util::task::TaskTracker;
use whatsapp_rust::{
    anyhow::{self, anyhow, ensure},
    http::{HttpClient, HttpRequest, HttpResponse},
    transport::{Connector, default_tls_connector},
};

use super::{
    dial::dial,
    guard::{self, Check},
};
use crate::proxy::Route;

/// Bounds of one request.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    /// From the dial to the last byte.
    pub time_max: Duration,
    pub body_bytes_max: usize,
}

/// For the library's requests: an account with 100,000 contacts has some 20 MB of settings.
pub(super) const LIBRARY: Limits = Limits { time_max: Duration::from_secs(60), body_bytes_max: 32 << 20 };

const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);
/// Requests at once, over all links: each has a body in memory.
const AT_ONCE_MAX: usize = 4;
const HEADER_BYTES_MAX: usize = 16 << 10;
/// A page about an error is for people to read.
const ERROR_BYTES_MAX: usize = 64 << 10;

/// The hosts that may be requested.
#[derive(Clone)]
enum Reach {
    /// WhatsApp's own hosts, over TLS.
    WhatsApp,
    /// The simulator at this address.
    Simulator(String),
    Nothing,
}

impl Reach {
    /// A build that skips WhatsApp's certificate check requests only from a simulator. A build that connects to a
    /// simulator does not request from WhatsApp.
    fn of(url: &str, check: Check) -> Self {
        match (check, guard::loopback(url)) {
            (Check::Strict, None) => Self::WhatsApp,
            (Check::Skipped, Some(authority)) => Self::Simulator(authority),
            // The second case is refused when the program starts.
            (Check::Strict, Some(_)) | (Check::Skipped, None) => Self::Nothing,
        }
    }

    fn allows(&self, url: &str) -> bool {
        let Ok(uri) = url.parse::<Uri>() else { return false };
        match self {
            Self::WhatsApp => {
                let host = uri.host().unwrap_or_default();
                let whatsapps = host == "web.whatsapp.com" || host.ends_with(".whatsapp.net");
                uri.scheme_str() == Some("https") && whatsapps && matches!(uri.port_u16(), None | Some(443))
            }
            Self::Simulator(address) => {
                uri.scheme_str() == Some("http")
                    && uri.authority().is_some_and(|authority| authority == address.as_str())
            }
            Self::Nothing => false,
        }
    }
}

/// Makes clients. All of them share one limit.
#[derive(Clone)]
pub(super) struct Clients {
    tls: Arc<Connector>,
    reach: Reach,
    limits: Limits,
    at_once: Arc<Semaphore>,
    requests: TaskTracker,
}

/// A client whose requests go one way: that of the links that it works for. Without this WhatsApp would see two addresses
/// for one client. Follows no redirect.
#[derive(Clone)]
pub(super) struct Http {
    clients: Clients,
    route: Route,
}

impl Clients {
    /// Clients for the WhatsApp, or the simulator, that has this WebSocket URL.
    pub fn new(url: &str, check: Check, limits: Limits) -> Self {
        let (reach, at_once) = (Reach::of(url, check), Arc::new(Semaphore::new(AT_ONCE_MAX)));
        Self { tls: Arc::new(default_tls_connector()), reach, limits, at_once, requests: TaskTracker::new() }
    }

    /// The client on this way.
    pub fn on(&self, route: &Route) -> Http {
        Http { clients: self.clone(), route: route.clone() }
    }

    /// The address of the simulator, if the URL is a simulator's.
    pub fn simulator(&self) -> Option<&str> {
        match &self.reach {
            Reach::Simulator(address) => Some(address),
            Reach::WhatsApp | Reach::Nothing => None,
        }
    }

    pub fn reach_nothing(&self) -> bool {
        matches!(self.reach, Reach::Nothing)
    }
}

/// Returns whole bodies only: a stream would be read in a thread that has no bound.
#[async_trait]
impl HttpClient for Http {
    async fn execute(&self, request: HttpRequest) -> anyhow::Result<HttpResponse> {
        let Clients { reach, limits, at_once, requests, .. } = &self.clients;
        ensure!(reach.allows(&request.url), "not an address of WhatsApp");
        let slot = at_once.clone().acquire_owned().await?;
        let (client, time_max) = (self.clone(), limits.time_max);
        // In a task: if the caller is cancelled, the request holds its slot until it is done.
        let answered = requests.spawn(async move {
            let _slot = slot;
            timeout(time_max, client.exchange(request)).await
        });
        answered.await??
    }
}

impl Http {
    async fn exchange(&self, request: HttpRequest) -> anyhow::Result<HttpResponse> {
        let uri: Uri = request.url.parse()?;
        let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_owned();
        let secure = uri.scheme_str() == Some("https");
        let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let tcp = timeout(CONNECT_TIME_MAX, dial(&self.route, &host, port)).await??;
        let tls = if secure { &*self.clients.tls } else { &Connector::Plain };
        let stream = TokioIo::new(tls.wrap(&host, tcp).await?);
        let (mut sender, connection) = http1::Builder::new().max_buf_size(HEADER_BYTES_MAX).handshake(stream).await?;
        // Ends with this exchange.
        let mut connected = JoinSet::new();
        connected.spawn(connection);
        let authority = uri.authority().map(Authority::as_str).unwrap_or_default();
        let target = uri.path_and_query().map_or("/", PathAndQuery::as_str);
        let mut question = Request::builder().method(request.method.as_str()).uri(target).header(HOST, authority);
        for (name, value) in request.headers {
            question = question.header(name, value);
        }
        let answer = sender.send_request(question.body(Full::new(request.body.unwrap_or_default()))?).await?;
        let status_code = answer.status().as_u16();
        let is_good = answer.status().is_success();
        let bytes_max = if is_good { self.clients.limits.body_bytes_max } else { ERROR_BYTES_MAX };
        let body = Limited::new(answer.into_body(), bytes_max).collect().await;
        let body = match body {
            Ok(whole) => whole.to_bytes().into(),
            // The library decides by the status alone. Half a good answer must not be taken for a whole one.
            Err(_) if !is_good => Vec::new(),
            Err(error) => return Err(anyhow!(error)),
        };
        Ok(HttpResponse { status_code, body })
    }
}

#[cfg(test)]
mod tests;
