//! The network between the program and what it talks to, which a test may break.

use std::{io, net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
    time::sleep,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Of [`Way::Slow`].
const LATENCY: Duration = Duration::from_millis(20);

/// How a network treats what is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Open,
    /// Every piece arrives 20 ms later.
    Slow,
    /// Connections break, and new ones are ended as soon as they are made.
    Cut,
    /// Nothing arrives any more and no side gets an error, as with a pulled cable.
    Silent,
}

impl Way {
    fn carries(self) -> bool {
        matches!(self, Self::Open | Self::Slow)
    }
}

/// Forwards a free port to an address. Ends with the last handle.
pub struct Network {
    address: SocketAddr,
    way: watch::Sender<Way>,
    stop: CancellationToken,
}

impl Network {
    pub async fn to(target: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (way, ways) = watch::channel(Way::Open);
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let (of_connections, ends) = (tasks.clone(), stop.clone());
        tasks.spawn(stop.clone().run_until_cancelled_owned(async move {
            while let Ok((near, _)) = listener.accept().await {
                let carried = carry(near, target, ways.clone());
                of_connections.spawn(ends.clone().run_until_cancelled_owned(carried));
            }
        }));
        Ok(Self { address, way, stop })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn set(&self, way: Way) {
        self.way.send_replace(way);
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn carry(near: TcpStream, target: SocketAddr, mut ways: watch::Receiver<Way>) {
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
            () = copy(near_read, far_write, ways.clone()) => {}
            () = copy(far_read, near_write, ways.clone()) => {}
        }
    };
    tokio::select! {
        () = carried => {}
        _ = cut.wait_for(|way| *way == Way::Cut) => {}
    }
}

async fn copy(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, mut ways: watch::Receiver<Way>) {
    let mut bytes = vec![0; 16 * 1024];
    while let Ok(read @ 1..) = from.read(&mut bytes).await {
        let Ok(way) = ways.wait_for(|way| way.carries()).await.map(|way| *way) else { return };
        if way == Way::Slow {
            sleep(LATENCY).await;
        }
        if to.write_all(&bytes[..read]).await.is_err() {
            return;
        }
    }
}
