//! Writes the log, on standard error and from a thread of its own, and exports metrics.
//!
//! What it guarantees: a log reader that stops reading stops no request. Lines of libraries are reduced to where they
//! come from. What it must not do: log tokens, cookies, QR texts, keys, phone numbers or bodies, or export anything of a
//! tenant. Start with [`install`] for the log and [`metrics`] for metrics.

mod dropped;
mod episode;
mod exporter;
mod lease;
mod library;
mod metrics;
mod sampled;

use std::io::{BufWriter, IsTerminal as _, stderr};

use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::{EnvFilter, Layer as _, filter::filter_fn, fmt, layer::SubscriberExt as _, registry};

pub use self::metrics::{Counters, Gauges, Kind, Metric, Metrics, all as all_metrics, metrics, words};
pub use episode::Episode;
pub use exporter::{Exporter, SUM_UP_EVERY, install as export, is_exporting};
pub use lease::lease_kept;
pub use sampled::Sampled;

/// What is logged, and how.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `RUST_LOG`.
    pub filter: String,
    /// `TAUTAN_LOG`; `None`: text on a terminal, JSON elsewhere.
    pub format: Option<Format>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { filter: "info".into(), format: None }
    }
}

/// The format of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON object for each line.
    Json,
}

/// Not a filter such as `info` or `tautan=debug,hyper=warn`.
#[derive(Debug, thiserror::Error)]
#[error("not a filter such as `info` or `tautan=debug,hyper=warn`")]
pub struct InvalidFilter(#[source] Box<dyn std::error::Error + Send + Sync>);

/// Checks a filter without installing it, so that a bad one is reported beside all other mistakes.
pub fn check_filter(filter: &str) -> Result<(), InvalidFilter> {
    EnvFilter::try_new(filter).map(drop).map_err(|error| InvalidFilter(error.into()))
}

/// Lines that wait for a log reader that is too slow, about 1 MB. What does not fit is dropped and counted.
const LINES_MAX: usize = 4_096;

/// While it lives, lines are written. Dropping it writes what waits, for a second at most.
#[must_use]
pub struct Log(#[expect(dead_code, reason = "it is dropped with this")] Option<WorkerGuard>);

/// Logs go to standard error from here on, by a thread of their own. Without it, a log reader that stops reading stops
/// every request, heartbeat and shutdown. Once per process; a second call changes nothing.
pub fn install(settings: &Settings) -> Log {
    let filter = EnvFilter::try_new(&settings.filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let format = settings.format.unwrap_or(if stderr().is_terminal() { Format::Text } else { Format::Json });
    // The thread flushes when no line waits. Without the buffer each line of a burst would be a write of its own.
    let buffered = BufWriter::new(stderr());
    let (writer, guard) =
        NonBlockingBuilder::default().buffered_lines_limit(LINES_MAX).lossy(true).thread_name("log").finish(buffered);
    let dropped = writer.error_counter();
    let lines = fmt::layer().with_writer(writer);
    let lines = match format {
        Format::Text => lines.with_ansi(stderr().is_terminal()).boxed(),
        Format::Json => lines.json().flatten_event(true).with_current_span(false).boxed(),
    };
    // Ours as the filter says. Foreign records only when something is wrong, whatever the filter says: at debug they may
    // carry headers and bodies.
    let guarded = lines.with_filter(filter_fn(|record| {
        record.target().starts_with("tautan") || *record.level() <= tracing::Level::WARN
    }));
    let installed = tracing::subscriber::set_global_default(registry().with(filter).with(guarded));
    if installed.is_err() {
        return Log(None);
    }
    library::install();
    dropped::report(dropped);
    std::panic::set_hook(Box::new(|panic| {
        // The place and not the message: a panic's message may quote secret data.
        let location = panic.location().map(ToString::to_string);
        tracing::error!(location, "panicked");
    }));
    Log(Some(guard))
}
