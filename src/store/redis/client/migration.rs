//! Migrates what a version with an earlier layout has written, when the first instance of this version starts.
//!
//! From its first step on, `layout` has this version's number, so that no earlier version starts, and `migrating` has the
//! layout of the data. Each tenant is migrated by one script, which may be run again: after a kill at any moment the next
//! start goes on. Once all are migrated, `migrating` is removed, and instances may use the data.

use std::time::Duration;

use redis::{AsyncConnectionConfig, Client, Script, aio::MultiplexedConnection};
use tokio::time::sleep;

use super::{failure::Failure, unusable::UnusableServer};
use crate::store::{
    Migration,
    crypt::MasterKeys,
    migration::way,
    redis::{
        encryption::proof,
        millis,
        schema::{self, proof_field},
        script::{Call, MIGRATING},
    },
};

/// How the data of one layout in Redis is migrated.
#[derive(Debug)]
pub struct Step {
    /// The key of the set of incarnations in the earlier layout.
    pub incarnations: &'static str,
    /// With what the keys of their heartbeats begin; the incarnation's name follows.
    pub heartbeat: &'static str,
    /// A pattern of keys in the earlier layout: one for each tenant, and no other.
    pub tenants: &'static str,
    /// A script in Lua that migrates the tenant whose key is `found`. It may be run again.
    pub script: &'static str,
}

/// Those of this program. Nothing with an earlier layout was released.
pub const MIGRATIONS: &[Migration<Step>] = &[];

/// An instance that was killed keeps others waiting for so long.
const LOCKED_FOR: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// An instance of an earlier version that starts has its heartbeat within this time, or has found the new number.
const START_TIME: Duration = Duration::from_secs(2);
/// For one tenant.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(10);
/// Keys that Redis looks at in one step.
const KEYS: usize = 1_000;

/// The process that migrates, and the layout that it makes.
pub struct Migrator<'a> {
    pub migrations: &'a [Migration<Step>],
    pub to: u64,
    /// Names the process in the lock.
    pub token: &'a str,
}

