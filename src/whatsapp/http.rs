//! The HTTP client for WhatsApp. It looks up the newest client version, and the library fetches the larger parts of an
//! account's settings with it. The library's own client has no timeout and reads up to 2 GiB.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use hyper::Uri;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;
use ureq::Agent;
use whatsapp_rust::{
    anyhow::{self, ensure},
    http::{HttpClient, HttpRequest, HttpResponse, UreqHttpClient},
};

use super::guard::{self, Check};

/// Bounds of one request.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    /// From the dial to the last byte.
    pub time_max: Duration,
    pub body_bytes_max: u64,
}

/// For the library's requests: an account with 100,000 contacts has some 20 MB of settings.
pub(super) const LIBRARY: Limits = Limits { time_max: Duration::from_secs(60), body_bytes_max: 32 << 20 };

const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);
/// Requests at once, over all links: each has a thread and a body in memory.
const AT_ONCE_MAX: usize = 4;
const BUFFER_BYTES: usize = 16 << 10;
const IDLE_MAX: usize = 3;

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

/// Uses no proxy, like the links: with a proxy from the environment WhatsApp would see two addresses for one client.
/// Follows no redirect.
#[derive(Clone)]
pub(super) struct Http {
    client: UreqHttpClient,
    reach: Reach,
    at_once: Arc<Semaphore>,
    requests: TaskTracker,
}

impl Http {
    /// A client for the WhatsApp, or the simulator, that has this WebSocket URL.
    pub fn new(url: &str, check: Check, limits: Limits) -> Self {
        let config = Agent::config_builder()
            .timeout_global(Some(limits.time_max))
            .timeout_connect(Some(CONNECT_TIME_MAX))
            .max_redirects(0)
            .proxy(None)
            .input_buffer_size(BUFFER_BYTES)
            .output_buffer_size(BUFFER_BYTES)
            .max_idle_connections(IDLE_MAX);
        let agent = Agent::new_with_config(config.build());
        let client = UreqHttpClient::with_agent(agent).with_max_body_bytes(limits.body_bytes_max);
        let (reach, at_once) = (Reach::of(url, check), Arc::new(Semaphore::new(AT_ONCE_MAX)));
        Self { client, reach, at_once, requests: TaskTracker::new() }
    }

    /// The address of the simulator, if the URL is a simulator's.
    pub fn simulator(&self) -> Option<&str> {
        match &self.reach {
            Reach::Simulator(address) => Some(address),
            Reach::WhatsApp | Reach::Nothing => None,
        }
    }

    pub fn reaches_nothing(&self) -> bool {
        matches!(self.reach, Reach::Nothing)
    }
}

/// Returns whole bodies only: a stream would be read in a thread that has no bound.
#[async_trait]
impl HttpClient for Http {
    async fn execute(&self, request: HttpRequest) -> anyhow::Result<HttpResponse> {
        ensure!(self.reach.allows(&request.url), "not an address of WhatsApp");
        let slot = self.at_once.clone().acquire_owned().await?;
        let client = self.client.clone();
        // In a task: if the caller is cancelled, the thread that works for it holds its slot until it is done.
        let answered = self.requests.spawn(async move {
            let _slot = slot;
            client.execute(request).await
        });
        answered.await?
    }
}

#[cfg(test)]
mod tests;
