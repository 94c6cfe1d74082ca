//! Which instances live. This process proves its own life by a heartbeat, and looks for those of others; what follows from a
//! death is for `ownership`.
//!
//! Where to start reading: `heartbeat`, then `liveness`.

pub mod heartbeat;
pub mod liveness;

use std::{
    collections::{BTreeMap, HashMap},
    hash::{DefaultHasher, Hash as _, Hasher as _},
    mem,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::watch,
    time::{Instant, timeout},
};

use super::{
    client::{connection::ANSWER_TIME_MAX, failure::Failure},
    journal::record::Owner,
    random_name,
};
use crate::{telemetry::metrics, tenant::TenantId};

/// A pairing has nothing to lose, so it is taken over after this time without a beat, before its owner counts as expired: a user
/// waits for the code.
const SILENT_AFTER: Duration = Duration::from_secs(3);
/// The same for a process without a subscription. A killed process loses it at once, and a process that lives has another one
/// soon.
const UNSUBSCRIBED_FOR: Duration = Duration::from_millis(500);
/// A process without a subscription that still beats is alive: only its subscription was cut.
const BEAT_LATE_AFTER: Duration = Duration::from_millis(1_050);
/// No tenant is left to an instance without a new beat for this time.
const LIVELY_FOR: Duration = Duration::from_secs(2);
/// Ignore older observations, of more than a few looks: after a suspend of this process all others look silent.
const LOOK_HOLDS: Duration = Duration::from_secs(1);
/// A tenant with credentials is left to an incarnation that looks expired for so long after its newest beat was first seen: by
/// then its owner has hung up, whatever Redis's clock did. A heartbeat expires by that clock, which may be set forward. Shorter
/// than a heartbeat lives, so a death is found as soon as without it.
const ACQUIRABLE_AFTER: Duration = Duration::from_millis(7_500);
/// From here on more beats are missing than is likely by chance: look more often.
const SUSPECT_AFTER: Duration = Duration::from_millis(1_600);
/// Instances whose numbers of sessions differ by less count as equal.
const SLACK: usize = 16;
/// The time for each instance that comes first; it needs a few milliseconds.
const TURN: Duration = Duration::from_millis(500);
/// A crash of Redis loses 2 s at most (`appendfsync everysec`), a failover what `min-replicas-max-lag 3` permits.
const DURABLE_AFTER: Duration = Duration::from_secs(4);

/// This process's own incarnation, and the others as this process last saw them. That one is alive may be out of date; that one
/// has expired stays true.
pub struct Membership {
    /// A random name of this process, in notifications and probes.
    instance: String,
    /// The incarnation that lives now; `None` until it is registered, and between two.
    here: watch::Sender<Option<Arc<str>>>,
    registration: Mutex<Option<Registration>>,
    /// How many names this process has given to its incarnations.
    named: AtomicU64,
    sessions_max: Option<usize>,
    members: Mutex<Members>,
}

/// The first registration of this process that no loss of data can have removed without removing all later ones as well.
#[derive(Clone, Copy)]
struct Registration {
    number: u64,
    durable_at: Instant,
}

/// What Redis answers to a registration.
pub struct Registered {
    /// The number of the registration.
    pub number: u64,
    /// Redis still had the incarnation before this one, so a loss of data that removes all names of this process removes that
    /// one's registration as well.
    pub past_was_listed: bool,
    /// No other instance was there: the last one left in order, or there never was one. If Redis loses this registration, it still
    /// knows that.
    pub was_vacant: bool,
}

#[derive(Default)]
struct Members {
    by_name: HashMap<String, Member>,
    /// When the last look at the heartbeats began.
    looked: Option<Instant>,
}

#[derive(Clone, Copy)]
struct Member {
    beat: Beat,
    /// When this beat was first seen. It was sent earlier.
    seen: Instant,
    /// Silence is counted from here: `seen`, or a look that failed.
    heard: Instant,
    unsubscribed: Option<Unsubscribed>,
    /// Its heartbeat is gone from Redis.
    has_expired: bool,
}

