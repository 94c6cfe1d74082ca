use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::stream_limit::{GROUPS, StreamLimit};

/// Orders the heartbeats of all streams, and their end when `end` is cancelled or the instance stops. All streams share
/// one ticker: a timer for each would cost twice the idle CPU.
pub fn start(
    limit: StreamLimit,
    heartbeat: Duration,
    end: CancellationToken,
    stop: CancellationToken,
    tracker: &TaskTracker,
) {
    // One step more than there are groups: each has its heartbeat at 7/8 of the time, so a late tick is early enough.
    let step = (heartbeat / (GROUPS + 1)).max(Duration::from_millis(1));
    tracker.spawn(async move {
        let mut ticks = tokio::time::interval_at(Instant::now() + step, step);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for group in (0..GROUPS).cycle() {
            tokio::select! {
                () = end.cancelled() => break,
                () = stop.cancelled() => break,
                _ = ticks.tick() => limit.order_heartbeat(group),
            }
        }
        limit.end();
    });
}
