use std::time::Duration;

use bytes::Bytes;
use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{frame, places::Checks};

/// Streams beat in as many groups, one after the other: ten thousand writes are not made in the same instant.
const GROUPS: u32 = 7;

/// One ticker for all streams; a timer for each would cost them twice the idle CPU.
pub struct Pulse {
    groups: Vec<watch::Sender<()>>,
    /// What is written at each beat, shared by all streams.
    frame: Bytes,
}

/// One stream's share of the beats.
pub struct Beats {
    group: watch::Receiver<()>,
    checks: Checks,
    frame: Bytes,
}

impl Beats {
    /// Waits for the next one, or for a check whether the reader is still there. `None`: this instance stops. Cancel safe.
    pub async fn next(&mut self) -> Option<Bytes> {
        tokio::select! {
            beat = self.group.changed() => beat.ok()?,
            check = self.checks.changed() => check.ok()?,
        }
        Some(self.frame.clone())
    }
}

impl Pulse {
    pub fn start(heartbeat: Duration, tracker: &TaskTracker, stop: CancellationToken) -> Self {
        let groups: Vec<_> = (0..GROUPS).map(|_| watch::channel(()).0).collect();
        // One step more than there are groups: each beats at 7/8 of the time, so a late tick is still early enough.
        let step = (heartbeat / (GROUPS + 1)).max(Duration::from_millis(1));
        let beating = groups.clone();
        tracker.spawn(async move {
            let mut ticks = tokio::time::interval_at(Instant::now() + step, step);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            for group in beating.iter().cycle() {
                tokio::select! {
                    () = stop.cancelled() => return,
                    _ = ticks.tick() => { group.send_replace(()); }
                }
            }
        });
        Self { groups, frame: frame::heartbeat(heartbeat).into() }
    }

    /// `lot`: any number; it chooses the group.
    pub fn join(&self, lot: u32, checks: Checks) -> Beats {
        Beats { group: self.groups[(lot % GROUPS) as usize].subscribe(), checks, frame: self.frame.clone() }
    }
}
