mod clock;

use std::{sync::Arc, time::Duration};

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use reqwest::{Method, RequestBuilder, Response, redirect::Policy};
use serde_json::{Value, json};
use tautan::{
    auth::{KeySource, Secret, Settings as Auth, TokenVerifier},
    clock::Clock as _,
    events::{Account, PairingId, PhoneNumber, QrCode, Status},
    http::{Health, LocalSignIn, Services, Settings, serve},
    link_options::LinkOptions,
    session::{ConnectError, Connector, Link, Sessions, Settings as SessionSettings},
    store::{
        DesiredState, Lease, StoreError, Stores,
        crypt::MasterKey,
        embedded::{EmbeddedStore, Settings as Store},
    },
    tenant::TenantId,
};
use tautan_test_support::EventStream;
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use clock::TestClock;

pub const SECRET: &str = "q2Xo0v4n3bS1uJb7cD5mZk9rWf8yLhTgPaEiNwVsQxM=";
/// Every wait ends within this time unless something is broken.
pub const DEADLINE: Duration = Duration::from_secs(10);

pub struct Server {
    pub url: String,
    pub clock: Arc<TestClock>,
    pub stores: Stores,
    pub health: Health,
    pub end_streams: CancellationToken,
    pub stop: CancellationToken,
    pub running: Option<JoinHandle<bool>>,
    client: reqwest::Client,
    _store: EmbeddedStore,
    _dir: tempfile::TempDir,
}

pub struct Setup {
    pub http: Settings,
    pub auth: Auth,
    pub sign_in: Option<LocalSignIn>,
}

impl Default for Setup {
    fn default() -> Self {
        let keys = vec![KeySource::Secret(Secret::new(SECRET))];
        Self { http: Settings::default(), auth: Auth { keys, ..Auth::default() }, sign_in: None }
    }
}

impl Setup {
    pub async fn start(self) -> Server {
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(TestClock::default());
        let key = MasterKey::from_base64("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=").unwrap();
        let settings = Store::new(dir.path().join("data"), key);
        let store = EmbeddedStore::open(settings, clock.clone()).unwrap();
        let stores = store.stores();
        let (end_streams, stop, health) = (CancellationToken::new(), CancellationToken::new(), Health::default());
        let verifier = TokenVerifier::new(self.auth, clock.clone()).unwrap();
        let revoked = stores.revocations.revoked().clone();
        let rule = {
            let revoked = revoked.clone();
            move |tenant: &TenantId, issued_at| revoked.refuses(tenant, issued_at)
        };
        let services = Services {
            settings: self.http,
            clock: clock.clone(),
            verifier: Arc::new(verifier.with_revocation(Arc::new(rule))),
            journal: stores.journal.clone(),
            revoked: revoked.clone(),
            sessions: requests_only(&stores, clock.clone()),
            health: health.clone(),
            sign_in: self.sign_in.map(Arc::new),
            end_streams: end_streams.clone(),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let running = TaskTracker::new().spawn(serve(listener, services, stop.clone()));
        let client = reqwest::Client::builder().redirect(Policy::none()).timeout(DEADLINE * 3).build().unwrap();
        Server {
            url,
            clock,
            stores,
            health,
            end_streams,
            stop,
            running: Some(running),
            client,
            _store: store,
            _dir: dir,
        }
    }
}

impl Server {
    pub async fn start() -> Self {
        Setup::default().start().await
    }

    pub fn host(&self) -> &str {
        self.url.strip_prefix("http://").unwrap()
    }

    pub fn request(&self, method: &str, path: &str) -> RequestBuilder {
        self.client.request(Method::from_bytes(method.as_bytes()).unwrap(), format!("{}{path}", self.url))
    }

    pub fn get(&self, path: &str) -> RequestBuilder {
        self.request("GET", path)
    }

    pub fn post(&self, path: &str) -> RequestBuilder {
        self.request("POST", path)
    }

    /// A token for the tenant that is good for an hour.
    pub fn token(&self, tenant: &str) -> String {
        sign(&json!({ "id": tenant, "exp": self.second() + 3_600 }))
    }

    pub fn second(&self) -> i64 {
        self.clock.now().as_second()
    }

