//! The metrics that the program exports stand in their document, and no others.

use std::collections::BTreeSet;

use tautan::telemetry::all_metrics;

use crate::{assert_same, read, rows, section};

#[test]
fn metrics_document_lists_every_metric_as_it_is_exported() {
    let known = all_metrics().map(|metric| {
        let labels: Vec<_> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        let labels = if labels.is_empty() { "–".to_owned() } else { labels.join(", ") };
        format!("`{}` | {} | {labels} | {}", metric.name, metric.kind.as_str(), metric.help())
    });
    let document = read("docs/metrics.md");
    let listed = rows(section(&document, "## List")).into_iter().map(|row| row.join(" | "));
    let known: BTreeSet<String> = known.collect();
    assert!(known.len() > 25, "the metrics were read: {known:?}");
    assert_same("docs/metrics.md", &known, &listed.collect());
}
