//! Every metric that the program exports: its name, kind, labels and meaning, each written once. `docs/metrics.md` has
//! the same list.
//!
//! What it guarantees: no label is a tenant, a number or anything else that a client chooses. Without a listener for
//! metrics nothing is recorded and nothing is kept. Start with the list below, then [`exporter`](super::exporter).

mod family;
mod process;
pub mod words;

use std::sync::LazyLock;

use metrics::{Counter, Gauge, Histogram};

use family::Handle;
pub use family::{Counters, Gauges};
pub(super) use process::write as write_process;

/// What a metric measures, as `# TYPE` says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only rises, and begins at 0 with the process.
    Counter,
    /// Rises and falls.
    Gauge,
    /// Counts of values, by upper bounds.
    Histogram,
}

impl Kind {
    /// The word as it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// A metric as it is exported.
#[derive(Debug)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// Its kind.
    pub kind: Kind,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    /// The upper bounds of a histogram.
    pub bounds: &'static [f64],
    help: &'static str,
}

impl Metric {
    /// Its meaning, in a sentence.
    pub fn help(&self) -> &'static str {
        self.help.trim()
    }
}

/// Declares each metric once: the handle that code records with, and what is exported of it.
macro_rules! metrics {
    ($($(#[doc = $help:literal])+ $field:ident: $handle:ty = $name:literal
        $(by $($label:literal),+)? $(up to $($bound:literal),+)?;)+) => {
        const RECORDED: &[Metric] = &[$(Metric {
            name: $name,
            kind: <$handle as Handle>::KIND,
            labels: &[$($($label),+)?],
            bounds: &[$($($bound),+)?],
            help: concat!($($help),+),
        }),+];

        /// The handles of all metrics that code records.
        pub struct Metrics { $($(#[doc = $help])+ pub $field: $handle),+ }

        impl Metrics {
            fn register() -> Self {
                let mut known = RECORDED.iter();
                let mut next = || known.next().expect("a metric for each field");
                Self { $($field: <$handle as Handle>::register(next())),+ }
            }
        }
    };
}

metrics! {
    /// The version that runs; always 1.
    build: Gauges<1> = "tautan_build_info" by "version";
    /// Event streams that are open.
    streams_open: Gauge = "tautan_streams_open";
    /// Event streams that may be open at once.
    streams_max: Gauge = "tautan_streams_max";
    /// Connections of clients that are open, those of streams included.
    connections_open: Gauge = "tautan_connections_open";
    /// Connections of clients that may be open at once.
    connections_max: Gauge = "tautan_connections_max";
    /// Changes of a status that this instance saved and published.
    events_published: Counter = "tautan_events_published_total";
    /// Changes of a status that were written to open streams, once for each stream.
    events_delivered: Counter = "tautan_events_delivered_total";
    /// Streams that were ended since their reader was too slow.
    slow_readers: Counters<1> = "tautan_slow_readers_total" by "reason";
    /// Seconds from a request to connect, or a takeover, to the first QR code.
    first_code: Histogram = "tautan_first_code_seconds" up to 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 60.0;
    /// QR codes that were made for a pairing until it ended.
    pairing_codes: Histogram = "tautan_pairing_codes" up to 0.0, 1.0, 2.0, 3.0, 6.0, 12.0, 18.0;
    /// Pairings that ended, by "connected" or the reason of their end.
    pairings: Counters<1> = "tautan_pairings_total" by "outcome";
    /// Links that ended after they were connected once, by reason.
    links_ended: Counters<1> = "tautan_links_ended_total" by "reason";
    /// Sessions that run on this instance, by status and its reason.
    sessions: Gauges<2> = "tautan_sessions" by "status", "reason";
    /// Sessions for which this instance has descriptors and memory.
    sessions_max: Gauge = "tautan_sessions_max";
    /// Sessions that this instance took over from an owner that had not given them up.
    takeovers: Counter = "tautan_takeovers_total";
    /// Seconds since Redis took the last heartbeat that keeps this instance's leases; 0 with the embedded store.
    lease_age: Gauge = "tautan_lease_age_seconds";
    /// Commands and connections that failed at Redis.
    redis_errors: Counters<1> = "tautan_redis_errors_total" by "kind";
    /// 1 for the present state of the store, 0 for the others.
    store_state: Gauges<1> = "tautan_store_state" by "state";
    /// Webhook requests that ended.
    webhooks: Counters<1> = "tautan_webhooks_total" by "outcome";
    /// Tenants with a webhook that is not delivered yet.
    webhooks_waiting: Gauge = "tautan_webhooks_waiting";
    /// Seconds since the oldest status changed for which a webhook is not delivered yet; 0 if there is none.
    webhook_age: Gauge = "tautan_webhook_oldest_seconds";
    /// Requests that were answered with a problem, by its code.
    problems: Counters<1> = "tautan_problems_total" by "code";
    /// How often a limit was reached.
    limits: Counters<1> = "tautan_limit_reached_total" by "limit";
}

/// What the kernel says of this process, under the names that Prometheus' own client libraries use. Written at each scrape.
pub(super) static PROCESS: [Metric; 5] = [
    of_process("process_resident_memory_bytes", Kind::Gauge, "Resident memory of the process."),
    of_process("process_cpu_seconds_total", Kind::Counter, "CPU time of the process, user and system."),
    of_process("process_open_fds", Kind::Gauge, "Open descriptors of the process."),
    of_process("process_max_fds", Kind::Gauge, "Descriptors that the process may open."),
    of_process("process_start_time_seconds", Kind::Gauge, "When the process began, in seconds since 1970."),
];

const fn of_process(name: &'static str, kind: Kind, help: &'static str) -> Metric {
    Metric { name, kind, labels: &[], bounds: &[], help }
}

/// Every metric, in the order of `docs/metrics.md`.
pub fn all() -> impl Iterator<Item = &'static Metric> {
    RECORDED.iter().chain(&PROCESS)
}

impl Metrics {
    /// Exports counters whose labels have a list here and that count nothing yet.
    pub(super) fn prepare(&self) {
        for (family, values) in [
            (&self.slow_readers, words::SLOW_READERS),
            (&self.limits, words::LIMITS),
            (&self.webhooks, words::WEBHOOKS),
            (&self.redis_errors, words::REDIS_ERRORS),
        ] {
            family.prepare(values.iter().map(|value| [*value]));
        }
    }
}

static METRICS: LazyLock<Metrics> = LazyLock::new(Metrics::register);

/// The handles. They record nothing if no exporter was installed before the first call.
pub fn metrics() -> &'static Metrics {
    &METRICS
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// <https://prometheus.io/docs/practices/naming/>
    #[test]
    fn names_follow_the_conventions_of_prometheus() {
        let mut seen = HashSet::new();
        for Metric { name, kind, labels, bounds, .. } in all() {
            assert!(seen.insert(name), "{name} stands twice");
            assert!(name.starts_with("tautan_") || name.starts_with("process_"), "{name}");
            assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}");
            assert_eq!(*kind == Kind::Counter, name.ends_with("_total"), "{name}");
            assert_eq!(*kind == Kind::Histogram, !bounds.is_empty(), "{name}");
            assert!(bounds.is_sorted(), "{name}");
            let is_base_unit = |word| !["ms", "millis", "minutes", "kb", "kib", "percent"].contains(&word);
            assert!(name.split('_').all(is_base_unit), "{name}");
            assert!(!labels.iter().any(|label| ["tenant", "number", "phone", "account"].contains(label)), "{name}");
        }
    }

    #[test]
    fn each_metric_says_what_it_measures() {
        for metric in all() {
            assert!(metric.help().ends_with('.') && metric.help().len() > 20, "{}", metric.name);
        }
    }
}
