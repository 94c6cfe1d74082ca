use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::Arc,
    time::Duration,
};

use tokio::time::{Instant, sleep};

use super::{Beat, heartbeat::TTL, instance_of};
use crate::store::redis::{
    Shared,
    client::{failure::Failure, refusal::Refusal},
    millis, schema,
};

pub const LOOK_EVERY: Duration = Duration::from_millis(500);
/// While readers here see a code of another instance.
const LOOK_FOR_CODES_EVERY: Duration = Duration::from_millis(250);
/// While an instance is about to count as silent or expired: until then a user waits for a code.
const LOOK_CLOSELY_EVERY: Duration = Duration::from_millis(100);
/// The list of incarnations is read once in so many looks.
const LOOKS_PER_LIST: u32 = 2;
/// Redis counts as away after this time without an answer. Well below the time after which an owner hangs up.
const AWAY_AFTER: Duration = Duration::from_secs(3);

/// Looks which incarnations live and whether Redis answers, and starts what follows if one has expired: nothing else reports
/// that.
pub async fn run(shared: Arc<Shared>) {
    let mut watch = Watch { listed: Vec::new(), looks: 0, answered: Instant::now(), away: None };
    loop {
        let wait = if shared.membership.is_suspicious(Instant::now()) || shared.recovery.is_waited_for() {
            LOOK_CLOSELY_EVERY
        } else if shared.owners_of_pairings().is_empty() {
            LOOK_EVERY
        } else {
            LOOK_FOR_CODES_EVERY
        };
        tokio::select! {
            () = shared.tasks.stopped() => return,
            () = sleep(wait) => {}
        }
        let looked = watch.look(&shared).await;
        shared.watchers.mark_stale_unowned(Instant::now());
        match looked {
            Ok(expired) => {
                (watch.answered, watch.away) = (Instant::now(), None);
                shared.health.answered();
                shared.after_look(&expired).await;
            }
            Err(failure) => {
                tracing::debug!(error = %failure, "heartbeats could not be read");
                shared.membership.restart_silence(Instant::now());
                if watch.answered.elapsed() >= AWAY_AFTER {
                    shared.health.gone();
                    // On the old connection commands may wait for a network that dropped it.
                    shared.connections.renew().await;
                    watch.log_away(&failure);
                }
            }
        }
    }
}

struct Watch {
    /// The incarnations that Redis listed last.
    listed: Vec<String>,
    looks: u32,
    /// When Redis last did.
    answered: Instant,
    /// It is away; the word that was logged, if Redis answered one.
    away: Option<Option<Refusal>>,
}

/// The expired incarnations that a look found.
struct Expired {
    names: HashSet<String>,
    /// One of them was not known to have expired.
    news: bool,
}

impl Watch {
    /// Logs once, and again if Redis then answers a word: a Redis that a script keeps busy answers nothing for seconds before.
    fn log_away(&mut self, failure: &Failure) {
        let word = match failure {
            Failure::Refused(refusal) => Some(refusal.clone()),
            _ => None,
        };
        if self.away.as_ref().is_none_or(|logged| word.is_some() && *logged != word) {
            tracing::warn!(error = %failure, remedy = failure.remedy(), "redis is away");
            self.away = Some(word);
        }
    }

