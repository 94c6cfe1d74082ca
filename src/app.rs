//! Assembles the program: reads the configuration, builds every module's service, runs them, and stops them in order.
//!
//! What it guarantees: everything that can refuse the start does so before the first request is answered. A drain hands
//! sessions over before the listener closes, and has a deadline. What it must not do: decide anything about a tenant.
//! Start with `run`, then `build`.

mod backend;
mod build;
mod capacity;
mod check;
mod erase;
mod healthcheck;
mod local;
mod memory;
mod moving;
mod token;

use std::{future::Future, io, net::SocketAddr, process::ExitCode, time::Duration};

use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use tokio::net::{TcpListener, TcpSocket};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{error, info, warn};

pub use build::{App, Seams, StartError, Wrap};

use crate::{
    config::{Config, Task},
    shutdown::{Drained, Signals, drain_or_cut},
    telemetry,
};

/// sysexits(3): the command was used wrongly.
const EXIT_USAGE: u8 = 64;
/// sysexits(3): an internal software error; here also a drain that had to be cut.
const EXIT_SOFTWARE: u8 = 70;
/// Between the end of the drain delay and giving up on what is still open.
const GRACE: Duration = Duration::from_secs(25);

/// Connections that wait to be accepted; the kernel's `somaxconn` is the most. Beyond it the kernel drops what a client
/// sends first, and the client waits seconds before it sends it again.
const BACKLOG: u32 = 4_096;

/// The whole program. `main` calls it, and the test program `tautan-sim` with other seams.
pub fn run(seams: Seams) -> ExitCode {
    // Before any secret is read. Without this a crash leaves all of them in a core dump, and every process of the same user
    // reads them from the environment or the memory.
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        return failed(&StartError::Dumpable(error.into()));
    }
    let (task, flags) = match crate::config::flags() {
        Ok(exit) => exit,
        Err(code) => return code,
    };
    let config = match Config::read(flags, std::env::vars_os().collect()) {
        Ok(config) => config,
        Err(error) => {
            eprint!("tautan cannot start:\n{error}");
            return ExitCode::from(EXIT_USAGE);
        }
    };
    match task {
        Task::Serve => {
            let _log = telemetry::install(&config.telemetry);
            on_a_runtime(start_and_serve(config, seams))
        }
        Task::Token { tenant, lifetime } => token::run(&config, &tenant, lifetime),
        // `check` prints its results itself, without log lines.
        Task::Check => on_a_runtime(check::run(config)),
        Task::Healthcheck => healthcheck::run(&config),
        Task::Move { from } => {
            let _log = telemetry::install(&config.telemetry);
            on_a_runtime(moving::run(config, from))
        }
        Task::Erase => match erase::tenant(io::stdin()) {
            Ok(tenant) => {
                let _log = telemetry::install(&config.telemetry);
                on_a_runtime(erase::run(config, seams, tenant))
            }
            Err(error) => {
                eprintln!("tautan cannot erase: {error}");
                ExitCode::from(EXIT_USAGE)
            }
        },
    }
}

fn on_a_runtime(task: impl Future<Output = ExitCode>) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&StartError::Runtime(error)),
    };
    let ended = runtime.block_on(task);
    // Tasks that still run have had their time.
    runtime.shutdown_timeout(Duration::from_secs(1));
    ended
}

fn failed(error: &StartError) -> ExitCode {
    eprintln!("tautan cannot start: {}", chain(error));
    ExitCode::FAILURE
}

/// An error with its causes, as one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        line = format!("{line}: {error}");
        cause = error.source();
    }
    line
}

async fn start_and_serve(config: Config, seams: Seams) -> ExitCode {
    match serve_until_a_signal(config, seams).await {
        Ok(Drained::Fully) => ExitCode::SUCCESS,
        Ok(Drained::Cut | Drained::Crashed) => ExitCode::from(EXIT_SOFTWARE),
        Err(error) => failed(&error),
    }
}