/// The process of an incarnation has no subscription at Redis: that ends with a process at once, a heartbeat does not.
#[derive(Clone, Copy)]
struct Unsubscribed {
    since: Instant,
    /// How old its heartbeat is, by Redis's clock.
    beat_age: Duration,
}

/// The content of an incarnation's heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beat {
    /// Differs from beat to beat.
    pub number: u64,
    /// Sessions it owns.
    pub owned: usize,
    /// Sessions it will own; `None`: as many as come.
    pub max: Option<usize>,
    /// The run of the server with which it has compared what it holds.
    pub run: Tag,
}

/// A hash of the name of a run or an incarnation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Tag(u64);

impl Tag {
    pub fn of(name: &str) -> Self {
        let mut hasher = DefaultHasher::new();
        name.hash(&mut hasher);
        Self(hasher.finish())
    }
}

/// The process that gave an incarnation its name.
pub fn instance_of(incarnation: &str) -> &str {
    incarnation.rsplit_once('-').map_or(incarnation, |(instance, _)| instance)
}

impl Beat {
    pub fn text(self) -> String {
        let max = self.max.map_or("-".to_owned(), |max| max.to_string());
        format!("{} {} {max} {:x}", self.number, self.owned, self.run.0)
    }

    /// The beat of another version also proves that its incarnation lives. No tenant is left to it.
    pub fn of(text: &str) -> Self {
        Self::parse(text).unwrap_or_else(|| Self {
            number: Tag::of(text).0,
            owned: 0,
            max: Some(0),
            run: Tag::default(),
        })
    }

    fn parse(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let (number, owned, max) = (words.next()?, words.next()?, words.next()?);
        let max = if max == "-" { None } else { Some(max.parse().ok()?) };
        let run = Tag(u64::from_str_radix(words.next()?, 16).ok()?);
        Some(Self { number: number.parse().ok()?, owned: owned.parse().ok()?, max, run })
    }

    fn has_room(self) -> bool {
        self.max.is_none_or(|max| self.owned < max)
    }
}

impl Membership {
    pub fn new(sessions_max: Option<usize>) -> Self {
        let (here, members, named) = (watch::Sender::new(None), Mutex::default(), AtomicU64::default());
        Self { instance: random_name(), here, registration: Mutex::default(), named, sessions_max, members }
    }

    pub fn instance(&self) -> &str {
        &self.instance
    }

    pub fn here(&self) -> Option<Arc<str>> {
        self.here.borrow().clone()
    }

    pub fn is_here(&self, incarnation: &str) -> bool {
        self.here.borrow().as_deref() == Some(incarnation)
    }

    /// Waits for the own incarnation to be registered. `None`: the store was dropped.
    pub async fn registered_as(&self) -> Option<Arc<str>> {
        self.here.subscribe().wait_for(Option::is_some).await.ok()?.clone()
    }

    /// Waits for the own incarnation to be registered, but not for long.
    pub async fn present(&self) -> Result<Arc<str>, Failure> {
        let mut here = self.here.subscribe();
        let here = timeout(ANSWER_TIME_MAX, here.wait_for(Option::is_some)).await;
        here.ok().and_then(Result::ok).and_then(|here| here.clone()).ok_or(Failure::Unregistered)
    }

    pub fn begin(&self, name: &str) {
        self.here.send_replace(Some(name.into()));
    }

    pub fn end(&self) {
        self.here.send_replace(None);
    }

    /// A name for the next incarnation, from which others can tell the process: see [`instance_of`].
    pub fn next_name(&self) -> String {
        format!("{}-{}", self.instance, self.named.fetch_add(1, Ordering::Relaxed))
    }

