//! How the process is asked to go.

use std::{future::Future, io, time::Duration};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::Instant,
};

/// Signals within such a time are one: supervisors and `timeout` tell a process and then its group, and a Ctrl-C that
/// reaches both is passed on by whoever started us.
const ECHO_MAX: Duration = Duration::from_secs(1);

/// SIGTERM and SIGINT, counted: the first asks to drain, the second not to wait any longer.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    pub fn listen() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// When it came.
    pub async fn first(&mut self) -> Instant {
        self.any().await;
        Instant::now()
    }

    /// One that is no echo of the first.
    pub async fn second(&mut self, first: Instant) {
        self.any().await;
        while first.elapsed() < ECHO_MAX {
            self.any().await;
        }
    }

    async fn any(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// How a drain ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    Fully,
    /// The grace was over, or it was asked for a second time.
    Cut,
    /// Nobody had asked: a room ended that must not, so the rest was taken down in order.
    Crashed,
}

/// Runs the drain until it is done or `cut` comes.
pub async fn drain_or_cut(drain: impl Future<Output = ()>, cut: impl Future<Output = ()>) -> Drained {
    tokio::select! {
        biased;
        () = drain => Drained::Fully,
        () = cut => Drained::Cut,
    }
}
