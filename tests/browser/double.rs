use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex},
    time::Instant,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

/// A page with the element in it, which takes its script from `service` and listens to `base`.
pub fn host(service: &str, before: &str, base: &str) -> String {
    format!(
        "<!doctype html><html lang='id'><head><title>Host</title><meta name='viewport' content='width=device-width'>\
         <link rel='icon' href='data:,'><link rel='stylesheet' href='{service}/static/page.css'>{before}</head>\
         <body><main><h1>Host</h1><whatsapp-link base='{base}'></whatsapp-link></main>\
         <script type='module' src='{service}/static/whatsapp-link.js'></script></body></html>"
    )
}

/// A server that answers as a test tells it: a host page of another origin, or a service that says what the real one
/// never does.
pub struct Double {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    _tasks: JoinSet<()>,
}

#[derive(Clone, Debug)]
pub struct Asked {
    pub path: String,
    pub head: String,
    pub at: Instant,
}

/// What is answered: a status line and headers, a body, and whether the connection then stays open as a stream's does.
pub struct Reply {
    head: String,
    body: String,
    stays: bool,
}

impl Reply {
    pub fn html(body: &str) -> Self {
        Self { head: "200 OK\r\ncontent-type: text/html; charset=utf-8".into(), body: body.into(), stays: false }
    }

    pub fn script(body: &str) -> Self {
        Self { head: "200 OK\r\ncontent-type: text/javascript; charset=utf-8".into(), body: body.into(), stays: false }
    }

    pub fn stream(events: &str) -> Self {
        let head = "200 OK\r\ncontent-type: text/event-stream\r\ncache-control: no-store".into();
        Self { head, body: events.into(), stays: true }
    }

    pub fn refusal(status: &str, code: &str) -> Self {
        let head = format!("{status}\r\ncontent-type: application/problem+json");
        Self { head, body: format!("{{\"code\":\"{code}\"}}"), stays: false }
    }

    /// The connection is closed after the last byte.
    pub fn that_ends(mut self) -> Self {
        self.stays = false;
        self
    }

    pub fn with(mut self, header: &str) -> Self {
        self.head.push_str("\r\n");
        self.head.push_str(header);
        self
    }
}

impl Double {
    /// `answer` is given the path and how often it was asked for before.
    pub async fn start(answer: impl Fn(&str, usize) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let asked = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, Arc::new(answer), asked.clone()));
        Self { address, asked, _tasks: tasks }
    }

    pub fn base(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The requests for this path, in their order.
    pub fn asked(&self, path: &str) -> Vec<Asked> {
        self.asked.lock().expect("no holder panics").iter().filter(|asked| asked.path == path).cloned().collect()
    }
}

type Answer = dyn Fn(&str, usize) -> Reply + Send + Sync;

async fn accept(listener: TcpListener, answer: Arc<Answer>, asked: Arc<Mutex<Vec<Asked>>>) {
    let mut connections = JoinSet::new();
    while let Ok((socket, _)) = listener.accept().await {
        connections.spawn(serve(socket, answer.clone(), asked.clone()));
    }
}

/// One request for each connection.
async fn serve(mut socket: TcpStream, answer: Arc<Answer>, asked: Arc<Mutex<Vec<Asked>>>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match socket.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
    let before = {
        let mut asked = asked.lock().expect("no holder panics");
        let before = asked.iter().filter(|asked| asked.path == path).count();
        asked.push(Asked { path: path.clone(), head, at: Instant::now() });
        before
    };
    let Reply { head, body, stays } = answer(&path, before);
    let length = if stays { String::new() } else { format!("content-length: {}\r\n", body.len()) };
    let written = format!("HTTP/1.1 {head}\r\nconnection: close\r\n{length}\r\n{body}");
    // A browser that has gone away in between is no concern of ours.
    if socket.write_all(written.as_bytes()).await.is_ok() && stays {
        let _ = socket.read_u8().await;
    }
}
