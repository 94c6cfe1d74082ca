use std::{collections::BTreeSet, sync::Arc, time::Duration};

use rand::RngExt as _;
use redis::RedisResult;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until, timeout_at};

use super::{Beat, Registered};
use crate::{
    store::redis::{
        Shared,
        client::{connection::Live, failure::Failure, refusal::Refusal},
        millis,
        ownership::orphaned::tenants,
        schema,
        script::{BEAT, Call, LEAVE, REGISTER},
    },
    telemetry::lease_kept,
    tenant::TenantId,
};

pub const TTL: Duration = Duration::from_secs(8);
const BEAT_EVERY: Duration = Duration::from_secs(1);
/// After a beat that failed. With the regular interval the deadline might pass although Redis was back before it.
const RETRY_AFTER: Duration = Duration::from_millis(100);
/// Counted from the start of the last beat that succeeded: an owner has hung up well before others may take over.
pub const DEADLINE: Duration = Duration::from_secs(6);
/// Tenants that one beat takes out of the inbox; others wait for the next.
const INBOX_MAX: usize = 1_024;

/// What the next incarnation has to know of the last one.
struct Past {
    name: String,
    /// What it owned. If Redis lost the data set, no other instance knows that these sessions are lost.
    tenants: BTreeSet<TenantId>,
}

/// Keeps this process alive towards Redis, as one incarnation after the other. An incarnation whose heartbeat expired never comes
/// back, and all its leases end with it.
pub async fn run(shared: Arc<Shared>) {
    let mut past: Option<Past> = None;
    let mut data: Option<String> = None;
    let mut wait = Duration::ZERO;
    loop {
        tokio::select! {
            () = shared.tasks.stopped() => return,
            () = sleep(wait) => {}
        }
        let name = shared.membership.next_name();
        let born = Instant::now();
        match register(&shared, &name, past.as_ref()).await {
            Ok(found) => {
                wait = Duration::ZERO;
                let lost = data.as_ref().is_some_and(|known| *known != found.data());
                if let Some(past) = past.filter(|_| lost) {
                    shared.data_is_lost(past.tenants);
                }
                data = Some(found.data().to_owned());
                let tenants = live(&shared, &name, born, found).await;
                past = Some(Past { name, tenants });
            }
            Err(failure) => {
                shared.health.note(&failure);
                if wait.is_zero() {
                    tracing::warn!(error = %failure, "no session can run until redis takes a heartbeat");
                }
                wait = rand::rng().random_range(BEAT_EVERY / 10..BEAT_EVERY / 4);
            }
        }
    }
}

/// The same step removes the heartbeat of the past, so that a late beat finds nothing to renew. Returns the connection, which
/// knows the data set that the incarnation is registered in.
async fn register(shared: &Shared, name: &str, past: Option<&Past>) -> Result<Arc<Live>, Failure> {
    let live = shared.connections.live().await?;
    // It has no leases to compare.
    shared.has_compared(live.tag()).await;
    // Changes nothing, and is refused if a heartbeat would be. Without enough replicas Redis 6 refuses a plain command and takes
    // a script: an incarnation would begin, be refused its heartbeat, and end, again and again.
    let mut pipeline = redis::pipe();
    pipeline.cmd("PEXPIRE").arg(schema::heartbeat(name)).arg(millis(TTL)).ignore();
    let () = shared.connections.query(&pipeline).await?;
    let first = shared.beat(0);
    let keys = [schema::incarnations(), schema::registrations(), schema::vacant(), schema::heartbeat(name)];
    let past_alive = past.map(|past| schema::heartbeat(&past.name));
    let call = Call::on_keys(&REGISTER, keys.into_iter().chain(past_alive)).arg(name).arg(first.text());
    let call = call.arg(millis(TTL)).arg(past.map_or("", |past| &past.name)).arg(live.known_run().unwrap_or_default());
    let (number, past_was_listed, was_vacant): (u64, bool, bool) = shared.connections.call(&call).await?;
    shared.membership.registered(&Registered { number, past_was_listed, was_vacant }, Instant::now());
    shared.membership.see(name, Some(first), Instant::now());
    shared.connections.live().await
}

/// Beats until the incarnation is over. Returns what it owned then.
async fn live(shared: &Arc<Shared>, name: &str, born: Instant, live: Arc<Live>) -> BTreeSet<TenantId> {
    let mut run = live.run.clone();
    shared.membership.begin(name);
    lease_kept(born.into_std());
    tracing::info!(incarnation = name, "registered with redis");
    // The tenants of the past are orphaned now, and others may have died while this process could not look.
    shared.notifications.request_rescan();
    let mut beats = interval(BEAT_EVERY);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut compared = shared.recovery.watch();
    let mut refreshed = born;
    let mut missed: Option<Failure> = None;
    for number in 1.. {
        let regular = tokio::select! {
            biased;
            () = shared.tasks.stopped() => {
                deregister(shared, name).await;
                break;
            }
            () = sleep_until(refreshed + DEADLINE) => {
                tracing::warn!(
                    incarnation = name,
                    error = missed.map(tracing::field::display),
                    "no heartbeat succeeded for too long, the sessions of this incarnation are ended"
                );
                break;
            }
            _ = beats.tick() => true,
            // Others wait for this beat.
            Ok(()) = compared.changed() => false,
            () = shared.connections.made() => false,
        };
        let begun = Instant::now();
        let answer = timeout_at(refreshed + DEADLINE, beat(shared, name, number)).await;
        match answer.unwrap_or(Err(Failure::Slow(DEADLINE))) {
            Ok(Some(inbox)) if begun.duration_since(refreshed) < TTL => {
                refreshed = begun;
                lease_kept(begun.into_std());
                let mut inbox = tenants(&inbox);
                let moved = shared.connections.live().await.ok().filter(|live| live.run != run);
                if missed.take().is_some() || moved.is_some() {
                    // Entries of the inbox, and notifications, may have been lost.
                    inbox.extend(shared.leases.tenants());
                }
                // In another run all leases are compared below.
                if moved.is_none() {
                    shared.drop_taken(&inbox).await;
                }
                inbox.into_iter().for_each(|tenant| shared.notifications.add(tenant));
                if let Some(live) = moved {
                    run.clone_from(&live.run);
                    shared.write_again(live.tag());
                }
                if regular {
                    shared.leases.beat();
                }
            }
            Ok(_) => {
                tracing::warn!(incarnation = name, "this incarnation has expired, its sessions are ended");
                break;
            }
            Err(failure) => {
                shared.health.note(&failure);
                tracing::debug!(error = %failure, "a beat was missed");
                missed = Some(failure);
                beats.reset_after(RETRY_AFTER);
            }
        }
    }
    shared.membership.end();
    let tenants = shared.leases.end_all();
    shared.watchers.mark_stale_owned_by(name);
    tenants
}

