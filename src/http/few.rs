//! Accepts the connections of a listener that few use, each for one request: the operator's monitoring, back ends.

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    net::{TcpListener, TcpStream},
    time::{interval, sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::network::{client, is_trusted};

/// The pause if the process is out of file descriptors: retrying faster does not help.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

pub struct Few {
    /// Connections at once; one more is closed.
    pub connections_max: usize,
    /// Of these, connections of one address that is not loopback. Without this, one host that sends nothing keeps all others
    /// out.
    pub per_address_max: usize,
    /// For a whole connection: its request, the answer, and its end.
    pub connection_time_max: Duration,
    /// Between two ticks.
    pub tick_every: Duration,
}

impl Few {
    /// Accepts until `stop`, then waits for the connections that are open. `answer` ends them sooner if they must end then.
    pub async fn accept<F>(
        self,
        listener: TcpListener,
        stop: CancellationToken,
        tick: impl Fn(),
        answer: impl Fn(TcpStream) -> F,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        let (tasks, open) = (TaskTracker::new(), Arc::default());
        let mut ticks = interval(self.tick_every);
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                _ = ticks.tick() => {
                    tick();
                    continue;
                }
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((socket, peer)) => {
                    let Some(slot) = self.slot(&open, peer.ip()) else { continue };
                    let answered = timeout(self.connection_time_max, answer(socket));
                    tasks.spawn(async move {
                        let _ = answered.await;
                        drop(slot);
                    });
                }
                Err(_) => sleep(ACCEPT_PAUSE).await,
            }
        }
        drop(listener);
        tasks.close();
        tasks.wait().await;
    }

    /// `None`: the listener or the address has as many connections as it may have.
    fn slot(&self, open: &Arc<Open>, peer: IpAddr) -> Option<Slot> {
        let address = client(peer);
        let mut addresses = open.addresses();
        let of_address = addresses.iter().filter(|other| **other == address).count();
        let may_have_more = of_address < self.per_address_max || is_trusted(peer, &[]);
        if addresses.len() >= self.connections_max || !may_have_more {
            return None;
        }
        addresses.push(address);
        Some(Slot { open: open.clone(), address })
    }
}

/// The address of each open connection.
#[derive(Default)]
struct Open(Mutex<Vec<IpAddr>>);

impl Open {
    fn addresses(&self) -> MutexGuard<'_, Vec<IpAddr>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts an open connection; dropping it frees its slot.
struct Slot {
    open: Arc<Open>,
    address: IpAddr,
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut addresses = self.open.addresses();
        if let Some(at) = addresses.iter().position(|address| *address == self.address) {
            addresses.swap_remove(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FEW: Few = Few {
        connections_max: 4,
        per_address_max: 2,
        connection_time_max: Duration::from_secs(60),
        tick_every: Duration::from_secs(60),
    };

    fn slots(open: &Arc<Open>, addresses: &[&str]) -> Vec<Option<Slot>> {
        addresses.iter().map(|address| FEW.slot(open, address.parse().unwrap())).collect()
    }

    fn given(slots: &[Option<Slot>]) -> Vec<bool> {
        slots.iter().map(Option::is_some).collect()
    }

    #[test]
    fn one_address_takes_half_of_the_slots() {
        let open = Arc::default();
        let mut held = slots(&open, &["192.0.2.1", "192.0.2.1", "192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4"]);
        assert_eq!(given(&held), [true, true, false, true, true, false]);
        held.remove(0);
        assert_eq!(given(&slots(&open, &["192.0.2.1", "192.0.2.4"])), [true, false], "a slot is free again");
        drop(held);
        assert_eq!(given(&slots(&open, &["2001:db8::1", "2001:db8::2", "2001:db8::3"])), [true, true, false]);
        assert!(open.addresses().is_empty());
    }

    #[test]
    fn loopback_takes_all_slots() {
        for address in ["127.0.0.1", "::1", "::ffff:127.0.0.1"] {
            assert_eq!(given(&slots(&Arc::default(), &[address; 5])), [true, true, true, true, false], "{address}");
        }
    }
}
