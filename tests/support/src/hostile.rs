//! Clients that use up connections, bandwidth and memory. None of them has a token.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    thread::JoinHandle,
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    runtime::Builder,
    sync::oneshot,
    task::{JoinSet, spawn_blocking},
};

/// They come from 127.0.0.2 to 127.0.0.9.
const ADDRESSES: u8 = 8;
/// The pause before a closed client reconnects.
const PAUSE: Duration = Duration::from_millis(250);
/// The same for clients that are to take connections, and not the processor that they share with the service.
const LONG_PAUSE: Duration = Duration::from_secs(2);
/// The buffers of a client that reads nothing. The service sees the same with larger ones, but the client would go on writing
/// into its own send buffer for most of a minute, and take the processor that it shares with the service.
const SMALL_BUFFER: u32 = 2_048;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Sends nothing.
    Idle,
    /// Sends its headers a byte a second.
    SlowHeaders,
    /// Asks once and then rests.
    KeepAlive,
    /// Sends half a request and closes its side.
    HalfClosed,
    /// Asks for streams, without a token, and for the page's script, and reads no answer.
    NeverReading,
}

impl Kind {
    pub const ALL: [Self; 5] = [Self::Idle, Self::SlowHeaders, Self::KeepAlive, Self::HalfClosed, Self::NeverReading];
}

/// Clients that reconnect whenever they are closed; they end when this is dropped.
///
/// They run on a thread of their own. On the runtime of the test, each step of its users and its simulator would wait until
/// hundreds of these clients have been polled, and that would be measured as the service's.
pub struct Attack {
    thread: JoinHandle<()>,
    /// Dropping it ends them.
    end: oneshot::Sender<()>,
}

impl Attack {
    /// `kinds` in turn.
    pub fn begin(server: SocketAddr, clients: usize, kinds: &[Kind]) -> Self {
        Self::with_pause(server, clients, kinds, PAUSE)
    }

    /// As [`Self::begin`], and each one that was closed rests for longer before it comes back.
    pub fn begin_slowly(server: SocketAddr, clients: usize, kinds: &[Kind]) -> Self {
        Self::with_pause(server, clients, kinds, LONG_PAUSE)
    }

    fn with_pause(server: SocketAddr, clients: usize, kinds: &[Kind], pause: Duration) -> Self {
        let (end, ended) = oneshot::channel();
        let kinds = kinds.to_owned();
        let thread = std::thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let mut all = JoinSet::new();
                for number in 0..clients {
                    // Each address has clients of every kind.
                    let (from, kind) = (attacker(number), kinds[number / usize::from(ADDRESSES) % kinds.len()]);
                    all.spawn(come_back(from, server, kind, pause));
                }
                // An error: it was dropped.
                let _ = ended.await;
                all.shutdown().await;
            });
        });
        Self { thread, end }
    }

    pub async fn end(self) {
        drop(self.end);
        let joined = spawn_blocking(|| self.thread.join()).await.expect("it waits");
        joined.expect("no client panics");
    }
}

/// Connects again and again.
async fn come_back(from: IpAddr, server: SocketAddr, kind: Kind, pause: Duration) {
    loop {
        if let Ok(socket) = connect(from, server, kind).await {
            // Closed by the server, which is how each of them ends.
            let _ = hold(socket, kind).await;
        }
        tokio::time::sleep(pause).await;
    }
}

fn attacker(number: usize) -> IpAddr {
    let last = 2 + u8::try_from(number % usize::from(ADDRESSES)).expect("it is less than eight");
    Ipv4Addr::new(127, 0, 0, last).into()
}

async fn connect(from: IpAddr, to: SocketAddr, kind: Kind) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    if kind == Kind::NeverReading {
        socket.set_recv_buffer_size(SMALL_BUFFER)?;
        socket.set_send_buffer_size(SMALL_BUFFER)?;
    }
    socket.bind(SocketAddr::new(from, 0))?;
    socket.connect(to).await
}

/// Holds the connection until the server closes it.
async fn hold(mut socket: TcpStream, kind: Kind) -> std::io::Result<()> {
    const ASK: &[u8] = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n";
    const STREAM: &[u8] = b"GET /api/whatsapp/events HTTP/1.1\r\nhost: x\r\n\r\n";
    const SCRIPT: &[u8] = b"GET /static/whatsapp-link.js HTTP/1.1\r\nhost: x\r\n\r\n";
    match kind {
        Kind::Idle => {}
        Kind::SlowHeaders => {
            for byte in ASK.iter().chain(std::iter::repeat(&b'x')) {
                socket.write_all(&[*byte]).await?;
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
        Kind::KeepAlive => socket.write_all(ASK).await?,
        Kind::HalfClosed => {
            socket.write_all(&ASK[..20]).await?;
            socket.shutdown().await?;
        }
        Kind::NeverReading => loop {
            socket.write_all(STREAM).await?;
            socket.write_all(SCRIPT).await?;
        },
    }
    let mut answer = [0; 1_024];
    while socket.read(&mut answer).await? > 0 {}
    Ok(())
}
