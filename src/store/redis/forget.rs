//! Forgets idle tenants, those without credentials, desired state and owner, and erases one on demand.

use std::{collections::HashSet, time::Duration};

use super::{
    RedisStore, Shared,
    record::{Owner, parse_nonce},
    schema::{self, field},
    script::{COUNT, Call, FORGET},
    trouble::Trouble,
};
use crate::{
    store::{StoreError, idle::IDLE_STEP_MAX},
    tenant::TenantId,
};

/// Tenants that are forgotten with one look, so that others are served meanwhile. The next sweep goes on.
const AT_ONCE: usize = 200;
/// Keys that Redis looks at in one step for what is left of a tenant.
const STEP: usize = 1_000;

/// Owner's incarnation and nonce, the version, when it began to be idle, the version of then, and whether it is wanted.
type Row = (Option<String>, Option<String>, Option<String>, Option<u64>, Option<String>, Option<Vec<u8>>);

impl RedisStore {
    /// Removes all that is kept of the tenant. False: nothing was removed, since it has credentials, a desired state or
    /// an owner.
    pub async fn erase_tenant(&self, tenant: &TenantId) -> Result<bool, StoreError> {
        let shared = self.shared();
        let reading = shared.read(tenant, None).await?;
        let dead = reading.record.owner.filter(|_| !reading.living);
        // Before the record, so that what a request makes that comes meanwhile is not among them.
        let unnamed = shared.unnamed_keys(tenant).await?;
        if !shared.forget(tenant, &forget(tenant, 0, None, dead.as_ref())).await? {
            return Ok(false);
        }
        if !unnamed.is_empty() {
            let mut pipeline = redis::pipe();
            pipeline.cmd("UNLINK").arg(unnamed).ignore();
            let () = shared.connections.query(&pipeline).await?;
        }
        Ok(true)
    }
}

fn forget(tenant: &TenantId, counted: u64, after: Option<Duration>, dead: Option<&Owner>) -> Call {
    let after = after.map_or(String::new(), |after| after.as_millis().to_string());
    let dead = dead.map_or(String::new(), |owner| super::record::nonce_text(owner.nonce));
    Call::on(&FORGET, tenant).arg(counted).arg(after).arg(dead)
}

impl Shared {
    /// By the server's clock, in ms.
    pub async fn count_idle_time(&self) -> Result<u64, Trouble> {
        let call = Call::on_keys(&COUNT, [schema::idle_time()]).arg(IDLE_STEP_MAX.as_millis() as u64);
        self.connections.call(&call).await
    }

    /// Of these tenants those that have been idle for long enough. Of the others notes since when they are.
    pub async fn forget_idle(&self, tenants: &[TenantId], counted: u64) -> Result<usize, StoreError> {
        if tenants.is_empty() {
            return Ok(0);
        }
        let mut pipeline = redis::pipe();
        let fields = [
            field::OWNER_INCARNATION,
            field::OWNER_NONCE,
            field::VERSION,
            field::IDLE_SINCE,
            field::IDLE_VERSION,
            field::WISH,
        ];
        tenants.iter().for_each(|tenant| _ = pipeline.cmd("HMGET").arg(schema::record(tenant)).arg(&fields));
        let rows: Vec<Row> = self.connections.query(&pipeline).await?;
        let owners = rows.iter().filter_map(|(incarnation, ..)| incarnation.as_deref());
        let gone = self.dead(owners.collect::<HashSet<_>>()).await?;
        let after_ms = self.forget_after.as_millis() as u64;
        let (mut forgotten, mut asked) = (0, 0);
        for (tenant, (incarnation, nonce, version, since, at, wish)) in tenants.iter().zip(rows) {
            let owner = incarnation.zip(nonce.as_deref().and_then(parse_nonce));
            let owner = owner.map(|(incarnation, nonce)| Owner { incarnation, nonce });
            let is_owned = owner.as_ref().is_some_and(|owner| self.lives(owner, &gone));
            let since = since.filter(|_| at == version);
            let is_early = since.is_some_and(|since| counted.saturating_sub(since) < after_ms);
            if wish.is_some() || is_owned || is_early || asked == AT_ONCE {
                continue;
            }
            asked += 1;
            let call = forget(tenant, counted, Some(self.forget_after), owner.as_ref());
            if since.is_some() {
                forgotten += usize::from(self.forget(tenant, &call).await?);
            } else {
                let _begun: String = self.connections.call(&call).await?;
            }
        }
        Ok(forgotten)
    }

    /// False: it is kept. The indexes are cleared before the record: a request that was indexed meanwhile finds another
    /// record and decides again. Cleared after it, they would lose a request that came in between.
    async fn forget(&self, tenant: &TenantId, call: &Call) -> Result<bool, StoreError> {
        let listed = self.listed(tenant).await?;
        let incarnations = self.incarnations().await?;
        let (was_wanted, owned) = self.unname(tenant, &incarnations).await?;
        let answer: Result<String, Trouble> = self.connections.call(call).await;
        if !matches!(&answer, Ok(word) if word == "forgotten") {
            if was_wanted {
                self.index_wanted(tenant).await?;
            }
            for (incarnation, _) in incarnations.iter().zip(owned).filter(|(_, was_owned)| *was_owned) {
                self.index_owned(tenant, incarnation).await?;
            }
            answer?;
            return Ok(false);
        }
        let mut pipeline = redis::pipe();
        for incarnation in incarnations {
            pipeline.cmd("SREM").arg(schema::inbox(&incarnation)).arg(tenant.as_str()).ignore();
        }
        let () = self.connections.query(&pipeline).await?;
        if let Some(listed) = listed {
            self.unlist(tenant, listed).await;
        }
        Ok(true)
    }

    async fn incarnations(&self) -> Result<Vec<String>, Trouble> {
        let mut pipeline = redis::pipe();
        pipeline.cmd("SMEMBERS").arg(schema::incarnations());
        let (incarnations,): (Vec<String>,) = self.connections.query(&pipeline).await?;
        Ok(incarnations)
    }

    /// Answers whether it was in the index of wanted tenants, and in the one of each incarnation.
    async fn unname(&self, tenant: &TenantId, incarnations: &[String]) -> Result<(bool, Vec<bool>), Trouble> {
        let mut pipeline = redis::pipe();
        pipeline.cmd("SREM").arg(schema::wanted()).arg(tenant.as_str());
        for incarnation in incarnations {
            pipeline.cmd("SREM").arg(schema::owned(incarnation)).arg(tenant.as_str());
        }
        let mut removed: Vec<bool> = self.connections.query(&pipeline).await?;
        let owned = removed.split_off(1);
        Ok((removed == [true], owned))
    }

    /// Keys that nothing kept points to: codes whose event has left the history, which would expire by themselves, and rows
    /// of a table that is not listed.
    async fn unnamed_keys(&self, tenant: &TenantId) -> Result<Vec<String>, Trouble> {
        let (mut cursor, mut keys) = (0, Vec::new());
        loop {
            let mut pipeline = redis::pipe();
            pipeline.cmd("SCAN").arg(cursor).arg("MATCH").arg(schema::all_of(tenant)).arg("COUNT").arg(STEP);
            let ((next, found),): ((u64, Vec<String>),) = self.connections.query(&pipeline).await?;
            keys.extend(found.into_iter().filter(|key| schema::is_unnamed(key)));
            if next == 0 {
                return Ok(keys);
            }
            cursor = next;
        }
    }
}
