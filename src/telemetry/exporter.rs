use std::{sync::OnceLock, time::Duration};

use metrics::{KeyName, Unit, with_recorder};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use super::{
    lease::lease_age,
    metrics::{self as list, Kind, Metric, metrics},
};
use crate::clock::{Clock as _, SystemClock, Timestamp};

/// How often values of histograms are summed up between scrapes. Each takes memory until then.
pub const SUM_UP_EVERY: Duration = Duration::from_secs(5);

/// Writes all metrics as Prometheus reads them.
pub struct Exporter {
    handle: PrometheusHandle,
    began: Timestamp,
}

static EXPORTER: OnceLock<Exporter> = OnceLock::new();

/// Records metrics from here on; a second call changes nothing. Call it before anything is recorded: handles that were
/// taken earlier record nothing.
pub fn install() -> &'static Exporter {
    EXPORTER.get_or_init(|| {
        let histograms = list::all().filter(|metric| metric.kind == Kind::Histogram);
        let builder = histograms.fold(PrometheusBuilder::new(), |builder, metric| {
            builder
                .set_buckets_for_metric(Matcher::Full(metric.name.to_owned()), metric.bounds)
                .expect("a histogram has bounds")
        });
        let recorder = builder.build_recorder();
        let handle = recorder.handle();
        // Only one is ever made.
        let _ = ::metrics::set_global_recorder(recorder);
        list::all().for_each(describe);
        metrics().prepare();
        metrics().build.with([env!("CARGO_PKG_VERSION")]).set(1.0);
        Exporter { handle, began: SystemClock.now() }
    })
}

/// Whether anything is recorded. Figures that cost work to collect need not be collected otherwise.
pub fn is_exporting() -> bool {
    EXPORTER.get().is_some()
}

fn describe(metric: &'static Metric) {
    let (name, help, unit): (KeyName, _, Option<Unit>) = (metric.name.into(), metric.help().into(), None);
    with_recorder(|recorder| match metric.kind {
        Kind::Counter => recorder.describe_counter(name, unit, help),
        Kind::Gauge => recorder.describe_gauge(name, unit, help),
        Kind::Histogram => recorder.describe_histogram(name, unit, help),
    });
}

impl Exporter {
    /// The present values, as `text/plain; version=0.0.4`.
    pub fn render(&self) -> String {
        if let Some(age) = lease_age() {
            metrics().lease_age.set(age.as_secs_f64());
        }
        let mut text = self.handle.render();
        list::write_process(&mut text, self.began);
        text
    }

    /// Sums histograms up. Without it their values pile up while nothing scrapes.
    pub fn sum_up(&self) {
        self.handle.run_upkeep();
    }
}