/// Returns its inbox. `None`: the heartbeat has expired, and must never be created again.
async fn beat(shared: &Shared, name: &str, number: u64) -> Result<Option<Vec<String>>, Failure> {
    let beat = shared.beat(number).text();
    let mut pipeline = redis::pipe();
    // Each command has its own answer: the entries taken out of the inbox must not be lost if the heartbeat is refused.
    pipeline.ignore_errors();
    pipeline.cmd("SET").arg(schema::heartbeat(name)).arg(&beat).arg("XX").arg("PX").arg(millis(TTL));
    pipeline.cmd("SPOP").arg(schema::inbox(name)).arg(INBOX_MAX);
    pipeline.cmd("INFO").arg("replication");
    type Answers = (RedisResult<Option<String>>, RedisResult<Vec<String>>, RedisResult<String>);
    let before = shared.connections.live().await?;
    let (set, inbox, info): Answers = shared.connections.beat(&pipeline).await?;
    // An error: the user lacks the right.
    if info.is_ok_and(|info| before.is_left_by(info)) {
        shared.connections.renew_after(&before).await;
    }
    let lives = match set.map_err(Failure::from) {
        Ok(set) => {
            if shared.health.taken() {
                // Without this, tenants that could not be acquired meanwhile would wait for the next sweep.
                shared.notifications.request_rescan();
            }
            set.is_some()
        }
        Err(Failure::Refused(Refusal::Memory)) => {
            let lives = beat_in_full_memory(shared, name, &beat).await?;
            shared.health.refused(Refusal::Memory);
            lives
        }
        Err(failure) => {
            // The connection does not see errors inside of answers.
            failure.count();
            if failure.breaks() {
                shared.connections.renew().await;
            }
            return Err(failure);
        }
    };
    let inbox = inbox?;
    Ok(lives.then_some(inbox))
}

/// Whether the incarnation is still alive. A plain command that needs no memory renews it. If there are too few replicas as well,
/// all versions of Redis refuse that command, so a server that was cut off keeps no lease. The script only shows others a new
/// beat: without it they would take over its pairings.
async fn beat_in_full_memory(shared: &Shared, name: &str, beat: &str) -> Result<bool, Failure> {
    let mut pipeline = redis::pipe();
    pipeline.cmd("PEXPIRE").arg(schema::heartbeat(name)).arg(millis(TTL));
    let (lives,): (bool,) = shared.connections.beat(&pipeline).await?;
    if lives {
        let call = Call::on_keys(&BEAT, [schema::heartbeat(name)]).arg(beat).arg(millis(TTL));
        let shown: Result<(), _> = shared.connections.call(&call).await;
        if let Err(failure) = shown {
            tracing::debug!(error = %failure, "others cannot see this beat and may take over pairings");
        }
    }
    Ok(lives)
}

/// Ends the incarnation at once, so that others need not wait for its heartbeat to expire.
async fn deregister(shared: &Shared, name: &str) {
    let gone = async {
        let live = shared.connections.live().await?;
        if shared.recovery.run() == live.tag() {
            // Expired ones that own nothing leave the list: if it is empty then, the next instance need not wait.
            let _ = shared.orphaned(1).await;
            return shared.connections.call(&leave(name, true, &live)).await;
        }
        // It stays listed: others wait until a full lease has passed, as for an instance that has not compared.
        let mut pipeline = redis::pipe();
        pipeline.cmd("DEL").arg(schema::heartbeat(name)).ignore();
        shared.connections.query(&pipeline).await
    };
    let gone: Result<(), Failure> = gone.await;
    if let Err(failure) = gone {
        tracing::warn!(error = %failure, "could not deregister this incarnation, its heartbeat expires by itself");
    }
}

/// Takes an incarnation that owns nothing from the list, the own one while it `lives`, another one once it has expired.
pub fn leave(name: &str, lives: bool, live: &Live) -> Call {
    let keys = [schema::incarnations(), schema::vacant(), schema::heartbeat(name)];
    let keys = keys.into_iter().chain([schema::owned(name), schema::inbox(name)]);
    let call = Call::on_keys(&LEAVE, keys).arg(name).arg(u8::from(lives));
    call.arg(live.known_run().unwrap_or_default())
}

impl Shared {
    fn beat(&self, number: u64) -> Beat {
        self.membership.beat(number, self.leases.count(), self.recovery.run())
    }
}
