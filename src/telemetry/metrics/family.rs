use std::sync::{PoisonError, RwLock};

use metrics::{Counter, Gauge, Histogram, Key, Label, Level, Metadata, with_recorder};

use super::{Kind, Metric};

const ORIGIN: Metadata<'static> = Metadata::new("tautan", Level::INFO, None);

/// What code records a metric with.
pub(super) trait Handle {
    const KIND: Kind;

    fn register(metric: &'static Metric) -> Self;
}

/// One time series of a metric.
pub(super) trait Series: Clone {
    const KIND: Kind;

    fn of(key: &Key) -> Self;
}

impl Series for Counter {
    const KIND: Kind = Kind::Counter;

    fn of(key: &Key) -> Self {
        with_recorder(|recorder| recorder.register_counter(key, &ORIGIN))
    }
}

impl Series for Gauge {
    const KIND: Kind = Kind::Gauge;

    fn of(key: &Key) -> Self {
        with_recorder(|recorder| recorder.register_gauge(key, &ORIGIN))
    }
}

impl Series for Histogram {
    const KIND: Kind = Kind::Histogram;

    fn of(key: &Key) -> Self {
        with_recorder(|recorder| recorder.register_histogram(key, &ORIGIN))
    }
}

impl<S: Series> Handle for S {
    const KIND: Kind = S::KIND;

    fn register(metric: &'static Metric) -> Self {
        S::of(&Key::from_static_name(metric.name))
    }
}

/// A metric with `N` labels: one series for each of their values. The values are words of the code, so there are few.
pub struct Family<S, const N: usize> {
    metric: &'static Metric,
    series: RwLock<Vec<([&'static str; N], S)>>,
}

/// Counters that differ in the values of `N` labels.
pub type Counters<const N: usize> = Family<Counter, N>;
/// Gauges that differ in the values of `N` labels.
pub type Gauges<const N: usize> = Family<Gauge, N>;

impl<S: Series, const N: usize> Handle for Family<S, N> {
    const KIND: Kind = S::KIND;

    fn register(metric: &'static Metric) -> Self {
        debug_assert_eq!(metric.labels.len(), N, "{}", metric.name);
        Self { metric, series: RwLock::default() }
    }
}

#[expect(private_bounds, reason = "the series are counters and gauges")]
impl<S: Series, const N: usize> Family<S, N> {
    /// The series with these values. Not for paths that are taken for each stream.
    pub fn with(&self, values: [&'static str; N]) -> S {
        let known = self.series.read().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, series)) = known.iter().find(|(known, _)| *known == values) {
            return series.clone();
        }
        drop(known);
        let labels = self.metric.labels.iter().zip(values);
        let labels: Vec<_> = labels.map(|(name, value)| Label::from_static_parts(name, value)).collect();
        let series = S::of(&Key::from_parts(self.metric.name, labels));
        self.series.write().unwrap_or_else(PoisonError::into_inner).push((values, series.clone()));
        series
    }

    /// Exports series that have not been used yet. Without it a rate does not see the first increment of a counter.
    pub fn prepare(&self, values: impl IntoIterator<Item = [&'static str; N]>) {
        values.into_iter().for_each(|values| drop(self.with(values)));
    }
}

impl Counters<1> {
    /// Counts one with this value of the label.
    pub fn add(&self, value: &'static str) {
        self.with([value]).increment(1);
    }
}

impl Gauges<1> {
    /// Sets this value's gauge to 1, and those of all others to 0.
    pub fn set_only(&self, value: &'static str) {
        let known = self.with([value]);
        let series = self.series.read().unwrap_or_else(PoisonError::into_inner);
        series.iter().for_each(|(_, series)| series.set(0.0));
        known.set(1.0);
    }
}
