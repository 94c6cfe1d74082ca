//! What a user's request costs Redis, counted on the wire: commands and calls of scripts as a client sends them. Where they go
//! one after the other, each is a round trip.

use std::{collections::BTreeSet, time::Duration};

use tautan_test_support::{Command, Monitor};
use tokio::time::sleep;

use crate::{
    quiet::alone,
    stage::{Cluster, Setup},
};

/// Longer than the interval of every command that an idle instance repeats, except the comparison of watched tenants.
const QUIET: Duration = Duration::from_secs(12);
const UNTIL_CODE_MAX: usize = 8;

/// Counts the commands that are sent to Redis, without those that an idle instance sends at intervals.
pub struct Count<'a> {
    pub cluster: &'a Cluster,
    monitor: Monitor,
    /// The commands of an idle instance, without their values.
    idle: BTreeSet<String>,
}

impl<'a> Count<'a> {
    pub async fn on(cluster: &'a Cluster) -> Self {
        let monitor = Monitor::of(&cluster.redis);
        sleep(QUIET).await;
        let idle = monitor.sent(&cluster.redis).iter().map(Command::shape).collect();
        Self { cluster, monitor, idle }
    }

    pub fn begin(&self) {
        self.monitor.sent(&self.cluster.redis);
    }

    /// Since the beginning, with everything that names one of these tenants.
    pub fn sent(&self, tenants: &str) -> usize {
        let mut sent = self.monitor.sent(&self.cluster.redis);
        sent.retain(|command| command.names(tenants) || !self.idle.contains(&command.shape()));
        sent.len()
    }
}

/// From the request to the first code, on a stream that is open.
async fn until_code(count: &Count<'_>, tenant: &str) -> usize {
    let api = count.cluster.api(0, tenant);
    let mut stream = api.events().await;
    // Its subscription is no part of the request.
    sleep(Duration::from_millis(500)).await;
    count.begin();
    api.connect().await;
    stream.until_qr().await;
    count.sent(tenant)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn first_code_costs_at_most_eight_commands_in_redis() {
    let Some(_turn) = alone().await else { return };
    let cluster = Setup::of(1).start().await;
    for tenant in ["known-0", "known-1", "known-2"] {
        let api = cluster.api(0, tenant);
        let mut stream = api.events().await;
        api.connect().await;
        stream.until_qr().await;
        api.disconnect().await;
        stream.until_status("disconnected").await;
    }
    let count = Count::on(&cluster).await;
    for kind in ["new", "known"] {
        let mut fewest = usize::MAX;
        for at in 0..3 {
            fewest = fewest.min(until_code(&count, &format!("{kind}-{at}")).await);
        }
        println!("FIGURE commands to Redis from connect to the first code of a {kind} tenant: {fewest}");
        assert!(fewest <= UNTIL_CODE_MAX, "{fewest} of a {kind} tenant");
    }
}
