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

/// The files that name metrics, each with its expressions.
fn expressions() -> Vec<(&'static str, Vec<String>)> {
    let rules = read("deploy/alerts.yml");
    // Annotations name metrics only where an operator reads them.
    let rules = rules.lines().map(str::trim).filter(|line| !line.starts_with('#')).map(str::to_owned);
    let dashboard: serde_json::Value = serde_json::from_str(&read("deploy/grafana.json")).unwrap();
    let mut panels = Vec::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            panels.push(target["expr"].as_str().unwrap().to_owned());
        }
    }
    vec![("deploy/alerts.yml", rules.collect()), ("deploy/grafana.json", panels)]
}

/// The names of metrics in an expression, each with the labels in the braces behind it.
fn named(expression: &str) -> Vec<(String, BTreeSet<String>)> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut found = Vec::new();
    for (at, _) in expression.match_indices(|c: char| c.is_ascii_lowercase()) {
        let rest = &expression[at..];
        let starts =
            !expression[..at].ends_with(is_word) && ["tautan_", "process_"].iter().any(|p| rest.starts_with(p));
        if !starts {
            continue;
        }
        let name: String = rest.chars().take_while(|c| is_word(*c)).collect();
        let braces =
            rest[name.len()..].strip_prefix('{').and_then(|rest| rest.split_once('}')).map_or("", |(in_, _)| in_);
        let labels = braces.split(&['=', '!'][..]).filter_map(|part| part.rsplit([',', ' ']).next());
        let labels =
            labels.filter(|label| !label.is_empty() && label.chars().all(is_word)).map(str::to_owned).collect();
        found.push((name, labels));
    }
    found
}

#[test]
fn alerts_and_dashboard_name_metrics_that_are_exported() {
    /// Labels that Prometheus itself adds.
    const ADDED: [&str; 3] = ["job", "instance", "le"];
    for (file, expressions) in expressions() {
        let mut seen = BTreeSet::new();
        for (name, labels) in expressions.iter().flat_map(|expression| named(expression)) {
            let series = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(&name);
            let metric = all_metrics()
                .find(|metric| metric.name == name || (metric.name == series && !metric.bounds.is_empty()));
            let metric = metric.unwrap_or_else(|| panic!("{file} names {name}, which is not exported"));
            for label in labels {
                let known = metric.labels.contains(&label.as_str()) || ADDED.contains(&label.as_str());
                assert!(known, "{file} names the label {label} of {name}, which does not have it");
            }
            seen.insert(metric.name);
        }
        if file == "deploy/grafana.json" {
            let shown = all_metrics().filter(|metric| !seen.contains(metric.name)).map(|metric| metric.name);
            assert_eq!(shown.collect::<Vec<_>>(), Vec::<&str>::new(), "the dashboard shows each metric");
        }
        assert!(seen.len() > 12, "{file} was read: {seen:?}");
    }
}

/// Words that are compared with a label must be words that the program exports, or an alert never fires.
#[test]
fn alerts_compare_labels_with_words_that_are_exported() {
    let (document, api) = (read("docs/metrics.md"), read("docs/api.md"));
    let rules = read("deploy/alerts.yml");
    let mut compared = 0;
    for expression in rules.lines().filter(|line| line.contains("tautan_")) {
        // Outside and inside of quotes, in turn.
        let parts: Vec<_> = expression.split('"').collect();
        for quoted in parts.chunks_exact(2).filter(|parts| parts[0].ends_with('=') || parts[0].ends_with("=~")) {
            for word in quoted[1].split('|') {
                compared += 1;
                let is_known = [&document, &api].iter().any(|text| text.contains(&format!("`{word}`")));
                assert!(is_known, "deploy/alerts.yml compares with {word}");
            }
        }
    }
    assert!(compared > 20, "words were read: {compared}");
}
