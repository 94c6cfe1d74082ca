use std::{sync::Arc, time::Duration};

use rand::RngExt as _;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use super::{
    Shared,
    connection::ANSWER_TIME_MAX,
    keys, random_name,
    script::{Call, TAKE},
    trouble::Trouble,
};
use crate::{store::StoreError, tenant::TenantId};

const TTL: Duration = Duration::from_secs(8);
const BEAT_EVERY: Duration = Duration::from_secs(1);
/// Counted from the start of the last beat that arrived: an owner has hung up well before others may take over.
const DEADLINE: Duration = Duration::from_secs(6);

/// Keeps this process known as alive, as one incarnation after the other: one that was missed once never comes back, and
/// with it go all its leases.
pub async fn run(shared: Arc<Shared>) {
    let mut wait = Duration::ZERO;
    while !shared.stop.is_cancelled() {
        tokio::select! {
            () = shared.stop.cancelled() => return,
            () = sleep(wait) => {}
        }
        let name = random_name();
        let born = Instant::now();
        match be_born(&shared, &name).await {
            Ok(()) => {
                wait = Duration::ZERO;
                live(&shared, &name, born).await;
            }
            Err(trouble) => {
                if wait.is_zero() {
                    tracing::warn!(error = %trouble, "redis is away, no session can be run until it is back");
                }
                wait = rand::rng().random_range(BEAT_EVERY / 4..BEAT_EVERY);
            }
        }
    }
}

/// The index before the key: an incarnation that lives can be found.
async fn be_born(shared: &Shared, name: &str) -> Result<(), Trouble> {
    let mut pipeline = redis::pipe();
    pipeline.cmd("SADD").arg(keys::INCARNATIONS).arg(name).ignore();
    pipeline.cmd("SET").arg(keys::heartbeat(name)).arg(1).arg("NX").arg("PX").arg(millis(TTL)).ignore();
    shared.connections.query(&pipeline).await
}

async fn live(shared: &Arc<Shared>, name: &str, born: Instant) {
    shared.incarnation.send_replace(Some(name.into()));
    tracing::info!(incarnation = name, "known to redis as an incarnation");
    let mut beats = interval(BEAT_EVERY);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut refreshed = born;
    let mut missed = false;
    loop {
        tokio::select! {
            biased;
            () = shared.stop.cancelled() => break depart(shared, name).await,
            _ = beats.tick() => {}
        }
        let begun = Instant::now();
        match beat(shared, name).await {
            Ok(true) if begun.duration_since(refreshed) < TTL => {
                refreshed = begun;
                if missed {
                    // Nudges may have been missed as well, and each session can look for itself.
                    shared.leases.tenants().into_iter().for_each(|tenant| shared.nudges.add(tenant));
                }
                missed = empty_inbox(shared, name).await.is_err();
                shared.leases.prune();
                shared.look_after_owners().await;
            }
            Ok(_) => {
                tracing::warn!(incarnation = name, "this incarnation is over, its sessions are ended");
                break;
            }
            Err(trouble) => {
                missed = true;
                tracing::debug!(error = %trouble, "a beat was missed");
            }
        }
        if refreshed.elapsed() >= DEADLINE {
            tracing::warn!(
                incarnation = name,
                "redis was away for too long, the sessions of this incarnation are ended"
            );
            break;
        }
    }
    shared.incarnation.send_replace(None);
    shared.leases.end_all();
    shared.audience.doubt_owned_by(name);
}

/// False: it is gone, and must never be made again.
async fn beat(shared: &Shared, name: &str) -> Result<bool, Trouble> {
    let mut pipeline = redis::pipe();
    pipeline.cmd("SET").arg(keys::heartbeat(name)).arg(1).arg("XX").arg("PX").arg(millis(TTL));
    let (done,): (Option<String>,) = shared.connections.query(&pipeline).await?;
    Ok(done.is_some())
}

async fn empty_inbox(shared: &Shared, name: &str) -> Result<(), Trouble> {
    let found: Vec<String> = shared.connections.call(&Call::on_key(&TAKE, keys::inbox(name))).await?;
    found.iter().filter_map(|tenant| TenantId::parse(tenant).ok()).for_each(|tenant| shared.nudges.add(tenant));
    Ok(())
}

/// Others need not wait for the end of an incarnation that ends itself.
async fn depart(shared: &Shared, name: &str) {
    let mut pipeline = redis::pipe();
    pipeline.cmd("DEL").arg(keys::heartbeat(name)).ignore();
    let gone: Result<(), _> = shared.connections.query(&pipeline).await;
    if let Err(trouble) = gone {
        tracing::warn!(error = %trouble, "could not tell redis of the end of this incarnation, it expires by itself");
    }
}

fn millis(duration: Duration) -> u64 {
    duration.as_millis() as u64
}

impl Shared {
    /// The incarnation to take leases for.
    pub async fn this_incarnation(&self) -> Result<Arc<str>, StoreError> {
        let mut known = self.incarnation.subscribe();
        let known = timeout(ANSWER_TIME_MAX, known.wait_for(Option::is_some)).await;
        let known = known.ok().and_then(Result::ok).and_then(|known| known.clone());
        known.ok_or_else(|| Trouble::Unborn.into())
    }
}
