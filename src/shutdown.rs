//! How the process is asked to go.

use std::{future::Future, io};

use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGTERM and SIGINT, counted: the first asks to drain, the second not to wait any longer.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    pub fn listen() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Cancel safe.
    pub async fn next(&mut self) {
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
