//! Forgets idle tenants, those without credentials, desired state and owner, and erases one on demand.

use std::time::Duration;

use crate::{
    store::{
        StoreError,
        idle::IDLE_STEP_MAX,
        redis::{
            RedisStore, Shared,
            client::failure::Failure,
            journal::record::{Owner, nonce_text},
            millis,
            ownership::orphaned::Seen,
            schema::{self, field},
            script::{COUNT, Call, FORGET},
        },
    },
    tenant::TenantId,
};

/// Tenants that one step forgets at most, so that other clients are served. The next sweep goes on.
const AT_ONCE: usize = 200;
/// Keys that Redis looks at in one step of the search for a tenant's keys.
const STEP: usize = 1_000;

/// The script's answer when it has removed the tenant.
const FORGOTTEN: &str = "forgotten";

impl RedisStore {
    /// Removes all that is kept of the tenant. False: nothing was removed, since it has credentials, a desired state or
    /// an owner.
    pub async fn erase_tenant(&self, tenant: &TenantId) -> Result<bool, StoreError> {
        let shared = self.shared();
        let reading = shared.read(tenant, None).await?;
        let expired = reading.record.owner.filter(|_| !reading.is_owned);
        // Listed before the record is removed, so that the keys of a request that comes meanwhile are not among them.
        let unnamed = shared.unnamed_keys(tenant).await?;
        let call = forget(tenant, 0, None, expired.as_ref(), &shared.incarnations().await?);
        let answer: String = shared.connections.call(&call).await?;
        if answer != FORGOTTEN {
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

/// `incarnations`: those whose indexes may name the tenant.
fn forget(
    tenant: &TenantId,
    counted: u64,
    after: Option<Duration>,
    expired: Option<&Owner>,
    incarnations: &[String],
) -> Call {
    let after = after.map_or(String::new(), |after| after.as_millis().to_string());
    let nonce = expired.map_or(String::new(), |owner| nonce_text(owner.nonce));
    let mut call = Call::on(&FORGET, tenant).key(schema::outbox()).key(schema::wanted());
    for incarnation in incarnations.iter().chain(expired.map(|owner| &owner.incarnation)) {
        call = call.key(schema::owned(incarnation)).key(schema::inbox(incarnation));
    }
    call.arg(counted).arg(after).arg(nonce)
}

impl Shared {
    /// By the clock of Redis, in ms.
    pub async fn count_idle_time(&self) -> Result<u64, Failure> {
        let call = Call::on_keys(&COUNT, [schema::idle_time()]).arg(millis(IDLE_STEP_MAX));
        self.connections.call(&call).await
    }

    /// Forgets those of these tenants that have been idle for long enough, and begins the idle time of others.
    pub async fn forget_idle(&self, tenants: &[TenantId], counted: u64) -> Result<usize, StoreError> {
        let idle: Vec<Seen> = self.look_at_each(tenants).await?;
        let idle: Vec<Seen> = idle.into_iter().filter(|seen| !seen.is_wanted && !seen.is_owned).collect();
        if idle.is_empty() {
            return Ok(0);
        }
        let mut pipeline = redis::pipe();
        let fields = [field::IDLE_SINCE, field::IDLE_VERSION];
        idle.iter().for_each(|seen| _ = pipeline.cmd("HMGET").arg(schema::record(&seen.tenant)).arg(&fields));
        let since: Vec<(Option<u64>, Option<String>)> = self.connections.query(&pipeline).await?;
        let after_ms = millis(self.forget_after);
        let due = idle.iter().zip(since).filter(|(seen, (since, at))| {
            let since = since.filter(|_| at.as_ref() == Some(&seen.version));
            since.is_none_or(|since| counted.saturating_sub(since) >= after_ms)
        });
        let due: Vec<_> = due.map(|(seen, _)| seen).take(AT_ONCE).collect();
        if due.is_empty() {
            return Ok(0);
        }
        let (incarnations, mut forgotten) = (self.incarnations().await?, 0);
        for seen in due {
            let call = forget(&seen.tenant, counted, Some(self.forget_after), seen.owner.as_ref(), &incarnations);
            let answer: String = self.connections.call(&call).await?;
            forgotten += usize::from(answer == FORGOTTEN);
        }
        Ok(forgotten)
    }

    async fn incarnations(&self) -> Result<Vec<String>, Failure> {
        let mut pipeline = redis::pipe();
        pipeline.cmd("SMEMBERS").arg(schema::incarnations());
        let (incarnations,): (Vec<String>,) = self.connections.query(&pipeline).await?;
        Ok(incarnations)
    }

    /// Keys that no other key names: codes whose event has left the history, which would expire by themselves, and rows of a table
    /// that is not listed.
    async fn unnamed_keys(&self, tenant: &TenantId) -> Result<Vec<String>, Failure> {
        let (mut cursor, mut keys) = (0, Vec::new());
        loop {
            let mut pipeline = redis::pipe();
            pipeline.cmd("SCAN").arg(cursor).arg("MATCH").arg(schema::all_keys_of(tenant)).arg("COUNT").arg(STEP);
            let ((next, found),): ((u64, Vec<String>),) = self.connections.query(&pipeline).await?;
            keys.extend(found.into_iter().filter(|key| schema::is_unnamed(key)));
            if next == 0 {
                return Ok(keys);
            }
            cursor = next;
        }
    }
}
