use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{
    io::{AsyncWriteExt as _, copy_bidirectional},
    net::{TcpListener, TcpStream},
};
use tokio_util::task::TaskTracker;

/// One port for all instances: each connection goes to the next living one.
#[derive(Clone, Default)]
pub struct Balancer {
    places: Arc<Mutex<Vec<Option<SocketAddr>>>>,
    turn: Arc<AtomicUsize>,
}

impl Balancer {
    pub fn set(&self, instance: usize, address: Option<SocketAddr>) {
        let mut places = self.places.lock().expect("no holder panics");
        let length = places.len().max(instance + 1);
        places.resize(length, None);
        places[instance] = address;
    }

    pub async fn serve(self, listener: TcpListener) {
        let connections = TaskTracker::new();
        while let Ok((browser, _)) = listener.accept().await {
            let balancer = self.clone();
            connections.spawn(async move {
                // Either side may disconnect at any time. The other side then sees the end of its connection.
                let _ = balancer.carry(browser).await;
            });
        }
    }

    async fn carry(&self, mut browser: TcpStream) -> io::Result<()> {
        browser.set_nodelay(true)?;
        for address in self.in_turn() {
            if let Ok(mut instance) = TcpStream::connect(address).await {
                instance.set_nodelay(true)?;
                copy_bidirectional(&mut browser, &mut instance).await?;
                return Ok(());
            }
        }
        browser.write_all(b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await
    }

    fn in_turn(&self) -> Vec<SocketAddr> {
        let places = self.places.lock().expect("no holder panics");
        let first = self.turn.fetch_add(1, Ordering::Relaxed);
        (0..places.len()).filter_map(|step| places[(first + step) % places.len()]).collect()
    }
}
