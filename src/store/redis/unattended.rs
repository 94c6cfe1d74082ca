use std::collections::{BTreeSet, HashSet};

use super::{
    Shared,
    record::{Owner, parse_nonce},
    schema::{self, field},
};
use crate::{store::StoreError, tenant::TenantId};

impl Shared {
    /// Reads what dead incarnations owned and what was released, and of this incarnation what nobody here holds; never
    /// what lives elsewhere. Of more than `max` a random part, so that none is passed over for ever.
    pub async fn orphaned(&self, max: usize) -> Result<Vec<TenantId>, StoreError> {
        // Without an incarnation none of them can be taken: a Redis that refuses writes would leave a log line for each.
        self.this_incarnation().await?;
        let mut pipeline = redis::pipe();
        pipeline.cmd("SRANDMEMBER").arg(schema::wanted()).arg(max);
        pipeline.cmd("SMEMBERS").arg(schema::incarnations());
        let (wanted, incarnations): (Vec<String>, Vec<String>) = self.connections.query(&pipeline).await?;
        let dead = self.dead(incarnations.iter().map(String::as_str)).await?;
        let mut candidates: BTreeSet<TenantId> = wanted.iter().filter_map(|name| TenantId::parse(name).ok()).collect();
        for incarnation in &dead {
            candidates.extend(self.owned_by(incarnation, max).await?);
        }
        let here = self.incarnation.borrow().clone();
        if let Some(here) = &here {
            let held = self.leases.tenants();
            let owned = self.owned_by(here, usize::MAX >> 1).await?;
            candidates.extend(owned.into_iter().filter(|tenant| !held.contains(tenant)));
        }
        self.sift(candidates, &dead, max).await
    }

    async fn owned_by(&self, incarnation: &str, max: usize) -> Result<Vec<TenantId>, StoreError> {
        let mut pipeline = redis::pipe();
        pipeline.cmd("SRANDMEMBER").arg(schema::owned(incarnation)).arg(max);
        let (owned,): (Vec<String>,) = self.connections.query(&pipeline).await?;
        if owned.is_empty() && !self.is_this_incarnation(incarnation) {
            // Nothing points to it any more. Its set is empty, which is to say that it is not there.
            let mut pipeline = redis::pipe();
            pipeline.cmd("SREM").arg(schema::incarnations()).arg(incarnation).ignore();
            pipeline.cmd("DEL").arg(schema::inbox(incarnation)).ignore();
            self.best_effort(&pipeline).await;
        }
        Ok(owned.iter().filter_map(|name| TenantId::parse(name).ok()).collect())
    }

    /// The record decides; an index that points to what is not so is taken out.
    async fn sift(
        &self,
        candidates: BTreeSet<TenantId>,
        dead: &HashSet<String>,
        max: usize,
    ) -> Result<Vec<TenantId>, StoreError> {
        let (mut found, stale) = self.ownerless(candidates, dead).await?;
        if stale.cmd_iter().next().is_some() {
            self.best_effort(&stale).await;
        }
        found.truncate(max);
        Ok(found)
    }

    /// Of these tenants those that are wanted and have no living owner, and the commands that take the others out of the
    /// indexes. Only for tenants that an index has named: a request that comes in between would lose its place there.
    pub async fn ownerless(
        &self,
        candidates: BTreeSet<TenantId>,
        dead: &HashSet<String>,
    ) -> Result<(Vec<TenantId>, redis::Pipeline), StoreError> {
        let (mut found, mut stale) = (Vec::new(), redis::pipe());
        if candidates.is_empty() {
            return Ok((found, stale));
        }
        let mut pipeline = redis::pipe();
        for tenant in &candidates {
            let fields = [field::WISH, field::OWNER_INCARNATION, field::OWNER_NONCE];
            pipeline.cmd("HMGET").arg(schema::record(tenant)).arg(&fields);
        }
        type Row = (Option<Vec<u8>>, Option<String>, Option<String>);
        let rows: Vec<Row> = self.connections.query(&pipeline).await?;
        let elsewhere = rows.iter().filter_map(|(_, owner, _)| owner.as_deref());
        let gone = self.dead(elsewhere.collect::<HashSet<_>>()).await?;
        for (tenant, (wish, incarnation, nonce)) in candidates.into_iter().zip(rows) {
            let owner = incarnation.zip(nonce.as_deref().and_then(parse_nonce));
            let owner = owner.map(|(incarnation, nonce)| Owner { incarnation, nonce });
            let living = owner.as_ref().is_some_and(|owner| self.lives(owner, &gone));
            if wish.is_some() && !living {
                found.push(tenant);
                continue;
            }
            if wish.is_none() {
                stale.cmd("SREM").arg(schema::wanted()).arg(tenant.as_str()).ignore();
            }
            for incarnation in dead {
                stale.cmd("SREM").arg(schema::owned(incarnation)).arg(tenant.as_str()).ignore();
            }
        }
        Ok((found, stale))
    }

    pub fn lives(&self, owner: &Owner, gone: &HashSet<String>) -> bool {
        if self.is_this_incarnation(&owner.incarnation) {
            return self.leases.is_ours(owner.nonce);
        }
        !gone.contains(&owner.incarnation)
    }
}