impl Migrator<'_> {
    /// Brings the data to the layout, or waits until another instance has.
    pub async fn run(&self, client: &Client, keys: &MasterKeys) -> Result<(), Failure> {
        let config = AsyncConnectionConfig::new().set_response_timeout(Some(ANSWER_TIME_MAX));
        let connection = client.get_multiplexed_async_connection_with_config(&config).await;
        let mut connection = connection.map_err(Failure::greeted_with)?;
        let found = proof::find(&mut connection).await?;
        proof::prove(&mut connection, keys, false, found).await?;
        let mut waits = false;
        loop {
            let mut ask = redis::cmd("HMGET");
            ask.arg(schema::PROOF).arg(proof_field::MIGRATING).arg(proof_field::LAYOUT);
            let (migrating, layout): (Option<u64>, Option<u64>) = ask.query_async(&mut connection).await?;
            let from = migrating.or(layout).ok_or(UnusableServer::Earlier)?;
            let way = way(self.migrations, from, self.to).ok_or(UnusableServer::Earlier)?;
            let Some(first) = way.first() else { return Ok(()) };
            refuse_beside_earlier(&mut connection, &first.step).await?;
            if self.lock(&mut connection).await? {
                let done = self.migrate(&mut connection, &way, migrating.is_none()).await;
                self.unlock(&mut connection).await?;
                return done;
            }
            if !std::mem::replace(&mut waits, true) {
                tracing::info!("another instance migrates redis to this version's layout, waiting for it");
            }
            sleep(LOOK_EVERY).await;
        }
    }

    async fn migrate(
        &self,
        connection: &mut MultiplexedConnection,
        way: &[&Migration<Step>],
        begins: bool,
    ) -> Result<(), Failure> {
        let Some(first) = way.first() else { return Ok(()) };
        self.mark(connection, first.from, Some(first.from), self.to).await?;
        sleep(START_TIME).await;
        if let Err(failure) = refuse_beside_earlier(connection, &first.step).await {
            if begins {
                self.mark(connection, first.from, None, first.from).await?;
            }
            return Err(failure);
        }
        for migration in way {
            let tenants = self.migrate_tenants(connection, migration).await?;
            let next = (migration.to < self.to).then_some(migration.to);
            self.mark(connection, migration.from, next, self.to).await?;
            tracing::info!(from = migration.from, to = migration.to, tenants, "redis was migrated to another layout");
        }
        Ok(())
    }

    /// Whether the lock is ours.
    async fn lock(&self, connection: &mut MultiplexedConnection) -> Result<bool, Failure> {
        let mut pipeline = redis::pipe();
        pipeline.cmd("SET").arg(schema::MIGRATION).arg(self.token).arg("NX").arg("PX").arg(millis(LOCKED_FOR)).ignore();
        pipeline.cmd("GET").arg(schema::MIGRATION);
        let (holder,): (Option<String>,) = pipeline.query_async(connection).await?;
        Ok(holder.as_deref() == Some(self.token))
    }

    async fn unlock(&self, connection: &mut MultiplexedConnection) -> Result<(), Failure> {
        let holder: Option<String> = redis::cmd("GET").arg(schema::MIGRATION).query_async(connection).await?;
        if holder.as_deref() == Some(self.token) {
            let () = redis::cmd("DEL").arg(schema::MIGRATION).query_async(connection).await?;
        }
        Ok(())
    }

    /// Saves which layout the data has: before this step, and after it if there is another one to come.
    async fn mark(
        &self,
        connection: &mut MultiplexedConnection,
        before: u64,
        after: Option<u64>,
        layout: u64,
    ) -> Result<(), Failure> {
        let after = after.map_or(String::new(), |after| after.to_string());
        let call = Call::on_keys(&MIGRATING, [schema::PROOF.to_owned(), schema::MIGRATION.to_owned()]);
        let is_saved: bool = call.arg(before).arg(after).arg(layout).arg(self.token).run(connection).await?;
        if is_saved { Ok(()) } else { Err(Failure::Contended) }
    }

    /// Returns the number of tenants.
    async fn migrate_tenants(
        &self,
        connection: &mut MultiplexedConnection,
        Migration { from, step, .. }: &Migration<Step>,
    ) -> Result<usize, Failure> {
        const HEAD: &str = include_str!("../scripts/migrate.lua");
        let script = Script::new(&format!("{HEAD}\n{}\nreturn 1", step.script));
        let (mut cursor, mut tenants) = (0_u64, 0);
        loop {
            let mut ask = redis::cmd("SCAN");
            ask.arg(cursor).arg("MATCH").arg(step.tenants).arg("COUNT").arg(KEYS);
            let (next, found): (u64, Vec<String>) = ask.query_async(connection).await?;
            for key in found {
                let mut call = script.key(schema::PROOF);
                call.key(schema::MIGRATION).key(&key).arg(*from).arg(self.token).arg(millis(LOCKED_FOR));
                let done: Result<bool, Failure> = call.invoke_async(connection).await.map_err(Failure::from);
                match done {
                    Ok(true) => tenants += 1,
                    Ok(false) => return Err(Failure::Contended),
                    Err(failure) if failure.is_passing() => return Err(failure),
                    Err(failure) => {
                        tracing::error!(key, error = %failure, "a tenant cannot be migrated, no instance starts");
                        return Err(UnusableServer::Unmigratable.into());
                    }
                }
            }
            if next == 0 {
                return Ok(tenants);
            }
            cursor = next;
        }
    }
}

/// Refuses a Redis on which an instance of the earlier layout is alive.
async fn refuse_beside_earlier(connection: &mut MultiplexedConnection, step: &Step) -> Result<(), Failure> {
    let names: Vec<String> = redis::cmd("SMEMBERS").arg(step.incarnations).query_async(connection).await?;
    if names.is_empty() {
        return Ok(());
    }
    let mut ask = redis::cmd("EXISTS");
    names.iter().for_each(|name| _ = ask.arg([step.heartbeat, name].concat()));
    let living: u64 = ask.query_async(connection).await?;
    if living > 0 { Err(UnusableServer::EarlierRuns.into()) } else { Ok(()) }
}
