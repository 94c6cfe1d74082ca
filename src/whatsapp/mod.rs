//! The library's client as the session sees it: a [`Connector`] whose links keep their keys in the [`CredentialStore`].
//!
//! Invariants of this room:
//! - A device row in the vault can be resumed: it is written once the phone's signature is in it, never before.
//! - Until a pairing has logged in, no frame leaves before the newest device is durable ([`transport`]).
//! - Nothing of a link runs once [`Link::close`] has returned ([`runtime`]).
//! - No number, code, key or text of the phone reaches a log line of ours.

mod in_flight;
mod caches;
mod connection;
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
    session::{ConnectError, Connector, Link},
    store::{ClientVersions, CredentialStore, Lease},
};

/// Opens a WebSocket to the URL as a link does, and closes it again.
pub async fn reach(url: &str) -> Result<(), Box<dyn Error + Send + Sync>> {
    ensure_url_allowed(url, certificate_check())?;
    socket::Sockets::new().open(url).await?;
    Ok(())
}

/// Opens links with the library. One for the whole process.
pub struct WhatsApp {
    settings: Arc<Settings>,
    credentials: Arc<dyn CredentialStore>,
    versions: Arc<Versions>,
    clock: SharedClock,
    /// Shared: each has a pool of connections and a set of root certificates of its own.
    http: http::Http,
    sockets: socket::Sockets,
    alive: Arc<AtomicUsize>,
}

impl WhatsApp {
    /// Refuses a URL that this build must not talk to: see [`guard`].
    pub fn new(
        settings: Settings,
        credentials: Arc<dyn CredentialStore>,
        client_versions: Arc<dyn ClientVersions>,
        clock: SharedClock,
    ) -> Result<Self, UrlRefused> {
        let check = certificate_check();
        ensure_url_allowed(&settings.url, check)?;
        Ok(Self {
            http: http::Http::new(&settings.url, check, http::LIBRARY),
            versions: Arc::new(Versions::new(&settings, check, client_versions, clock.clone())),
            settings: Arc::new(settings),
            credentials,
            clock,
            sockets: socket::Sockets::new(),
            alive: Arc::default(),
        })
    }

    /// How many of the library's clients exist, counted when their memory is given back: more than there are links
    /// means that one leaked.
    pub fn clients_alive(&self) -> usize {
        self.alive.load(Ordering::Acquire)
    }
}

#[async_trait]
impl Connector for WhatsApp {
    async fn open(&self, lease: &Lease) -> Result<Box<dyn Link>, ConnectError> {
        let opening = link::Opening {
            settings: self.settings.clone(),
            credentials: self.credentials.clone(),
            versions: self.versions.clone(),
            clock: self.clock.clone(),
            http: self.http.clone(),
            sockets: self.sockets.clone(),
            alive: self.alive.clone(),
            lease: lease.clone(),
        };
        Ok(Box::new(opening.open().await?))
    }
}
