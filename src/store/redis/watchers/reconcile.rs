use std::sync::Arc;

use crate::{
    events::Cursor,
    store::redis::{Shared, client::failure::Failure, encryption::sealed::parse_stream_id, schema},
    tenant::TenantId,
};

/// Tenants that are read with one round trip.
const BATCH_MAX: usize = 256;

impl Shared {
    /// Compares all watched tenants with the store, to find events whose message was lost without an error.
    pub async fn reconcile(self: Arc<Self>) {
        for batch in self.watchers.tenants().chunks(BATCH_MAX) {
            match self.newest(batch).await {
                Ok(newest) => {
                    let present = batch.iter().zip(newest);
                    let missed = present
                        .filter(|(tenant, (cursor, owner))| self.watchers.differs(tenant, *cursor, owner.as_deref()));
                    self.catch_up_with_all(missed.map(|(tenant, _)| tenant.clone()).collect());
                }
                Err(failure) => tracing::debug!(error = %failure, "watched tenants could not be reconciled"),
            }
        }
    }

    /// The newest event's cursor and the owner of each.
    async fn newest(&self, tenants: &[TenantId]) -> Result<Vec<(Option<Cursor>, Option<String>)>, Failure> {
        let mut pipeline = redis::pipe();
        for tenant in tenants {
            pipeline.cmd("XREVRANGE").arg(schema::history(tenant)).arg("+").arg("-").arg("COUNT").arg(1);
            pipeline.cmd("HGET").arg(schema::record(tenant)).arg(schema::field::OWNER_INCARNATION);
        }
        type Entry = (String, redis::Value);
        let answers: Vec<redis::Value> = self.connections.query(&pipeline).await?;
        let pairs = answers.chunks_exact(2).map(|answer| {
            let entries: Vec<Entry> = redis::from_redis_value_ref(&answer[0])?;
            let owner = redis::from_redis_value_ref(&answer[1])?;
            Ok((entries.first().and_then(|(id, _)| parse_stream_id(id)), owner))
        });
        let pairs: Result<_, redis::ParsingError> = pairs.collect();
        pairs.map_err(|_| Failure::Nonsense("history".to_owned()))
    }
}
