//! Runs the WhatsApp library for sessions: a [`Connector`] whose links save their keys in the [`CredentialStore`].
//!
//! What it guarantees:
//! - A saved device row can be resumed: it is written only after the phone's signature is in it.
//! - Until the first login of a pairing, no frame is sent before the newest device is durable (`transport`).
//! - No task of a link runs after [`Link::close`] has returned (`runtime`).
//! - A link that is to go through a proxy connects through it or not at all (`dial`).
//! - No number, code, key or text of the phone is written to the log.
//!
//! What it must not do: write a status. It sends [`crate::session::Signal`]s, and the session decides.
//!
//! Where to start reading: `link`, which opens and closes a link, then `driver`, which handles the library's events.

mod in_flight;
mod caches;
mod connection;
mod dial;
mod driver;
mod guard;
mod http;
mod inbox;
mod keys;
mod link;
mod lookup;
mod pair_code;
mod passkey;
mod runtime;
mod settings;
mod shared;
mod socket;
mod termination;
mod translate;
mod transport;
mod version;

use std::{
    error::Error,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use async_trait::async_trait;

pub use guard::{Check, UrlRefused, certificate_check, ensure_url_allowed};
pub use settings::{OutgoingFrame, Settings};

use self::version::Versions;
use crate::{
    clock::SharedClock,
    link_options::LinkOptions,
    proxy::Route,
    session::{ConnectError, Connector, Link},
    store::{ClientVersions, CredentialStore, Lease},
};

/// Opens a WebSocket to the URL as a link on this way does, and closes it again.
pub async fn reach(url: &str, route: &Route) -> Result<(), Box<dyn Error + Send + Sync>> {
    ensure_url_allowed(url, certificate_check())?;
    socket::Sockets::new().open(url, route).await?;
    Ok(())
}

/// Opens links with the library. The process has one.
pub struct WhatsApp {
    settings: Arc<Settings>,
    credentials: Arc<dyn CredentialStore>,
    versions: Arc<Versions>,
    clock: SharedClock,
    /// Shared by all links, since each client has its own pool of connections and its own set of root certificates.
    http: http::Clients,
    sockets: socket::Sockets,
    alive: Arc<AtomicUsize>,
}

impl WhatsApp {
    /// Refuses a URL that this build must not talk to: see `guard`.
    pub fn new(
        settings: Settings,
        credentials: Arc<dyn CredentialStore>,
        client_versions: Arc<dyn ClientVersions>,
        clock: SharedClock,
    ) -> Result<Self, UrlRefused> {
        let check = certificate_check();
        ensure_url_allowed(&settings.url, check)?;
        Ok(Self {
            http: http::Clients::new(&settings.url, check, http::LIBRARY),
            versions: Arc::new(Versions::new(&settings, check, client_versions, clock.clone())),
            settings: Arc::new(settings),
            credentials,
            clock,
            sockets: socket::Sockets::new(),
            alive: Arc::default(),
        })
    }

    /// How many of the library's clients are in memory. More than there are links means that one leaked.
    pub fn clients_alive(&self) -> usize {
        self.alive.load(Ordering::Acquire)
    }
}

#[async_trait]
impl Connector for WhatsApp {
    async fn open(&self, lease: &Lease, options: &LinkOptions) -> Result<Box<dyn Link>, ConnectError> {
        let opening = link::Opening {
            settings: self.settings.clone(),
            credentials: self.credentials.clone(),
            versions: self.versions.clone(),
            clock: self.clock.clone(),
            http: self.http.clone(),
            sockets: self.sockets.clone(),
            alive: self.alive.clone(),
            lease: lease.clone(),
            options: options.clone(),
        };
        Ok(Box::new(opening.open().await?))
    }
}
