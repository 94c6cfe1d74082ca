use std::{collections::HashSet, sync::Arc, time::Duration};

use rand::RngExt as _;
use tokio::time::sleep;

use crate::{
    store::{
        StoreError,
        redis::{
            Shared,
            client::failure::Failure,
            millis,
            ownership::orphaned::Seen,
            schema,
            script::{Call, NAME},
        },
    },
    tenant::TenantId,
};

/// How often one of the instances looks at all records.
const SWEEP_EVERY: Duration = Duration::from_secs(300);
/// Keys that Redis looks at in one step.
const STEP: usize = 1_000;
/// Between two steps, so that other clients are served.
const PAUSE: Duration = Duration::from_millis(500);

/// Finds wanted tenants and outbox entries that no index names: an index may have been deleted. Forgets idle tenants.
pub async fn run(shared: Arc<Shared>) {
    loop {
        let pause = rand::rng().random_range(SWEEP_EVERY / 2..SWEEP_EVERY);
        tokio::select! {
            () = shared.tasks.stopped() => return,
            () = sleep(pause) => {}
        }
        let swept = tokio::select! {
            () = shared.tasks.stopped() => return,
            swept = shared.sweep_in_turn() => swept,
        };
        if let Err(error) = swept {
            tracing::debug!(%error, "not every record could be looked at, trying again later");
        }
    }
}

impl Shared {
    /// Sweeps, unless another instance did so lately.
    async fn sweep_in_turn(&self) -> Result<(), StoreError> {
        let mut pipeline = redis::pipe();
        let every_ms = millis(SWEEP_EVERY);
        pipeline.cmd("SET").arg(schema::sweeper()).arg(self.membership.instance()).arg("NX").arg("PX").arg(every_ms);
        let (ours,): (Option<String>,) = self.connections.query(&pipeline).await?;
        if ours.is_some() { self.sweep().await } else { Ok(()) }
    }

    /// Looks at every record: adds wanted tenants without a live owner to the index that lacks them, and forgets tenants that have
    /// been idle for long enough.
    pub async fn sweep(&self) -> Result<(), StoreError> {
        let (indexed, counted) = (self.indexed().await?, self.count_idle_time().await?);
        let (mut cursor, mut forgotten) = (0, 0);
        loop {
            let (next, found) = self.scan(cursor, STEP).await?;
            self.list_unlisted(&found).await?;
            forgotten += self.forget_idle(&found, counted).await?;
            let mut unnamed = found;
            unnamed.retain(|tenant| !indexed.contains(&tenant.to_string()));
            for seen in self.look_at_each(&unnamed).await? {
                if seen.is_wanted && !seen.is_owned {
                    self.name(seen).await?;
                }
            }
            if next == 0 {
                break;
            }
            cursor = next;
            sleep(PAUSE).await;
        }
        if forgotten > 0 {
            tracing::info!(tenants = forgotten, "idle tenants were forgotten");
        }
        Ok(())
    }

    /// One step of a scan of all records. The scan begins at 0, and ends when 0 is returned.
    pub async fn scan(&self, cursor: u64, keys_looked_at: usize) -> Result<(u64, Vec<TenantId>), Failure> {
        let mut pipeline = redis::pipe();
        pipeline.cmd("SCAN").arg(cursor).arg("MATCH").arg(schema::all_records()).arg("COUNT").arg(keys_looked_at);
        let ((next, found),): ((u64, Vec<String>),) = self.connections.query(&pipeline).await?;
        Ok((next, found.iter().filter_map(|key| schema::tenant_of_record(key)).collect()))
    }

    /// Adds the tenant to the index, unless its record has changed since: that change wrote the index.
    async fn name(&self, Seen { tenant, version, .. }: Seen) -> Result<(), Failure> {
        let call = Call::on(&NAME, &tenant).key(schema::wanted()).arg(version);
        let was_missing: bool = self.connections.call(&call).await?;
        if was_missing {
            tracing::warn!(%tenant, "wanted tenant was in no index");
            self.notifications.add(tenant);
        }
        Ok(())
    }

    async fn indexed(&self) -> Result<HashSet<String>, StoreError> {
        let mut pipeline = redis::pipe();
        pipeline.cmd("SMEMBERS").arg(schema::wanted()).cmd("SMEMBERS").arg(schema::incarnations());
        let (mut indexed, incarnations): (HashSet<String>, Vec<String>) = self.connections.query(&pipeline).await?;
        for incarnation in incarnations {
            let mut pipeline = redis::pipe();
            pipeline.cmd("SMEMBERS").arg(schema::owned(&incarnation));
            let (owned,): (Vec<String>,) = self.connections.query(&pipeline).await?;
            indexed.extend(owned);
        }
        Ok(indexed)
    }
}