    async fn look(&mut self, shared: &Shared) -> Result<Expired, Failure> {
        let begun = Instant::now();
        if self.looks.is_multiple_of(LOOKS_PER_LIST) {
            let mut pipeline = redis::pipe();
            pipeline.cmd("SMEMBERS").arg(schema::incarnations());
            (self.listed,) = shared.connections.query(&pipeline).await?;
        }
        self.looks = self.looks.wrapping_add(1);
        let mut names: BTreeSet<String> = self.listed.iter().cloned().collect();
        names.extend(shared.membership.names());
        names.extend(shared.watchers.owners());
        let mut expired = Expired { names: HashSet::new(), news: false };
        if names.is_empty() {
            return Ok(expired);
        }
        let mut pipeline = redis::pipe();
        pipeline.cmd("MGET").arg(names.iter().map(|name| schema::heartbeat(name)).collect::<Vec<_>>());
        let (beats,): (Vec<Option<String>>,) = shared.connections.query(&pipeline).await?;
        let now = Instant::now();
        for (name, beat) in names.into_iter().zip(beats) {
            let beat = beat.map(|text| Beat::of(&text));
            let has_expired = beat.is_none();
            expired.news |= shared.membership.see(&name, beat, now);
            if has_expired {
                expired.names.insert(name);
            }
        }
        shared.membership.see_unsubscribed(&shared.unsubscribed_owners_of_pairings().await?, now);
        shared.membership.looked(begun);
        shared.cut_deadlines(&shared.membership.silent(now)).await?;
        Ok(expired)
    }
}

impl Shared {
    /// The other processes' incarnations whose codes readers here see.
    fn owners_of_pairings(&self) -> BTreeSet<String> {
        let mut owners = self.watchers.owners_of_pairings();
        owners.retain(|owner| instance_of(owner) != self.membership.instance());
        owners
    }

    /// Those whose process has no subscription, and how old their heartbeats are.
    async fn unsubscribed_owners_of_pairings(&self) -> Result<BTreeMap<String, Duration>, Failure> {
        let owners = self.owners_of_pairings();
        if owners.is_empty() {
            return Ok(BTreeMap::new());
        }
        let mut pipeline = redis::pipe();
        let channels: Vec<_> = owners.iter().map(|owner| schema::probe(instance_of(owner))).collect();
        pipeline.cmd("PUBSUB").arg("NUMSUB").arg(channels);
        let (subscribed,): (Vec<(String, u64)>,) = self.connections.query(&pipeline).await?;
        let unsubscribed = owners.into_iter().zip(subscribed).filter(|(_, (_, subscribed))| *subscribed == 0);
        let unsubscribed: Vec<_> = unsubscribed.map(|(owner, _)| owner).collect();
        let left = self.left_to_live(&unsubscribed).await?;
        let ages = left.into_iter().map(|left| TTL.saturating_sub(Duration::from_millis(left.try_into().unwrap_or(0))));
        Ok(unsubscribed.into_iter().zip(ages).collect())
    }

    /// How long these heartbeats still live, in ms; negative: not known.
    async fn left_to_live(&self, names: &[String]) -> Result<Vec<i64>, Failure> {
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let mut pipeline = redis::pipe();
        names.iter().for_each(|name| _ = pipeline.cmd("PTTL").arg(schema::heartbeat(name)));
        self.connections.query(&pipeline).await
    }

    /// If Redis's clock was set back, or that of a promoted replica is behind, heartbeats of killed processes would live for
    /// longer than a lease.
    async fn cut_deadlines(&self, silent: &[String]) -> Result<(), Failure> {
        let left = self.left_to_live(silent).await?;
        let mut pipeline = redis::pipe();
        for (name, _) in silent.iter().zip(left).filter(|(_, left)| *left > millis(TTL) as i64) {
            pipeline.cmd("PEXPIRE").arg(schema::heartbeat(name)).arg(millis(TTL)).ignore();
        }
        if pipeline.is_empty() {
            return Ok(());
        }
        // Refused writes say nothing about who lives.
        self.best_effort(&pipeline).await;
        Ok(())
    }

    async fn after_look(self: &Arc<Self>, expired: &Expired) {
        if expired.news || self.has_settled().await {
            self.notifications.request_rescan();
        }
        let orphans = self.watchers.owned_by(&expired.names);
        if !orphans.is_empty() {
            self.catch_up_with_all(orphans);
        }
        let silent = self.membership.silent(Instant::now());
        for tenant in self.watchers.pairing_with(&silent) {
            self.notifications.add(tenant);
        }
        self.health.listened();
    }
}
