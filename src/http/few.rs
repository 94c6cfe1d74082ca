//! Accepts the connections of a listener that few use, each for one request: the operator's monitoring, back ends.

use std::{sync::Arc, time::Duration};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::{interval, sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// The pause if the process is out of file descriptors: retrying faster does not help.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

pub struct Few {
    /// Connections at once; one more is closed.
    pub connections_max: usize,
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
        let (tasks, places) = (TaskTracker::new(), Arc::new(Semaphore::new(self.connections_max)));
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
            match (accepted, places.clone().try_acquire_owned()) {
                (Ok((socket, _)), Ok(place)) => {
                    let answered = timeout(self.connection_time_max, answer(socket));
                    tasks.spawn(async move {
                        let _ = answered.await;
                        drop(place);
                    });
                }
                (Ok(_), Err(_)) => {}
                (Err(_), _) => sleep(ACCEPT_PAUSE).await,
            }
        }
        drop(listener);
        tasks.close();
        tasks.wait().await;
    }
}
