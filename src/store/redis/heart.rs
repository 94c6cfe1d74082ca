use std::{collections::BTreeSet, sync::Arc, time::Duration};

use rand::RngExt as _;
use redis::RedisResult;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until, timeout_at};

use super::{
    Shared,
    census::Beat,
    connection::Live,
    random_name,
    refusal::Refusal,
    schema,
    script::{BEAT, BORN, Call},
    trouble::Trouble,
    unattended::tenants,
};
use crate::tenant::TenantId;

pub const TTL: Duration = Duration::from_secs(8);
const BEAT_EVERY: Duration = Duration::from_secs(1);
/// After a beat that failed. At the next regular one the deadline may have passed, although Redis was there before it.
const RETRY_AFTER: Duration = Duration::from_millis(100);
/// Counted from the start of the last beat that arrived: an owner has hung up well before others may take over.
const DEADLINE: Duration = Duration::from_secs(6);
/// Tenants taken out of the inbox with one beat; more than that wait for the next.
const INBOX_MAX: usize = 1_024;

/// An incarnation that is over, as the next one has to know it.
struct Past {
    name: String,
    /// What it owned: with the data set they are lost, and nobody else would say so.
    tenants: BTreeSet<TenantId>,
}

/// Keeps this process known as alive, as one incarnation after the other: one that was missed once never comes back, and
/// with it go all its leases.
pub async fn run(shared: Arc<Shared>) {
    let mut past: Option<Past> = None;
    let mut data: Option<String> = None;
    let mut wait = Duration::ZERO;
    loop {
        tokio::select! {
            () = shared.tasks.stopped() => return,
            () = sleep(wait) => {}
        }
        let name = random_name();
        let born = Instant::now();
        match be_born(&shared, &name, past.as_ref()).await {
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
            Err(trouble) => {
                shared.health.note(&trouble);
                if wait.is_zero() {
                    tracing::warn!(error = %trouble, "no session can be run until redis takes a heartbeat");
                }
                wait = rand::rng().random_range(BEAT_EVERY / 10..BEAT_EVERY / 4);
            }
        }
    }
}

/// The past goes in the same step: a late beat of it, still on its way, finds nothing to refresh. Answers the connection,
/// which knows into which data set it was born.
async fn be_born(shared: &Shared, name: &str, past: Option<&Past>) -> Result<Arc<Live>, Trouble> {
    if let Some(past) = past {
        shared.census.hung_up(&past.name);
    }
    let past = past.map(|past| schema::heartbeat(&past.name));
    let names = [schema::incarnations(), schema::heartbeat(name)].into_iter().chain(past);
    shared.recovery.compared(shared.connections.live().await?.tag());
    // Changes nothing, and is refused where a heartbeat is. Redis 6 refuses a plain command for want of replicas and takes
    // the same from a script: an incarnation would begin, be refused its heartbeat, and end, again and again.
    let mut pipeline = redis::pipe();
    pipeline.cmd("PEXPIRE").arg(schema::heartbeat(name)).arg(millis(TTL)).ignore();
    let () = shared.connections.query(&pipeline).await?;
    let first = shared.beat(0);
    let call = Call::on_keys(&BORN, names).arg(name).arg(first.text()).arg(millis(TTL));
    let () = shared.connections.call(&call).await?;
    shared.census.see(name, Some(first), Instant::now());
    shared.connections.live().await
}