async fn serve_until_a_signal(config: Config, seams: Seams) -> Result<Drained, StartError> {
    let mut signals = Signals::listen().map_err(StartError::Signals)?;
    let app = App::build(config, seams).await?;
    if let Some(url) = app.sign_in_url() {
        println!("Open this link once to sign in:\n\n    {url}\n");
    }
    let (again, cut) = (CancellationToken::new(), CancellationToken::new());
    let (first_seen, second_seen) = (again.clone(), cut.clone());
    let listening = TaskTracker::new();
    listening.spawn(async move {
        let first = signals.first().await;
        first_seen.cancel();
        signals.second(first).await;
        second_seen.cancel();
    });
    Ok(app.run(again.cancelled_owned(), cut.cancelled_owned()).await)
}

impl App {
    /// Serves until `stop`, then drains: unready, the drain delay, streams end, links close and leases are released,
    /// the listener last. `cut` ends the waiting.
    pub async fn run(self, stop: impl Future<Output = ()>, cut: impl Future<Output = ()>) -> Drained {
        let Self {
            listener,
            metrics,
            admin,
            services,
            sessions,
            stop_sessions,
            dispatcher,
            store,
            drain_delay,
            room,
            ..
        } = self;
        let tasks = TaskTracker::new();
        let (health, end_streams) = (services.health.clone(), services.end_streams.clone());
        let stop_server = CancellationToken::new();
        let (watched, watching) = (store.clone(), health.clone());
        let watch_ends = stop_server.clone();
        let mut watcher = tasks.spawn(async move { watch_ends.run_until_cancelled(watched.watch(&watching)).await });
        let (of_admin, stop_admin) = (services.clone(), stop_server.clone());
        let admin = tasks.spawn(async move {
            if let Some(listener) = admin {
                crate::http::serve_admin(listener, of_admin, stop_admin).await;
            }
        });
        let mut server = tasks.spawn(crate::http::serve(listener, services, stop_server.clone()));
        if let Some((listener, exporter)) = metrics {
            tasks.spawn(crate::http::serve_metrics(listener, exporter, stop_server.clone()));
        }
        let supervised = sessions.clone();
        let mut supervisor = tasks.spawn(async move { supervised.supervise().await });
        let (counted, counting_ends) = (sessions.clone(), stop_server.clone());
        tasks.spawn(async move { counting_ends.run_until_cancelled(capacity::watch(counted, room.sessions)).await });
        let stop_dispatcher = CancellationToken::new();
        let dispatcher_ends = stop_dispatcher.clone();
        let mut dispatcher = tasks.spawn(async move {
            match dispatcher {
                Some(dispatcher) => dispatcher.run(dispatcher_ends).await,
                None => dispatcher_ends.cancelled().await,
            }
        });
        let crashed = tokio::select! {
            () = stop => None,
            _ = &mut supervisor => Some("the supervisor"),
            _ = &mut server => Some("the server"),
            _ = &mut watcher => Some("the store"),
            _ = &mut dispatcher => Some("the webhook dispatcher"),
        };
        match crashed {
            None => info!("draining"),
            Some(task) => error!(task, "a task that must not end has ended, draining"),
        }
        health.drain();
        let drain = async {
            tokio::time::sleep(drain_delay).await;
            end_streams.cancel();
            stop_sessions.cancel();
            sessions.closed().await;
            stop_server.cancel();
            // A server that has ended already must not be awaited again.
            if !server.is_finished() && !server.await.unwrap_or(false) {
                warn!("some connections had to be cut");
            }
            // A request under way is answered, for as long as the drain may take.
            let _ = admin.await;
            stop_dispatcher.cancel();
            if !dispatcher.is_finished() {
                // The task has logged its failures itself.
                let _ = dispatcher.await;
            }
            store.close().await;
        };
        let grace = async {
            tokio::select! {
                () = tokio::time::sleep(drain_delay + GRACE) => warn!("drain deadline exceeded"),
                () = cut => warn!("second signal, not waiting any longer"),
            }
        };
        let drained = match (drain_or_cut(drain, grace).await, crashed) {
            (Drained::Fully, Some(_)) => Drained::Crashed,
            (drained, _) => drained,
        };
        info!(drained = ?drained, "stopped");
        drained
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A port whose last connections linger is free for a restart.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}