    pub async fn stream(&self, tenant: &str) -> EventStream {
        EventStream::open(self.get("/api/whatsapp/events").bearer_auth(self.token(tenant))).await
    }

    pub async fn stream_after(&self, tenant: &str, last: &str) -> EventStream {
        let request = self.get("/api/whatsapp/events").bearer_auth(self.token(tenant));
        EventStream::open(request.header("last-event-id", last)).await
    }

    /// Becomes the owner of the tenant's session, as an instance does after "connect".
    pub async fn own(&self, tenant: &str) -> Owner<'_> {
        let tenant = TenantId::parse(tenant).unwrap();
        self.stores.commands.request(&tenant, DesiredState::run(None)).await.unwrap();
        let lease = self.stores.ownership.acquire(&tenant).await.unwrap().unwrap();
        Owner { server: self, lease }
    }
}

/// Appends statuses as a session does.
pub struct Owner<'s> {
    server: &'s Server,
    lease: Lease,
}

impl Owner<'_> {
    /// Returns the number of readers.
    pub async fn publish(&self, status: Status) -> usize {
        self.server.stores.journal.append(&self.lease, status).await.unwrap().listeners
    }

    pub async fn show_qr(&self, text: &str, seconds: i64) -> usize {
        self.publish(self.qr(text, seconds)).await
    }

    pub fn qr(&self, text: &str, seconds: i64) -> Status {
        let expires_at = self.server.clock.after(seconds);
        let qr = QrCode::new(text.into(), expires_at, 1, 6, PairingId::new(1)).unwrap();
        Status::QrPending { qr: qr.given_for(Duration::from_secs(seconds.unsigned_abs())), pair: None }
    }

    pub async fn connected(&self, phone: &str, name: Option<&str>) {
        let account =
            Account { phone: PhoneNumber::parse(phone).unwrap(), name: name.map(str::to_owned), platform: None };
        self.publish(Status::Connected { account }).await;
    }

    /// How many messages it received since the last call.
    pub async fn hears(&self) -> usize {
        self.server.stores.commands.receive(&self.lease).await.unwrap().len()
    }

    /// Dies: the session is still requested, and no instance runs it.
    pub async fn leave(self) {
        self.server.stores.ownership.release(self.lease).await.unwrap();
    }
}

pub fn sign(claims: &Value) -> String {
    sign_with(Algorithm::HS256, &EncodingKey::from_secret(SECRET.as_bytes()), claims)
}

pub fn sign_with(algorithm: Algorithm, key: &EncodingKey, claims: &Value) -> String {
    jsonwebtoken::encode(&Header::new(algorithm), claims, key).unwrap()
}

pub fn header<'r>(response: &'r Response, name: &str) -> &'r str {
    response.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

/// Checks that the answer is a problem of RFC 9457, and returns its detail.
#[track_caller]
pub fn check_problem(status: u16, kind: &str, body: &Value, expected: (u16, &str)) -> String {
    assert_eq!((status, body["code"].as_str().unwrap_or_default()), expected, "{body}");
    assert_eq!(kind, "application/problem+json");
    assert_eq!(body["status"], status);
    assert!(body["type"].is_string() && body["title"].is_string());
    body["detail"].as_str().unwrap().to_owned()
}

pub async fn problem(response: Response, status: u16, code: &str) -> String {
    let (got, kind) = (response.status().as_u16(), header(&response, "content-type").to_owned());
    if got == 401 {
        assert_eq!(header(&response, "www-authenticate"), "Bearer");
    }
    let body = response.json().await.unwrap_or_default();
    check_problem(got, &kind, &body, (status, code))
}

pub async fn in_time<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future).await.expect("it takes longer than anything should")
}

/// Sessions of an instance that runs none: requests are saved, and the tests act as the owner.
fn requests_only(stores: &Stores, clock: Arc<TestClock>) -> Sessions {
    let stopped = CancellationToken::new();
    stopped.cancel();
    Sessions::new(stores.clone(), Arc::new(NoLinks), clock, SessionSettings::default(), stopped)
}

struct NoLinks;

#[async_trait::async_trait]
impl Connector for NoLinks {
    async fn open(&self, _: &Lease, _: &LinkOptions) -> Result<Box<dyn Link>, ConnectError> {
        Err(ConnectError::Store(StoreError::Fenced))
    }
}