/// Until it is over. Answers what it owned then.
async fn live(shared: &Arc<Shared>, name: &str, born: Instant, live: Arc<Live>) -> BTreeSet<TenantId> {
    let mut run = live.run.clone();
    shared.census.begin(name);
    tracing::info!(incarnation = name, "known to redis as an incarnation");
    // What was owned in the past is nobody's now, and others may have died while nothing could be seen.
    shared.notifications.request_rescan();
    let mut beats = interval(BEAT_EVERY);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut compared = shared.recovery.watch();
    let mut refreshed = born;
    let mut missed: Option<Trouble> = None;
    for number in 1.. {
        let regular = tokio::select! {
            biased;
            () = shared.tasks.stopped() => {
                depart(shared, name).await;
                break;
            }
            () = sleep_until(refreshed + DEADLINE) => {
                tracing::warn!(
                    incarnation = name,
                    error = missed.map(tracing::field::display),
                    "redis took no heartbeat for too long, the sessions of this incarnation are ended"
                );
                break;
            }
            _ = beats.tick() => true,
            // Others wait for it.
            Ok(()) = compared.changed() => false,
            () = shared.connections.made() => false,
        };
        let begun = Instant::now();
        let answer = timeout_at(refreshed + DEADLINE, beat(shared, name, number)).await;
        match answer.unwrap_or(Err(Trouble::Slow(DEADLINE))) {
            Ok(Some(inbox)) if begun.duration_since(refreshed) < TTL => {
                refreshed = begun;
                let mut inbox = tenants(&inbox);
                let moved = shared.connections.live().await.ok().filter(|live| live.run != run);
                if missed.take().is_some() || moved.is_some() {
                    // What was put into the inbox, or published, may have been lost as well.
                    inbox.extend(shared.leases.tenants());
                }
                // In another run of the server every lease is looked at below, also for what is lost.
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
                tracing::warn!(incarnation = name, "this incarnation is over, its sessions are ended");
                break;
            }
            Err(trouble) => {
                shared.health.note(&trouble);
                tracing::debug!(error = %trouble, "a beat was missed");
                missed = Some(trouble);
                beats.reset_after(RETRY_AFTER);
            }
        }
    }
    shared.census.end();
    let tenants = shared.leases.end_all();
    shared.audience.doubt_owned_by(name);
    tenants
}

/// Answers its inbox. `None`: it is gone, and must never be made again.
async fn beat(shared: &Shared, name: &str, number: u64) -> Result<Option<Vec<String>>, Trouble> {
    let beat = shared.beat(number).text();
    let mut pipeline = redis::pipe();
    // Each with its own answer: what was taken out of the inbox must not be lost with a refusal of the heartbeat.
    pipeline.ignore_errors();
    pipeline.cmd("SET").arg(schema::heartbeat(name)).arg(&beat).arg("XX").arg("PX").arg(millis(TTL));
    pipeline.cmd("SPOP").arg(schema::inbox(name)).arg(INBOX_MAX);
    type Answers = (RedisResult<Option<String>>, RedisResult<Vec<String>>);
    let (set, inbox): Answers = shared.connections.query(&pipeline).await?;
    let lives = match set.map_err(Trouble::from) {
        Ok(set) => {
            if shared.health.taken() {
                // Sessions that could not be taken meanwhile would wait for the next sweep.
                shared.notifications.request_rescan();
            }
            set.is_some()
        }
        Err(Trouble::Refused(Refusal::Memory)) => {
            let lives = beat_in_full_memory(shared, name, &beat).await?;
            shared.health.refused(Refusal::Memory);
            lives
        }
        Err(trouble) => {
            // The connection does not know of errors that are answers.
            if trouble.breaks() {
                shared.connections.renew().await;
            }
            return Err(trouble);
        }
    };
    let inbox = inbox?;
    Ok(lives.then_some(inbox))
}

/// Whether the incarnation is still there. What keeps it is a plain command that needs no memory: where there are too few
/// replicas as well, all versions of Redis refuse it, and a server that was cut off keeps no lease. The script only shows the
/// others a new beat, without which they would take its pairings over.
async fn beat_in_full_memory(shared: &Shared, name: &str, beat: &str) -> Result<bool, Trouble> {
    let mut pipeline = redis::pipe();
    pipeline.cmd("PEXPIRE").arg(schema::heartbeat(name)).arg(millis(TTL));
    let (lives,): (bool,) = shared.connections.query(&pipeline).await?;
    if lives {
        let call = Call::on_keys(&BEAT, [schema::heartbeat(name)]).arg(beat).arg(millis(TTL));
        let shown: Result<(), _> = shared.connections.call(&call).await;
        if let Err(trouble) = shown {
            tracing::debug!(error = %trouble, "others cannot see this beat, and may take over pairings");
        }
    }
    Ok(lives)
}

/// Others need not wait for the end of an incarnation that ends itself.
async fn depart(shared: &Shared, name: &str) {
    let mut pipeline = redis::pipe();
    pipeline.cmd("DEL").arg(schema::heartbeat(name)).ignore();
    let gone: Result<(), _> = shared.connections.query(&pipeline).await;
    if let Err(trouble) = gone {
        tracing::warn!(error = %trouble, "could not tell redis of the end of this incarnation, it expires by itself");
    }
}

fn millis(duration: Duration) -> u64 {
    duration.as_millis() as u64
}

impl Shared {
    fn beat(&self, number: u64) -> Beat {
        self.census.beat(number, self.leases.count(), self.recovery.run())
    }
}
