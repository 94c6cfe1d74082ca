use std::{io, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::{
    backend::Backend,
    bind,
    capacity::{Capacity, Room},
    local::local,
};
use crate::{
    auth::{self, TokenVerifier},
    clock::{self, SharedClock},
    config::{self, Config, Mode},
    http::{self, Health, Services},
    session::{self, Connector, Sessions},
    store::{
        Revoked, Stores,
        crypt::KeyError,
        embedded::{CommitHook, OpenError},
        redis::UnusableServer,
    },
    telemetry::{self, Exporter},
    tenant::TenantId,
    webhook::Dispatcher,
    whatsapp::{self, OutgoingFrame, UrlRefused, WhatsApp},
};

/// Hooks with which tests reach into a running program. Production sets none of them.
#[derive(Default)]
pub struct Seams {
    /// Called around each commit of the embedded store.
    pub on_commit: Option<CommitHook>,
    /// Called for each frame to WhatsApp.
    pub outgoing_frame: Option<OutgoingFrame>,
    /// Scales the lifetime of QR codes.
    pub qr_pace: Option<f32>,
    /// Scales how long sessions wait before they say or end something, and how long `tautan erase` waits for one to end.
    pub patience: Option<f32>,
    /// Wraps or replaces the connector to WhatsApp.
    pub connector: Option<Wrap>,
}

/// Makes the connector that sessions use from the one that leads to WhatsApp.
pub type Wrap = Box<dyn FnOnce(Arc<dyn Connector>) -> Arc<dyn Connector> + Send>;

/// Why the program cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Core dumps cannot be switched off.
    #[error("core dumps cannot be switched off")]
    Dumpable(#[source] io::Error),
    /// The async runtime does not start.
    #[error("the async runtime does not start")]
    Runtime(#[source] io::Error),
    /// Signals cannot be listened to.
    #[error("signals cannot be listened to")]
    Signals(#[source] io::Error),
    /// `TAUTAN_DATA_DIR` cannot be used.
    #[error("TAUTAN_DATA_DIR")]
    Store(#[from] OpenError),
    /// `TAUTAN_ENCRYPTION_KEY` cannot be used.
    #[error("TAUTAN_ENCRYPTION_KEY")]
    Key(#[source] KeyError),
    /// `TAUTAN_ENCRYPTION_KEY` cannot be used.
    #[error("TAUTAN_ENCRYPTION_KEY")]
    OtherKey(#[source] UnusableServer),
    /// `REDIS_URL` cannot be used.
    #[error("REDIS_URL")]
    Redis(#[source] UnusableServer),
    /// The sign-in key … cannot be read.
    #[error("the sign-in key {} cannot be read", .path.display())]
    SignInKey {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The keys that check tokens cannot be used.
    #[error("the token keys are no good: {0}")]
    Tokens(String),
    /// `TAUTAN_WHATSAPP_URL` cannot be used.
    #[error("TAUTAN_WHATSAPP_URL")]
    WhatsApp(#[from] UrlRefused),
    /// The address cannot be listened on.
    #[error("{variable}: cannot listen on {address}")]
    Listen {
        /// Which listener it is for.
        variable: &'static str,
        /// The address.
        address: SocketAddr,
        /// The cause.
        #[source]
        source: io::Error,
    },
}

impl From<UnusableServer> for StartError {
    /// Names the variable to look at.
    fn from(unusable: UnusableServer) -> Self {
        match unusable {
            UnusableServer::WrongKey => Self::OtherKey(unusable),
            UnusableServer::Later
            | UnusableServer::Earlier
            | UnusableServer::Unmigrated
            | UnusableServer::EarlierRuns
            | UnusableServer::Unmigratable
            | UnusableServer::Moving
            | UnusableServer::NotRedis
            | UnusableServer::Password
            | UnusableServer::Permission
            | UnusableServer::Cluster
            | UnusableServer::Sentinel
            | UnusableServer::Service
            | UnusableServer::Tls => Self::Redis(unusable),
        }
    }
}

/// Every service, built and not yet running.
pub struct App {
    pub(super) listener: TcpListener,
    pub(super) metrics: Option<(TcpListener, &'static Exporter)>,
    pub(super) admin: Option<TcpListener>,
    pub(super) address: SocketAddr,
    pub(super) services: Services,
    pub(super) sessions: Sessions,
    pub(super) stop_sessions: CancellationToken,
    pub(super) dispatcher: Option<Dispatcher>,
    pub(super) store: Backend,
    pub(super) drain_delay: Duration,
    pub(super) room: Room,
    sign_in_url: Option<String>,
}

impl App {
    /// Everything that can refuse the start does so here, before the first request is answered.
    pub async fn build(config: Config, mut seams: Seams) -> Result<Self, StartError> {
        let Config {
            listen,
            metrics_listen,
            admin_listen,
            data_dir,
            mode,
            store,
            drain_delay,
            session,
            webhook,
            caps,
            ..
        } = config;
        // First: a port that is taken is the most common reason why a second process on a machine cannot start.
        let (listener, address) = bound("TAUTAN_LISTEN", listen)?;
        // Before anything is measured.
        let metrics = match metrics_listen {
            Some(listen) => Some((bound("TAUTAN_METRICS_LISTEN", listen)?, telemetry::export())),
            None => None,
        };

        let admin = admin_listen.map(|listen| bound("TAUTAN_ADMIN_LISTEN", listen)).transpose()?;

        let clock = clock::system();
        let store = Backend::open(store, &data_dir, seams.on_commit.take(), clock.clone()).await?;
        let stores = store.stores();
        // Before the first status is published: only then the outbox keeps it.
        let dispatcher = webhook.map(|settings| Dispatcher::new(settings, store.outbox(), clock.clone()));

        let room = Capacity::take().room(caps, session.sessions_max);
        let stop_sessions = CancellationToken::new();
        let sessions = sessions(&stores, config.whatsapp, session, seams, &clock, stop_sessions.clone())?;

        let (auth, sign_in, sign_in_url) = match mode {
            Mode::Tokens(auth) => (auth, None, None),
            Mode::Local => {
                let local = local(&data_dir, address)?;
                (local.auth, Some(Arc::new(local.sign_in)), Some(local.url))
            }
        };
        let services = Services {
            settings: http::Settings { caps: room.caps, ..config.http },
            verifier: verifier(auth, clock.clone(), stores.revocations.revoked().clone())?,
            clock,
            journal: stores.journal,
            revoked: stores.revocations.revoked().clone(),
            sessions: sessions.clone(),
            health: Health::default(),
            sign_in,
            end_streams: CancellationToken::new(),
        };
        let metrics_address = metrics.as_ref().map(|((_, address), _)| tracing::field::display(*address));
        let admin_address = admin.as_ref().map(|(_, address)| tracing::field::display(*address));
        info!(%address, metrics = metrics_address, admin = admin_address, local = services.sign_in.is_some(), "listening");
        Ok(Self {
            listener,
            metrics: metrics.map(|((listener, _), exporter)| (listener, exporter)),
            admin: admin.map(|(listener, _)| listener),
            address,
            services,
            sessions,
            stop_sessions,
            dispatcher,
            store,
            drain_delay,
            room,
            sign_in_url,
        })
    }

    /// Local mode only.
    pub fn sign_in_url(&self) -> Option<&str> {
        self.sign_in_url.as_deref()
    }
}

fn bound(variable: &'static str, address: SocketAddr) -> Result<(TcpListener, SocketAddr), StartError> {
    let failed = |source| StartError::Listen { variable, address, source };
    let listener = bind(address).map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok((listener, address))
}

/// Sessions that open links to this WhatsApp.
pub(super) fn sessions(
    stores: &Stores,
    config::WhatsApp { url, version, device_name, proxies }: config::WhatsApp,
    settings: session::Settings,
    seams: Seams,
    clock: &SharedClock,
    stop: CancellationToken,
) -> Result<Sessions, UrlRefused> {
    let whatsapp = whatsapp::Settings {
        url,
        version,
        device_name,
        proxies,
        outgoing_frame: seams.outgoing_frame,
        qr_pace: seams.qr_pace.unwrap_or(1.0),
        ..whatsapp::Settings::default()
    };
    let (credentials, client_versions) = (stores.credentials.clone(), stores.client_versions.clone());
    let connector: Arc<dyn Connector> = Arc::new(WhatsApp::new(whatsapp, credentials, client_versions, clock.clone())?);
    let connector = match seams.connector {
        Some(wrap) => wrap(connector),
        None => connector,
    };
    let settings = settings.with_patience(seams.patience.unwrap_or(1.0));
    Ok(Sessions::new(stores.clone(), connector, clock.clone(), settings, stop))
}

fn verifier(
    settings: auth::Settings,
    clock: SharedClock,
    revoked: Arc<Revoked>,
) -> Result<Arc<TokenVerifier>, StartError> {
    let failed = |mistakes: Vec<auth::KeyError>| {
        StartError::Tokens(mistakes.iter().map(|mistake| super::chain(mistake)).collect::<Vec<_>>().join("; "))
    };
    let verifier = TokenVerifier::new(settings, clock).map_err(failed)?;
    let rule = Arc::new(move |tenant: &TenantId, issued_at| revoked.refuses(tenant, issued_at));
    Ok(Arc::new(verifier.with_revocation(rule)))
}
