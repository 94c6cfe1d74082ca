use std::{collections::HashSet, sync::Arc, time::Duration};

use rand::RngExt as _;
use tokio::time::sleep;

use super::{
    Shared, schema,
    script::{Call, NAME},
    trouble::Trouble,
    unattended::Seen,
};
use crate::{store::StoreError, tenant::TenantId};

/// How often all records are looked at, by one of the instances.
const SWEEP_EVERY: Duration = Duration::from_secs(300);
/// Keys that Redis looks at in one step.
const STEP: usize = 1_000;
/// Nobody waits for what this finds: it takes its time.
const PAUSE: Duration = Duration::from_millis(500);

/// Finds, in time, wanted tenants and notices that no index names: one may have been lost with a crash of Redis. Forgets idle
/// tenants.
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
    /// Unless somebody else did so lately.
    async fn sweep_in_turn(&self) -> Result<(), StoreError> {
        let mut pipeline = redis::pipe();
        let every_ms = SWEEP_EVERY.as_millis() as u64;
        pipeline.cmd("SET").arg(schema::sweeper()).arg(self.census.instance()).arg("NX").arg("PX").arg(every_ms);
        let (ours,): (Option<String>,) = self.connections.query(&pipeline).await?;
        if ours.is_some() { self.sweep().await } else { Ok(()) }
    }

    /// Looks at every record: puts into the index what is wanted, has no owner and is in no index, and forgets what has been
    /// idle for long enough.
    pub async fn sweep(&self) -> Result<(), StoreError> {
        let (indexed, counted) = (self.indexed().await?, self.count_idle_time().await?);
        let (mut cursor, mut forgotten) = (0, 0);
        loop {
            let (next, found) = self.scan(cursor, STEP).await?;
            self.list_forgotten(&found).await?;
            forgotten += self.forget_idle(&found, counted).await?;
            let mut unnamed = found;
            unnamed.retain(|tenant| !indexed.contains(&tenant.to_string()));
            for seen in self.look_at_each(&unnamed).await? {
                if seen.is_wanted && !seen.living {
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

    /// One step of a walk over the records of all tenants, which begins at 0 and is over where that is what follows.
    pub async fn scan(&self, cursor: u64, keys_looked_at: usize) -> Result<(u64, Vec<TenantId>), Trouble> {
        let mut pipeline = redis::pipe();
        pipeline.cmd("SCAN").arg(cursor).arg("MATCH").arg(schema::all_records()).arg("COUNT").arg(keys_looked_at);
        let ((next, found),): ((u64, Vec<String>),) = self.connections.query(&pipeline).await?;
        Ok((next, found.iter().filter_map(|key| schema::tenant_of_record(key)).collect()))
    }

    /// Puts the tenant into the index, unless its record has changed since: who changed it did so.
    async fn name(&self, Seen { tenant, version, .. }: Seen) -> Result<(), Trouble> {
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
