use std::collections::{BTreeSet, HashSet};

use super::{
    Shared,
    record::{Owner, parse_nonce},
    schema::{self, field},
};
use crate::{store::StoreError, tenant::TenantId};

/// A record as a look at many tenants reads it.
pub struct Seen {
    pub tenant: TenantId,
    pub version: String,
    pub is_wanted: bool,
    pub owner: Option<Owner>,
    /// Its owner lives.
    pub living: bool,
}

impl Shared {
    /// What dead incarnations owned, what is wanted and had no owner, and what this incarnation is said to own and nobody here
    /// holds. Of more than `max` a random part, so that none is passed over for ever.
    ///
    /// Only reads: the scripts that change a record keep the indexes. Taken out here, a request would be lost that is saved
    /// between the look and the taking out.
    pub async fn orphaned(&self, max: usize) -> Result<Vec<TenantId>, StoreError> {
        // Without an incarnation none of them can be taken: a Redis that refuses writes would leave a log line for each.
        self.census.present().await?;
        let mut pipeline = redis::pipe();
        pipeline.cmd("SRANDMEMBER").arg(schema::wanted()).arg(max);
        pipeline.cmd("SMEMBERS").arg(schema::incarnations());
        let (wanted, incarnations): (Vec<String>, Vec<String>) = self.connections.query(&pipeline).await?;
        let mut found = tenants(&wanted);
        for incarnation in self.dead(incarnations.iter().map(String::as_str)).await? {
            found.extend(self.owned_by(&incarnation, max).await?);
        }
        let here = self.census.here();
        if let Some(here) = &here {
            let mut owned = self.owned_by(here, usize::MAX >> 1).await?;
            let held = self.leases.tenants();
            owned.retain(|tenant| !held.contains(tenant));
            let seen = self.look_at_each(&owned).await?;
            // What is being taken just now is ours, and not held yet.
            found.extend(seen.into_iter().filter(|seen| !seen.living).map(|seen| seen.tenant));
        }
        Ok(found.into_iter().take(max).collect())
    }

    async fn owned_by(&self, incarnation: &str, max: usize) -> Result<Vec<TenantId>, StoreError> {
        let mut pipeline = redis::pipe();
        pipeline.cmd("SRANDMEMBER").arg(schema::owned(incarnation)).arg(max);
        let (owned,): (Vec<String>,) = self.connections.query(&pipeline).await?;
        if owned.is_empty() && !self.census.is_here(incarnation) {
            // Dead and without a tenant, it is no longer looked at.
            let mut pipeline = redis::pipe();
            pipeline.cmd("SREM").arg(schema::incarnations()).arg(incarnation).ignore();
            pipeline.cmd("DEL").arg(schema::inbox(incarnation)).ignore();
            self.best_effort(&pipeline).await;
        }
        Ok(tenants(&owned).into_iter().collect())
    }

    /// In the tenants' order.
    pub async fn look_at_each(&self, tenants: &[TenantId]) -> Result<Vec<Seen>, StoreError> {
        if tenants.is_empty() {
            return Ok(Vec::new());
        }
        let mut pipeline = redis::pipe();
        let fields = [field::VERSION, field::WISH, field::OWNER_INCARNATION, field::OWNER_NONCE];
        tenants.iter().for_each(|tenant| _ = pipeline.cmd("HMGET").arg(schema::record(tenant)).arg(&fields));
        type Row = (Option<String>, Option<Vec<u8>>, Option<String>, Option<String>);
        let rows: Vec<Row> = self.connections.query(&pipeline).await?;
        let owners = rows.iter().filter_map(|(_, _, incarnation, _)| incarnation.as_deref());
        let gone = self.dead(owners.collect::<HashSet<_>>()).await?;
        let seen = tenants.iter().zip(rows).map(|(tenant, (version, wish, incarnation, nonce))| {
            let owner = incarnation.zip(nonce.as_deref().and_then(parse_nonce));
            let owner = owner.map(|(incarnation, nonce)| Owner { incarnation, nonce });
            Seen {
                tenant: tenant.clone(),
                version: version.unwrap_or_default(),
                is_wanted: wish.is_some(),
                living: owner.as_ref().is_some_and(|owner| self.lives(owner, &gone)),
                owner,
            }
        });
        Ok(seen.collect())
    }

    fn lives(&self, owner: &Owner, gone: &HashSet<String>) -> bool {
        if self.census.is_here(&owner.incarnation) {
            return self.leases.is_ours(owner.nonce);
        }
        !gone.contains(&owner.incarnation)
    }
}

/// Of the members of an index.
pub fn tenants(names: &[String]) -> BTreeSet<TenantId> {
    names.iter().filter_map(|name| TenantId::parse_encoded(name).ok()).collect()
}
