use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

/// The network between the browser and the program: it can be cut and mended, can fall silent, and remembers what the
/// browser said.
pub struct Wire {
    address: SocketAddr,
    shared: Arc<Shared>,
    _tasks: JoinSet<()>,
}

struct Shared {
    program: String,
    said: Mutex<String>,
    /// Cancelled while the wire is cut.
    whole: Mutex<CancellationToken>,
    /// Cancelled for the connections that carry nothing any more.
    heard: Mutex<CancellationToken>,
}

impl Wire {
    pub async fn to(base: &str) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let shared = Arc::new(Shared {
            program: base.trim_start_matches("http://").to_owned(),
            said: Mutex::default(),
            whole: Mutex::default(),
            heard: Mutex::default(),
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, shared.clone()));
        Self { address, shared, _tasks: tasks }
    }

    pub fn base(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Breaks every connection, and each new one at once.
    pub fn cut(&self) {
        self.shared.whole.lock().expect("no holder panics").cancel();
    }

    /// The streams of now stay open and carry nothing any more, as behind a router that forgot them. The connections that
    /// rest end, and new ones work.
    pub fn fall_silent(&self) {
        std::mem::take(&mut *self.shared.heard.lock().expect("no holder panics")).cancel();
    }

    pub fn mend(&self) {
        *self.shared.whole.lock().expect("no holder panics") = CancellationToken::new();
    }

    /// The values of this header in what the browser has sent so far.
    pub fn headers(&self, name: &str) -> Vec<String> {
        let said = self.shared.said.lock().expect("no holder panics");
        let fields = said.lines().filter_map(|line| line.split_once(": "));
        fields.filter(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim().to_owned()).collect()
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    while let Ok((socket, _)) = listener.accept().await {
        let cut = shared.whole.lock().expect("no holder panics").clone();
        let heard = shared.heard.lock().expect("no holder panics").clone();
        let shared = shared.clone();
        connections.spawn(async move {
            tokio::select! {
                () = cut.cancelled() => {}
                () = carry(socket, heard, &shared) => {}
            }
        });
    }
}

async fn carry(mut browser: TcpStream, heard: CancellationToken, shared: &Shared) {
    let Ok(mut program) = TcpStream::connect(&shared.program).await else { return };
    let (mut asked, mut answered) = ([0; 8192], [0; 8192]);
    let mut streams = false;
    loop {
        tokio::select! {
            biased;
            () = heard.cancelled() => if streams { std::future::pending().await } else { return },
            read = browser.read(&mut asked) => {
                let Some(bytes) = some(read, &asked) else { return };
                shared.said.lock().expect("no holder panics").push_str(&String::from_utf8_lossy(bytes));
                if program.write_all(bytes).await.is_err() { return }
            }
            read = program.read(&mut answered) => {
                let Some(bytes) = some(read, &answered) else { return };
                streams |= String::from_utf8_lossy(bytes).contains("text/event-stream");
                if browser.write_all(bytes).await.is_err() { return }
            }
        }
    }
}

fn some(read: std::io::Result<usize>, buffer: &[u8]) -> Option<&[u8]> {
    read.ok().filter(|length| *length > 0).map(|length| &buffer[..length])
}
