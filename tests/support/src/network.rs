//! The network between the program and what it talks to, which a test may break.

use std::{future::pending, io, net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::{mpsc, watch},
    time::{Instant, sleep, sleep_until},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Of [`Way::Slow`].
const LATENCY: Duration = Duration::from_millis(20);
/// The most that is read from a connection at once.
const PIECE: usize = 16 * 1024;
/// Of [`Way::Narrow`]: how long a full piece takes, and a smaller one less.
const PIECE_TAKES: Duration = Duration::from_millis(60);
/// Pieces that have been read and wait for their delay.
const UNDER_WAY_MAX: usize = 64;

/// How a network treats what is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Open,
    /// Every piece arrives 20 ms later.
    Slow,
    /// Each connection carries 16 KiB in 60 ms. A connection with little to carry is as fast as before.
    Narrow,
    /// Connections break, and new ones are ended as soon as they are made.
    Cut,
    /// Nothing arrives any more and no side gets an error, as with a pulled cable.
    Silent,
}

impl Way {
    fn carries(self) -> bool {
        matches!(self, Self::Open | Self::Slow | Self::Narrow)
    }
}

/// Forwards a free port to an address. Ends with the last handle.
pub struct Network {
    address: SocketAddr,
    way: watch::Sender<Way>,
    delay: watch::Sender<Duration>,
    stop: CancellationToken,
}

impl Network {
    pub async fn to(target: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (way, ways) = watch::channel(Way::Open);
        let (delay, delays) = watch::channel(Duration::ZERO);
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let (of_connections, ends) = (tasks.clone(), stop.clone());
        tasks.spawn(stop.clone().run_until_cancelled_owned(async move {
            while let Ok((near, _)) = listener.accept().await {
                let carried = carry(near, target, ways.clone(), delays.clone());
                of_connections.spawn(ends.clone().run_until_cancelled_owned(carried));
            }
        }));
        Ok(Self { address, way, delay, stop })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn set(&self, way: Way) {
        self.way.send_replace(way);
    }

    /// What is sent to the target takes so much longer, so that the time of an answer counts the round trips behind it.
    pub fn set_delay(&self, delay: Duration) {
        self.delay.send_replace(delay);
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn carry(near: TcpStream, target: SocketAddr, mut ways: watch::Receiver<Way>, delays: watch::Receiver<Duration>) {
    let mut cut = ways.clone();
    let carried = async {
        if ways.wait_for(|way| way.carries()).await.is_err() {
            return;
        }
        let Ok(far) = TcpStream::connect(target).await else { return };
        // The program's own setting is not to be undone on the way.
        if near.set_nodelay(true).and(far.set_nodelay(true)).is_err() {
            return;
        }
        let ((near_read, near_write), (far_read, far_write)) = (near.into_split(), far.into_split());
        tokio::select! {
            () = copy(near_read, far_write, ways.clone(), Some(delays)) => {}
            () = copy(far_read, near_write, ways.clone(), None) => {}
        }
    };
    tokio::select! {
        () = carried => {}
        _ = cut.wait_for(|way| *way == Way::Cut) => {}
    }
}

async fn copy(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut ways: watch::Receiver<Way>,
    delays: Option<watch::Receiver<Duration>>,
) {
    let (sent, mut under_way) = mpsc::channel::<(Instant, Vec<u8>)>(UNDER_WAY_MAX);
    let mut open = ways.clone();
    let read = async move {
        let mut bytes = vec![0; PIECE];
        while let Ok(read @ 1..) = from.read(&mut bytes).await {
            // A silent network reads nothing more, so that the sender notices that its buffers are full.
            let Ok(way) = open.wait_for(|way| way.carries()).await.map(|way| *way) else { return };
            let delay = delays.as_ref().map_or(Duration::ZERO, |delays| *delays.borrow());
            let delay = if way == Way::Slow { delay + LATENCY } else { delay };
            if way == Way::Narrow {
                sleep(PIECE_TAKES.mul_f64(read as f64 / PIECE as f64)).await;
            }
            if sent.send((Instant::now() + delay, bytes[..read].to_vec())).await.is_err() {
                return;
            }
        }
    };
    // Outside of the reading: a piece that is delayed does not delay the next.
    let write = async {
        while let Some((at, bytes)) = under_way.recv().await {
            // A timer of zero also takes a millisecond.
            if at > Instant::now() {
                sleep_until(at).await;
            }
            if ways.wait_for(|way| way.carries()).await.is_err() || to.write_all(&bytes).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = write => {}
        // Ends the queue, and with it the writing.
        () = async { read.await; pending().await } => {}
    }
}
