//! Serves HTTP: every route, the page with its element, and the event stream.
//!
//! What it guarantees: the tenant of a request comes from its token alone. Every error is a problem with a code of the
//! closed list [`Code`]. A stream ends with its token. Everything that a client can make grow has a limit.
//!
//! What it must not do: write to the store, know WhatsApp, or read an environment variable. It reads the journal, and
//! passes commands to [`crate::session::Sessions`].
//!
//! Where to start reading: `server` accepts connections, `routes` has a line for each route, `identity` finds the
//! tenant, and `events` is the stream.

mod admin;
mod arrival;
mod assets;
mod body;
mod budgets;
mod caps;
mod connections;
mod detach;
mod documents;
mod error;
mod few;
mod events;
#[cfg(test)]
mod fuzz;
mod health;
mod host;
mod identity;
mod metrics;
mod network;
mod origin;
mod page;
mod passkey;
mod payload;
mod phone;
mod preference;
mod qr;
mod refusals;
mod request_id;
mod routes;
mod server;
mod sessions;
mod sign_in;
mod parse_errors;

use std::{sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;
use warp::http::HeaderMap;

pub use self::metrics::serve_metrics;
pub use admin::serve_admin;
pub use budgets::Limits;
pub use caps::{Caps, ConfiguredCaps};
pub use error::Code;
pub use health::{Health, StoreState};
pub use network::Network;
pub use server::serve;
pub use sign_in::LocalSignIn;

use crate::{
    auth::TokenVerifier,
    clock::SharedClock,
    session::Sessions,
    store::{Journal, Revoked},
};
use budgets::Budgets;
use connections::Visitor;
use events::Streams;
use refusals::Refusals;

/// How requests are answered.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The cookie that carries a token where no `Authorization` header does.
    pub cookie: String,
    /// The origin under which browsers know this service, e.g. `https://wa.example.com`.
    pub public_url: Option<String>,
    /// Where the page sends a user whose token has ended.
    pub login_url: Option<String>,
    /// Other origins whose pages may use the API.
    pub allowed_origins: Vec<String>,
    /// The longest time without a heartbeat on a stream.
    pub heartbeat: Duration,
    /// Open streams of one tenant on this instance; one more is refused.
    pub streams_per_tenant_max: usize,
    /// Requests of one tenant on this instance; what exceeds them is refused.
    pub limits: Limits,
    /// Limits on connections and streams.
    pub caps: Caps,
    /// Proxies, whose connections are those of many users. Loopback is one of them.
    pub trusted_proxies: Vec<Network>,
    /// How long open connections may take to finish once [`serve`] is stopped.
    pub grace: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            cookie: "fibidy_auth".into(),
            public_url: None,
            login_url: None,
            allowed_origins: Vec::new(),
            heartbeat: Duration::from_secs(15),
            streams_per_tenant_max: 20,
            limits: Limits::default(),
            caps: Caps::default(),
            trusted_proxies: Vec::new(),
            grace: Duration::from_secs(10),
        }
    }
}

/// The services that the routes use.
#[derive(Clone)]
pub struct Services {
    /// The settings.
    pub settings: Settings,
    /// The wall clock.
    pub clock: SharedClock,
    /// Checks tokens.
    pub verifier: Arc<TokenVerifier>,
    /// Statuses.
    pub journal: Arc<dyn Journal>,
    /// Tokens that were revoked; the verifier refuses them, and streams end with them.
    pub revoked: Arc<Revoked>,
    /// Takes commands.
    pub sessions: Sessions,
    /// What `/readyz` answers.
    pub health: Health,
    /// Local mode only.
    pub sign_in: Option<Arc<LocalSignIn>>,
    /// Cancelled when the instance drains: streams end, other requests are served until [`serve`] is stopped.
    pub end_streams: CancellationToken,
}

/// One request, as routes receive it.
struct RouteRequest {
    headers: HeaderMap,
    visitor: Visitor,
    context: Arc<Context>,
}

struct Context {
    services: Services,
    streams: Streams,
    budgets: Budgets,
    refusals: Refusals,
    assets: assets::Assets,
    documents: documents::Documents,
}

impl RouteRequest {
    fn services(&self) -> &Services {
        &self.context.services
    }
}
