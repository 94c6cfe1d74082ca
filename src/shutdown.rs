//! Counts the signals that ask the process to stop. The first one starts a drain, the second one cuts it. It must not
//! stop anything itself: `app` does. Start with [`Signals`].

use std::{
    fs::{self, File},
    future::Future,
    io,
    time::Duration,
};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::Instant,
};
use tracing::info;

/// Signals within this time count as one: supervisors and `timeout` signal a process and then its group, and a parent
/// process passes on a Ctrl-C that reached both.
const ECHO_MAX: Duration = Duration::from_secs(1);

/// SIGTERM, SIGINT and SIGQUIT, counted: the first asks to drain, the second not to wait any longer.
///
/// SIGHUP counts as well where there is a terminal, which has been closed then. Without one it comes from scripts that
/// want a daemon to read its configuration again, and is ignored. So are SIGUSR1 and SIGUSR2. By default each of them
/// would end the process at once, and cut every stream.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
    /// `None`: the parent process has it ignored, as `nohup` does, and it stays ignored.
    hangup: Option<Signal>,
    has_terminal: bool,
    user: [Signal; 2],
}

impl Signals {
    /// From now on signals are counted and do not end the process.
    pub fn listen() -> io::Result<Self> {
        let hangup = if hangup_is_ignored() { None } else { Some(signal(SignalKind::hangup())?) };
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            hangup,
            has_terminal: File::open("/dev/tty").is_ok(),
            user: [signal(SignalKind::user_defined1())?, signal(SignalKind::user_defined2())?],
        })
    }

    /// Waits for the first signal. Returns when it came.
    pub async fn first(&mut self) -> Instant {
        self.any().await;
        Instant::now()
    }

    /// Waits for a signal that does not belong to the first one.
    pub async fn second(&mut self, first: Instant) {
        self.any().await;
        while first.elapsed() < ECHO_MAX {
            self.any().await;
        }
    }

    async fn any(&mut self) {
        loop {
            let [one, two] = &mut self.user;
            let ignored = tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.quit.recv() => return,
                () = received(self.hangup.as_mut()) => {
                    if self.has_terminal {
                        return;
                    }
                    "SIGHUP"
                }
                _ = one.recv() => "SIGUSR1",
                _ = two.recv() => "SIGUSR2",
            };
            info!(signal = ignored, "signal ignored, SIGTERM asks for a drain");
        }
    }
}

async fn received(signal: Option<&mut Signal>) {
    match signal {
        Some(signal) => _ = signal.recv().await,
        None => std::future::pending().await,
    }
}

/// Asks the kernel before anything listens. Without an answer the signal is handled as documented.
fn hangup_is_ignored() -> bool {
    let Ok(status) = fs::read_to_string("/proc/self/status") else { return false };
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    // Bit 0 is signal 1, which is SIGHUP.
    mask.is_some_and(|mask| mask & 1 == 1)
}

/// How a drain ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    /// Everything was closed in time.
    Fully,
    /// The deadline passed, or a second signal came.
    Cut,
    /// No signal came: a task ended that must not, so the others were stopped in order.
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
