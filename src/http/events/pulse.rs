use std::time::Duration;

use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Streams beat in as many groups, one after the other: ten thousand writes are not made in the same instant.
const GROUPS: u32 = 7;

/// One ticker for all streams; a timer for each would cost them twice the idle CPU.
pub struct Pulse {
    groups: Vec<watch::Sender<()>>,
}

pub type Beats = watch::Receiver<()>;

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
        Self { groups }
    }

    /// `lot`: any number; it chooses the group.
    pub fn join(&self, lot: u32) -> Beats {
        self.groups[(lot % GROUPS) as usize].subscribe()
    }
}
