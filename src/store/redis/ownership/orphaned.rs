use std::collections::{BTreeSet, HashSet};

use crate::{
    store::{
        StoreError,
        redis::{
            Shared,
            journal::record::{Owner, parse_nonce},
            membership::heartbeat::{TTL, leave},
            schema::{self, field},
        },
    },
    tenant::TenantId,
};

/// The fields of a record that are read for many tenants at once.
pub struct Seen {
    pub tenant: TenantId,
    pub version: String,
    pub is_wanted: bool,
    pub owner: Option<Owner>,
    /// Its owner lives.
    pub is_owned: bool,
}

impl Shared {
    /// Tenants of expired incarnations, wanted tenants that had no owner, and tenants that Redis lists as ours and that are not
    /// running here. Of more than `max` a random part, so that none waits for ever.
    ///
    /// Does not write the indexes: only the scripts that change a record do. If this removed an entry, it would also remove the
    /// entry of a request that is saved at that moment.
    pub async fn orphaned(&self, max: usize) -> Result<Vec<TenantId>, StoreError> {
        // Without an incarnation none of them can be acquired: each attempt would log a failure.
        self.membership.present().await?;
        let mut pipeline = redis::pipe();
        pipeline.cmd("SRANDMEMBER").arg(schema::wanted()).arg(max);
        pipeline.cmd("SMEMBERS").arg(schema::incarnations());
        let (wanted, incarnations): (Vec<String>, Vec<String>) = self.connections.query(&pipeline).await?;
        let mut found = tenants(&wanted);
        for incarnation in self.expired(incarnations.iter().map(String::as_str)).await? {
            found.extend(self.owned_by(&incarnation, max).await?);
        }
        let here = self.membership.here();
        if let Some(here) = &here {
            let mut owned = self.owned_by(here, usize::MAX >> 1).await?;
            let held = self.leases.tenants();
            owned.retain(|tenant| !held.contains(tenant));
            let seen = self.look_at_each(&owned).await?;
            // A tenant that is being acquired just now is ours, and not held yet.
            found.extend(seen.into_iter().filter(|seen| !seen.is_owned).map(|seen| seen.tenant));
        }
        Ok(found.into_iter().take(max).collect())
    }

    async fn owned_by(&self, incarnation: &str, max: usize) -> Result<Vec<TenantId>, StoreError> {
        let mut pipeline = redis::pipe();
        pipeline.cmd("SRANDMEMBER").arg(schema::owned(incarnation)).arg(max);
        let (owned,): (Vec<String>,) = self.connections.query(&pipeline).await?;
        let live = self.connections.live().await?;
        // In a run that has just begun, Redis may have lost what it owns, and others wait for it.
        if owned.is_empty() && !self.membership.is_here(incarnation) && !live.is_younger_than(TTL) {
            let gone: Result<(), _> = self.connections.call(&leave(incarnation, false, &live)).await;
            if let Err(failure) = gone {
                tracing::debug!(error = %failure, "an expired incarnation stays listed");
            }
        }
        Ok(tenants(&owned).into_iter().collect())
    }

    /// In the tenants' order.
    pub async fn look_at_each(&self, tenants: &[TenantId]) -> Result<Vec<Seen>, StoreError> {
        if tenants.is_empty() {
            return Ok(Vec::new());
        }
        let mut pipeline = redis::pipe();
        let fields = [field::VERSION, field::DESIRED, field::OWNER_INCARNATION, field::OWNER_NONCE];
        tenants.iter().for_each(|tenant| _ = pipeline.cmd("HMGET").arg(schema::record(tenant)).arg(&fields));
        type Row = (Option<String>, Option<Vec<u8>>, Option<String>, Option<String>);
        let rows: Vec<Row> = self.connections.query(&pipeline).await?;
        let owners = rows.iter().filter_map(|(_, _, incarnation, _)| incarnation.as_deref());
        let expired = self.expired(owners.collect::<HashSet<_>>()).await?;
        let seen = tenants.iter().zip(rows).map(|(tenant, (version, desired, incarnation, nonce))| {
            let owner = incarnation.zip(nonce.as_deref().and_then(parse_nonce));
            let owner = owner.map(|(incarnation, nonce)| Owner { incarnation, nonce });
            Seen {
                tenant: tenant.clone(),
                version: version.unwrap_or_default(),
                is_wanted: desired.is_some(),
                is_owned: owner.as_ref().is_some_and(|owner| self.lives(owner, &expired)),
                owner,
            }
        });
        Ok(seen.collect())
    }

    fn lives(&self, owner: &Owner, expired: &HashSet<String>) -> bool {
        if self.membership.is_here(&owner.incarnation) {
            return self.leases.is_ours(owner.nonce);
        }
        !expired.contains(&owner.incarnation)
    }
}

/// Parses the members of an index.
pub fn tenants(names: &[String]) -> BTreeSet<TenantId> {
    names.iter().filter_map(|name| TenantId::parse_encoded(name).ok()).collect()
}
