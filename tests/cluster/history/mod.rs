//! The history check: many tenants publish fast under faults, and all events that any client received are checked.

mod checker;
#[cfg(test)]
mod checker_tests;
mod run;
mod schedule;

use std::time::Duration;

use run::{Scale, run};

use crate::quiet::alone;

/// The scale of a full run.
const FULL: Scale =
    Scale { tenants: 100, streams: 300, appends: 20_000, faults: 60, span: Duration::from_secs(75), all: true };
/// The scale of a run in `make test`.
const SHORT: Scale =
    Scale { tenants: 30, streams: 90, appends: 2_500, faults: 12, span: Duration::from_secs(20), all: false };
const SEEDS: u64 = 20;

fn seed() -> Option<u64> {
    std::env::var("HISTORY_SEED").ok().map(|seed| seed.parse().expect("HISTORY_SEED is a number"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_receive_each_event_once_and_in_order_under_faults() {
    let Some(_turn) = alone().await else { return };
    run(seed().unwrap_or(1), &SHORT).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "half an hour; make long"]
async fn twenty_histories_at_full_scale_have_nothing_wrong() {
    let Some(_turn) = alone().await else { return };
    let seeds = seed().map_or(1..=SEEDS, |seed| seed..=seed);
    for seed in seeds {
        run(seed, &FULL).await;
    }
}
