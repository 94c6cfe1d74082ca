use std::{collections::HashMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use tokio::time::{MissedTickBehavior, interval};

use super::{
    RedisStore, Shared,
    client::failure::Failure,
    schema,
    script::{Call, REVOKE},
};
use crate::{
    clock::Timestamp,
    store::{Revocations, Revoked, StoreError},
    tenant::{TenantId, TenantRef},
};

/// How often the newest revocations are read. They are published as well: this is for a subscription that broke, also in
/// silence. With the time for an answer it stays below the promised second.
const LOOK_EVERY: Duration = Duration::from_millis(700);
/// Revocations that are this much older than the newest one are looked at again: the clock of Redis may be set back a
/// little.
const LOOK_BACK_S: i64 = 10;
/// Revocations in one answer.
const PAGE: usize = 1_000;

#[async_trait]
impl Revocations for RedisStore {
    async fn revoke(&self, tenant: &TenantId) -> Result<Timestamp, StoreError> {
        let shared = self.shared();
        shared.tasks.check_open()?;
        let tenant = tenant.reference();
        // Done twice it is done once, or a moment later.
        let until: String = shared.connections.call_with_retries(&revoke(tenant, None)).await?;
        let until = until.parse().map_err(|_| Failure::Nonsense(until))?;
        shared.revoked.learn([(tenant, until)]);
        Timestamp::from_second(until).map_err(|error| StoreError::Damaged(Box::new(error)))
    }

    fn revoked(&self) -> &Arc<Revoked> {
        &self.shared().revoked
    }
}

impl RedisStore {
    /// Reads all revocations. Called before the first request is answered, so that no restart accepts a token that was
    /// refused before it.
    pub async fn read_revocations(&self) -> Result<(), StoreError> {
        Ok(self.shared().read_revocations(i64::MIN).await.map(drop)?)
    }

    /// Saves what another store knows.
    pub async fn restore_revocations(&self, of: &Revoked) -> Result<(), StoreError> {
        for (tenant, until) in of.all() {
            let _: String = self.shared().connections.call(&revoke(tenant, Some(until))).await?;
        }
        Ok(())
    }
}

/// `until`: a second that was answered earlier; `None`: now.
fn revoke(tenant: TenantRef, until: Option<i64>) -> Call {
    let until = until.map_or(String::new(), |until| until.to_string());
    Call::on_keys(&REVOKE, [schema::revocations()]).arg(tenant.to_string()).arg(schema::revoked()).arg(until)
}

/// Keeps what this process knows up to date.
pub async fn run(shared: Arc<Shared>) {
    let mut looks = interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut server = shared.connections.server();
    // All are read after each change of the server: another run of it may have other ones.
    let mut reads_all = true;
    loop {
        tokio::select! {
            () = shared.tasks.stopped() => return,
            _ = looks.tick() => {}
            changed = server.changed() => match changed {
                Ok(()) => reads_all = true,
                Err(_) => return,
            },
        }
        let reading = async {
            match reads_all {
                true => shared.read_all_revocations().await,
                false => shared.read_revocations(shared.newest_revocation()).await.map(drop),
            }
        };
        let read = tokio::select! {
            () = shared.tasks.stopped() => return,
            read = reading => read,
        };
        match read {
            Ok(()) => reads_all = false,
            Err(error) => tracing::debug!(%error, "revocations could not be read, trying again"),
        }
    }
}

impl Shared {
    /// A message of the channel [`schema::revoked`].
    pub fn hear_revocation(&self, payload: &[u8]) {
        let text = String::from_utf8_lossy(payload);
        let revocation = text.split_once(' ').and_then(|(tenant, until)| parse(tenant, until));
        // What cannot be read here is read with the next look.
        self.revoked.learn(revocation);
    }

    fn newest_revocation(&self) -> i64 {
        self.revoked.newest().map_or(i64::MIN, |newest| newest.saturating_sub(LOOK_BACK_S))
    }

    /// A Redis that lost its last second, or all, gets back what this process knows: without this, a token that was
    /// refused would be accepted again.
    async fn read_all_revocations(&self) -> Result<(), Failure> {
        let before = self.revoked.all();
        let kept = self.read_revocations(i64::MIN).await?;
        for (tenant, until) in before {
            if kept.get(&tenant).is_none_or(|kept| *kept < until) {
                let _: String = self.connections.call(&revoke(tenant, Some(until))).await?;
            }
        }
        Ok(())
    }

    /// Those that ended at this second or later. Each stays at its place in the order or moves to the end, so none is
    /// missed between two pages.
    async fn read_revocations(&self, from: i64) -> Result<HashMap<TenantRef, i64>, Failure> {
        let (mut from, mut count, mut read) = (from, PAGE, HashMap::new());
        loop {
            let begin = if from == i64::MIN { "-inf".to_owned() } else { from.to_string() };
            let mut pipeline = redis::pipe();
            pipeline.cmd("ZRANGEBYSCORE").arg(schema::revocations()).arg(begin).arg("+inf").arg("WITHSCORES");
            pipeline.arg("LIMIT").arg(0).arg(count);
            let (found,): (Vec<(String, String)>,) = self.connections.query(&pipeline).await?;
            let page: Vec<_> = found.iter().filter_map(|(tenant, until)| parse(tenant, until)).collect();
            self.revoked.learn(page.iter().copied());
            let last = page.last().map(|(_, until)| *until);
            read.extend(page);
            match last {
                Some(last) if found.len() == count && last > from => from = last,
                // More of one second than fit: the next answer has to go beyond it.
                Some(_) if found.len() == count => count *= 2,
                _ => return Ok(read),
            }
        }
    }
}

fn parse(tenant: &str, until: &str) -> Option<(TenantRef, i64)> {
    Some((TenantRef::parse(tenant)?, until.parse().ok()?))
}
