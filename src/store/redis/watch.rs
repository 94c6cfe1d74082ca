use std::{
    collections::{BTreeSet, HashSet},
    sync::Arc,
    time::Duration,
};

use tokio::time::{Instant, sleep};

use super::{Shared, census::Beat, refusal::Refusal, schema, trouble::Trouble};

const LOOK_EVERY: Duration = Duration::from_millis(500);
/// While somebody is about to fall silent or to be gone: each moment is one in which nobody shows a code.
const LOOK_CLOSELY_EVERY: Duration = Duration::from_millis(100);
/// So many looks between two readings of the list of incarnations.
const LOOKS_PER_LIST: u32 = 2;
/// Redis counts as away once it has answered nothing for so long. Well within the time in which an owner hangs up.
const AWAY_AFTER: Duration = Duration::from_secs(3);

/// Looks at who lives and at whether Redis answers at all, and has done what follows: nobody who died says so.
pub async fn run(shared: Arc<Shared>) {
    let mut watch = Watch { listed: Vec::new(), looks: 0, answered: Instant::now(), away: None };
    loop {
        let closely = shared.census.is_suspicious(Instant::now()) || shared.recovery.is_waited_for();
        tokio::select! {
            () = shared.tasks.stopped() => return,
            () = sleep(if closely { LOOK_CLOSELY_EVERY } else { LOOK_EVERY }) => {}
        }
        let looked = watch.look(&shared).await;
        shared.audience.doubt_unattended(Instant::now());
        match looked {
            Ok(dead) => {
                (watch.answered, watch.away) = (Instant::now(), None);
                shared.health.answered();
                shared.after_look(&dead).await;
            }
            Err(trouble) => {
                tracing::debug!(error = %trouble, "could not look who lives");
                shared.census.blink(Instant::now());
                if watch.answered.elapsed() >= AWAY_AFTER {
                    shared.health.gone();
                    // On the old one commands may wait for a network that forgot it. The listener takes its own connection for broken.
                    shared.connections.renew().await;
                    watch.log_away(&trouble);
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
    /// It is away, and what the log has of why: Redis's own word, if it said one.
    away: Option<Option<Refusal>>,
}

/// What a look found.
struct Dead {
    names: HashSet<String>,
    /// Of one of them it is news.
    news: bool,
}

impl Watch {
    /// Once, and again where Redis says why: one that a script keeps busy is silent for seconds before.
    fn log_away(&mut self, trouble: &Trouble) {
        let word = match trouble {
            Trouble::Refused(refusal) => Some(refusal.clone()),
            _ => None,
        };
        if self.away.as_ref().is_none_or(|logged| word.is_some() && *logged != word) {
            tracing::warn!(error = %trouble, remedy = trouble.remedy(), "redis is away");
            self.away = Some(word);
        }
    }

    async fn look(&mut self, shared: &Shared) -> Result<Dead, Trouble> {
        let begun = Instant::now();
        if self.looks.is_multiple_of(LOOKS_PER_LIST) {
            let mut pipeline = redis::pipe();
            pipeline.cmd("SMEMBERS").arg(schema::incarnations());
            (self.listed,) = shared.connections.query(&pipeline).await?;
        }
        self.looks = self.looks.wrapping_add(1);
        let mut names: BTreeSet<String> = self.listed.iter().cloned().collect();
        names.extend(shared.census.names());
        names.extend(shared.audience.owners());
        let mut dead = Dead { names: HashSet::new(), news: false };
        if names.is_empty() {
            return Ok(dead);
        }
        let mut pipeline = redis::pipe();
        pipeline.cmd("MGET").arg(names.iter().map(|name| schema::heartbeat(name)).collect::<Vec<_>>());
        let (beats,): (Vec<Option<String>>,) = shared.connections.query(&pipeline).await?;
        let now = Instant::now();
        for (name, beat) in names.into_iter().zip(beats) {
            let beat = beat.map(|text| Beat::of(&text));
            let gone = beat.is_none();
            dead.news |= shared.census.see(&name, beat, now);
            if gone {
                dead.names.insert(name);
            }
        }
        shared.census.looked(begun);
        Ok(dead)
    }
}

impl Shared {
    async fn after_look(self: &Arc<Self>, dead: &Dead) {
        if dead.news || self.has_settled().await {
            self.notifications.request_rescan();
        }
        let orphans = self.audience.owned_by(&dead.names);
        if !orphans.is_empty() {
            self.catch_up_with_all(orphans);
        }
        let silent = self.census.silent(Instant::now());
        for tenant in self.audience.pairing_with(&silent) {
            self.notifications.add(tenant);
        }
        self.health.listened();
    }

    /// What was left alone until now can be taken.
    async fn has_settled(&self) -> bool {
        if !self.recovery.is_waited_for() {
            return false;
        }
        let Ok(live) = self.connections.live().await else { return false };
        let settled = self.is_settled(&live).await.unwrap_or(false);
        if settled {
            self.recovery.settled();
        }
        settled
    }
}