    pub fn registered(&self, registered: &Registered, now: Instant) {
        let mut registration = self.registration.lock().unwrap_or_else(PoisonError::into_inner);
        if !registered.past_was_listed || registration.is_none() {
            let durable_at = if registered.was_vacant { now } else { now + DURABLE_AFTER };
            *registration = Some(Registration { number: registered.number, durable_at });
        }
    }

    /// Whether Redis cannot lose this process's registration any more without knowing that it did.
    pub fn is_durable(&self, now: Instant) -> bool {
        self.registration().is_some_and(|registration| now >= registration.durable_at)
    }

    /// Whether this process may acquire a tenant with credentials. Without this, Redis could lose the registration together with
    /// the acquire: then no instance would wait for this process, and another one would open a second link. A tenant that was
    /// released after the registration can be acquired at once: a loss of the registration also undoes the release.
    pub fn may_acquire_linked(&self, released_after: u64, now: Instant) -> bool {
        self.is_durable(now) || self.registration().is_some_and(|registration| released_after >= registration.number)
    }

    fn registration(&self) -> Option<Registration> {
        *self.registration.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a session that this process acquired. `owner`: of the record before. A live owner that gives a tenant up clears
    /// the record. After an outage this process acquires its own tenants again.
    pub fn count_takeover(&self, owner: Option<&Owner>) {
        if owner.is_some_and(|owner| instance_of(&owner.incarnation) != self.instance) {
            metrics().takeovers.increment(1);
        }
    }

    /// The content of the next heartbeat. `run`: the run of the server that the leases were compared with.
    pub fn beat(&self, number: u64, owned: usize, run: Tag) -> Beat {
        Beat { number, owned, max: self.sessions_max, run }
    }

    /// `None`: it has expired. True: this is news, or its tenants with credentials can be acquired from now on.
    pub fn see(&self, name: &str, beat: Option<Beat>, now: Instant) -> bool {
        let mut members = self.lock();
        let Some(beat) = beat else {
            if members.is_acquirable(name, now) {
                return members.by_name.remove(name).is_some();
            }
            return members.by_name.get_mut(name).is_some_and(|member| !mem::replace(&mut member.has_expired, true));
        };
        let fresh = Member { beat, seen: now, heard: now, unsubscribed: None, has_expired: false };
        let member = members.by_name.entry(name.to_owned()).or_insert(fresh);
        if member.beat != beat {
            *member = Member { unsubscribed: member.unsubscribed, ..fresh };
        }
        false
    }

    /// The processes of these incarnations have no subscription at Redis, and their heartbeats are so old. Of all others that is
    /// not known.
    pub fn see_unsubscribed(&self, beat_ages: &BTreeMap<String, Duration>, now: Instant) {
        for (name, member) in &mut self.lock().by_name {
            let since = member.unsubscribed.map_or(now, |unsubscribed| unsubscribed.since);
            member.unsubscribed = beat_ages.get(name).map(|beat_age| Unsubscribed { since, beat_age: *beat_age });
        }
    }

    /// Whether the tenants of an expired incarnation can be acquired: its owner has hung up by now.
    pub fn is_acquirable(&self, name: &str, now: Instant) -> bool {
        instance_of(name) == self.instance || self.lock().is_acquirable(name, now)
    }

    /// A look failed: silence is counted from now on, since beats may have been missed.
    pub fn restart_silence(&self, now: Instant) {
        self.lock().by_name.values_mut().for_each(|member| (member.heard, member.unsubscribed) = (now, None));
    }

    /// A look has ended. `begun`: the time before its commands were sent, since an answer may have waited for a suspended process.
    pub fn looked(&self, begun: Instant) {
        self.lock().looked = Some(begun);
    }

    /// It hands over what it owns, so no tenant is left to it.
    pub fn leaves(&self, name: &str) {
        if let Some(member) = self.lock().by_name.get_mut(name) {
            member.beat.max = Some(0);
        }
    }

    pub fn names(&self) -> Vec<String> {
        self.lock().by_name.keys().cloned().collect()
    }

    /// Not known to have expired, but without a beat for long enough that its pairings may be taken over.
    pub fn is_silent(&self, name: &str, now: Instant) -> bool {
        let members = self.lock();
        members.by_name.get(name).is_some_and(|member| members.hears(now) && member.is_silent(now))
    }

    pub fn silent(&self, now: Instant) -> Vec<String> {
        let members = self.lock();
        let silent = members.by_name.iter().filter(|(_, member)| members.hears(now) && member.is_silent(now));
        silent.map(|(name, _)| name.clone()).collect()
    }

    /// An instance is about to count as silent or expired.
    pub fn is_suspicious(&self, now: Instant) -> bool {
        let is_suspicious =
            |member: &Member| member.unsubscribed.is_some() || now.duration_since(member.heard) >= SUSPECT_AFTER;
        self.lock().by_name.values().any(is_suspicious)
    }

    pub fn has_room(&self, now: Instant) -> bool {
        self.lock().by_name.values().any(|member| member.is_lively(now) && member.beat.has_room())
    }

    /// How long this incarnation leaves an orphaned tenant to others with fewer sessions. All instances compute nearly the same
    /// order, so one acquires the tenant and the others find that. A wrong view of another instance only costs time.
    pub fn acquire_delay(&self, tenant: &TenantId, now: Instant) -> Duration {
        let here = self.here();
        here.map_or(Duration::ZERO, |here| self.acquire_delay_of(tenant, &here, now))
    }

    fn acquire_delay_of(&self, tenant: &TenantId, here: &str, now: Instant) -> Duration {
        let members = self.lock();
        let rank = |name: &str, owned: usize| {
            let mut hasher = DefaultHasher::new();
            (tenant.as_str(), name).hash(&mut hasher);
            (owned / SLACK, hasher.finish())
        };
        let ours = members.by_name.get(here).map_or((0, 0), |member| rank(here, member.beat.owned));
        let first = members.by_name.iter().filter(|(name, member)| {
            *name != here && member.is_lively(now) && member.beat.has_room() && rank(name, member.beat.owned) < ours
        });
        TURN * u32::try_from(first.count()).unwrap_or(u32::MAX).min(4)
    }

    fn lock(&self) -> MutexGuard<'_, Members> {
        // Nothing between lock and unlock can leave the map half changed.
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Members {
    /// It is unknown here, or another incarnation of its process lives, or its newest beat is old enough. A look that is no older
    /// than [`LOOK_HOLDS`] has seen no newer one.
    fn is_acquirable(&self, name: &str, now: Instant) -> bool {
        let lives = |other: &String, member: &Member| {
            other != name && !member.has_expired && instance_of(other) == instance_of(name)
        };
        self.by_name.get(name).is_none_or(|member| {
            (self.hears(now) && now.duration_since(member.seen) >= ACQUIRABLE_AFTER)
                || self.by_name.iter().any(|(other, member)| lives(other, member))
        })
    }

    fn hears(&self, now: Instant) -> bool {
        self.looked.is_some_and(|looked| now.duration_since(looked) < LOOK_HOLDS)
    }
}

impl Member {
    fn is_silent(&self, now: Instant) -> bool {
        let beats_no_more = |unsubscribed: Unsubscribed| {
            now.duration_since(unsubscribed.since) >= UNSUBSCRIBED_FOR && unsubscribed.beat_age >= BEAT_LATE_AFTER
        };
        !self.has_expired
            && (now.duration_since(self.heard) >= SILENT_AFTER || self.unsubscribed.is_some_and(beats_no_more))
    }

    fn is_lively(&self, now: Instant) -> bool {
        !self.has_expired && !self.is_silent(now) && now.duration_since(self.heard) < LIVELY_FOR
    }
}

#[cfg(test)]
mod tests;
