//! whatsapp-rust as a test drives it: every event in order, one at a time.

use std::sync::Arc;
use std::time::Instant;

use tautan_simulator::{DeviceId, Phone, Simulator};
use tokio::sync::mpsc;
use tokio::time::timeout;
use whatsapp_rust::anyhow;
use whatsapp_rust::bot::{Bot, BotHandle, EventDelivery};
use whatsapp_rust::http::{HttpClient, HttpRequest, HttpResponse};
use whatsapp_rust::prelude::Event;
use whatsapp_rust::transport::TokioWebSocketTransportFactory;
use whatsapp_rust::wacore::store::InMemoryBackend;
use whatsapp_rust::{Client, TokioRuntime, async_trait};

use crate::DEADLINE;

const EVENTS_MAX: usize = 1024;

/// The client has no business with HTTP here: the version is given, history and media are off.
struct NoHttp;

#[async_trait]
impl HttpClient for NoHttp {
    async fn execute(&self, request: HttpRequest) -> Result<HttpResponse, anyhow::Error> {
        Err(anyhow::anyhow!("unexpected HTTP request to {}", request.url))
    }
}

/// A client library that runs.
pub struct Library {
    handle: Option<BotHandle>,
    client: Arc<Client>,
    events: mpsc::UnboundedReceiver<Arc<Event>>,
}

impl Library {
    /// Starts the client on what it has stored, which for a fresh backend means that it registers.
    pub async fn start(sim: &Simulator, backend: &Arc<InMemoryBackend>) -> Self {
        let (sender, events) = mpsc::unbounded_channel();
        let bot = Bot::builder()
            .with_backend_arc(backend.clone())
            .with_transport_factory(TokioWebSocketTransportFactory::new().with_url(sim.url()))
            .with_http_client(NoHttp)
            .with_runtime(TokioRuntime::new())
            .with_version((2, 3000, 1_040_000_000))
            .with_event_delivery(EventDelivery::Ordered { capacity: EVENTS_MAX })
            .skip_history_sync()
            .on_event(move |event, _| {
                let _ = sender.send(event);
                async {}
            })
            .build()
            .await
            .expect("the client builds");
        let client = bot.client();
        Self { handle: Some(bot.spawn()), client, events }
    }

    pub fn client(&self) -> &Arc<Client> {
        &self.client
    }

    /// The next event that `pick` wants; the others before it are dropped.
    pub async fn event<T>(&mut self, what: &str, mut pick: impl FnMut(&Event) -> Option<T>) -> T {
        let wait = async {
            while let Some(event) = self.events.recv().await {
                if let Some(picked) = pick(&event) {
                    return picked;
                }
            }
            panic!("the client ended before {what}");
        };
        timeout(DEADLINE, wait).await.unwrap_or_else(|_| panic!("no {what} within {DEADLINE:?}"))
    }

    pub async fn qr_text(&mut self) -> String {
        self.event("QR text", |event| match event {
            Event::PairingQrCode(qr) => Some(qr.code.clone()),
            _ => None,
        })
        .await
    }

    pub async fn connected(&mut self) {
        self.event("connected", |event| matches!(event, Event::Connected(_)).then_some(())).await;
    }

    pub async fn text(&mut self) -> String {
        self.event("text", |event| event.messages().find_map(|message| message.message.conversation.clone())).await
    }

    /// Waits until the client has given up by itself.
    pub async fn ended(&mut self) {
        let handle = self.handle.take().expect("it is running");
        timeout(DEADLINE, handle).await.expect("the client ends by itself");
    }

    pub async fn shutdown(mut self) {
        if let Some(handle) = self.handle.take() {
            handle.shutdown().await;
        }
    }
}

/// A simulator with one phone and one client linked to it and connected.
pub struct Linked {
    pub sim: Simulator,
    pub phone: Phone,
    pub device: DeviceId,
    pub backend: Arc<InMemoryBackend>,
    pub library: Library,
    pub scan_to_connected: std::time::Duration,
}

pub async fn linked() -> Linked {
    let sim = Simulator::start().await.expect("a free port");
    linked_on(sim).await
}

pub async fn linked_on(sim: Simulator) -> Linked {
    let phone = sim.phone("6281234567890", "Toko Sari");
    let backend = Arc::new(InMemoryBackend::new());
    let mut library = Library::start(&sim, &backend).await;
    let qr_text = library.qr_text().await;
    let scanned = Instant::now();
    let device = phone.scan(&qr_text).await.expect("the QR text is alive");
    library.connected().await;
    Linked { sim, phone, device, backend, library, scan_to_connected: scanned.elapsed() }
}
