use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::watch,
    time::{Instant, timeout},
};

use super::{connection::ANSWER_TIME_MAX, random_name, trouble::Trouble};
use crate::tenant::TenantId;

/// After so long without a beat its owner has not noticed yet that it is cut off, and whoever waits for a code has
/// waited long enough: a pairing has nothing to lose, so it is taken over before its owner counts as dead.
const SILENT_AFTER: Duration = Duration::from_secs(3);
/// Nothing is left to whoever has not been heard for so long.
const LIVELY_FOR: Duration = Duration::from_secs(2);
/// What was seen longer ago says nothing of silence: whoever slept meanwhile, and wakes, has heard nobody, and they all
/// may have gone on. A few looks.
const LOOK_HOLDS: Duration = Duration::from_secs(1);
/// One more beat is missing than can be by chance: it is looked at more often.
const SUSPECT_AFTER: Duration = Duration::from_millis(1_600);
/// Owning a few sessions more is no reason to send one elsewhere.
const SLACK: usize = 16;
/// Each that comes first is given so long; they need a few milliseconds.
const TURN: Duration = Duration::from_millis(500);

/// This process's own incarnation, and who else lives, as far as it was seen from here. What says that somebody is alive may
/// be out of date; that somebody is gone stays true.
pub struct Census {
    /// Random, for as long as the process lives: whose nudge and whose probe it is.
    instance: String,
    /// The incarnation that lives now; `None` until Redis knows it, and between two.
    here: watch::Sender<Option<Arc<str>>>,
    /// The incarnation before the present one, of which this process knows that it has hung up.
    past: Mutex<Tag>,
    sessions_max: Option<usize>,
    members: Mutex<Members>,
}

#[derive(Default)]
struct Members {
    by_name: HashMap<String, Member>,
    /// When the last look began that found out who lives.
    looked: Option<Instant>,
}

struct Member {
    beat: Beat,
    /// When this beat was first seen: it is older than that, never younger.
    seen: Instant,
}

/// What an incarnation's heartbeat says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beat {
    /// Another one for each, so that one beat can be told from the next.
    pub number: u64,
    /// Sessions it owns.
    pub owned: usize,
    /// Sessions it will own; `None`: as many as come.
    pub max: Option<usize>,
    /// The run of the server with which it has compared what it holds.
    pub run: Tag,
    /// The incarnation before it in the same process, which has hung up.
    pub past: Tag,
}

/// A run of the server, or an incarnation, told in short.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Tag(u64);

impl Tag {
    pub fn of(name: &str) -> Self {
        let mut hasher = DefaultHasher::new();
        name.hash(&mut hasher);
        Self(hasher.finish())
    }
}

impl Beat {
    pub fn text(self) -> String {
        let max = self.max.map_or("-".to_owned(), |max| max.to_string());
        format!("{} {} {max} {:x} {:x}", self.number, self.owned, self.run.0, self.past.0)
    }

    /// One that another version wrote is a heartbeat all the same, and where it changes somebody lives. Nothing is left to
    /// it.
    pub fn of(text: &str) -> Self {
        Self::parse(text).unwrap_or_else(|| Self {
            number: Tag::of(text).0,
            owned: 0,
            max: Some(0),
            run: Tag::default(),
            past: Tag::default(),
        })
    }

    fn parse(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let (number, owned, max) = (words.next()?, words.next()?, words.next()?);
        let max = if max == "-" { None } else { Some(max.parse().ok()?) };
        let mut tag = || Some(Tag(u64::from_str_radix(words.next()?, 16).ok()?));
        // An instance of before knows of no past.
        let (run, past) = (tag()?, tag().unwrap_or_default());
        Some(Self { number: number.parse().ok()?, owned: owned.parse().ok()?, max, run, past })
    }

    fn has_room(self) -> bool {
        self.max.is_none_or(|max| self.owned < max)
    }
}

impl Census {
    pub fn new(sessions_max: Option<usize>) -> Self {
        let (here, members) = (watch::Sender::new(None), Mutex::default());
        Self { instance: random_name(), here, past: Mutex::default(), sessions_max, members }
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

    /// Waits for an incarnation to take leases for, but not for long.
    pub async fn present(&self) -> Result<Arc<str>, Trouble> {
        let mut here = self.here.subscribe();
        let here = timeout(ANSWER_TIME_MAX, here.wait_for(Option::is_some)).await;
        here.ok().and_then(Result::ok).and_then(|here| here.clone()).ok_or(Trouble::Unborn)
    }

    pub fn begin(&self, name: &str) {
        self.here.send_replace(Some(name.into()));
    }

    pub fn end(&self) {
        self.here.send_replace(None);
    }

    /// The one that follows says so with each heartbeat: others need not wait for it.
    pub fn hung_up(&self, name: &str) {
        *self.past.lock().unwrap_or_else(PoisonError::into_inner) = Tag::of(name);
    }

    /// What the next heartbeat says. `run`: the run of the server that the leases were compared with.
    pub fn beat(&self, number: u64, owned: usize, run: Tag) -> Beat {
        let past = *self.past.lock().unwrap_or_else(PoisonError::into_inner);
        Beat { number, owned, max: self.sessions_max, run, past }
    }

    /// `None`: it is gone, for good. True: it was not known to be.
    pub fn see(&self, name: &str, beat: Option<Beat>, now: Instant) -> bool {
        let mut members = self.lock();
        match beat {
            None => members.by_name.remove(name).is_some(),
            Some(beat) => {
                let member = members.by_name.entry(name.to_owned()).or_insert(Member { beat, seen: now });
                if member.beat != beat {
                    *member = Member { beat, seen: now };
                }
                false
            }
        }
    }

    /// Nothing could be seen for a while: a beat that is the same as before may be a new one all the same.
    pub fn blink(&self, now: Instant) {
        self.lock().by_name.values_mut().for_each(|member| member.seen = now);
    }

    /// All were looked at. `begun`: before anybody was asked for, since an answer may have waited for whoever slept.
    pub fn looked(&self, begun: Instant) {
        self.lock().looked = Some(begun);
    }

    /// It hands over what it owns: nobody waits for it to take something.
    pub fn leaves(&self, name: &str) {
        if let Some(member) = self.lock().by_name.get_mut(name) {
            member.beat.max = Some(0);
        }
    }

    pub fn names(&self) -> Vec<String> {
        self.lock().by_name.keys().cloned().collect()
    }

    /// Not known to be dead, and yet without a beat for long enough that a pairing may be taken over.
    pub fn is_silent(&self, name: &str, now: Instant) -> bool {
        let members = self.lock();
        members.by_name.get(name).is_some_and(|member| members.hears(now) && member.is_silent(now))
    }

    pub fn silent(&self, now: Instant) -> Vec<String> {
        let members = self.lock();
        let silent = members.by_name.iter().filter(|(_, member)| members.hears(now) && member.is_silent(now));
        silent.map(|(name, _)| name.clone()).collect()
    }

    /// Somebody is about to fall silent, or to be gone.
    pub fn is_suspicious(&self, now: Instant) -> bool {
        self.lock().by_name.values().any(|member| now.duration_since(member.seen) >= SUSPECT_AFTER)
    }

    pub fn has_room(&self, now: Instant) -> bool {
        self.lock().by_name.values().any(|member| member.is_lively(now) && member.beat.has_room())
    }

    /// How long this incarnation leaves a tenant that nobody owns to those with less to do. Everybody comes to nearly the same
    /// order, so one takes it and the others find it taken; who is mistaken about another only comes a little later.
    pub fn deference(&self, tenant: &TenantId, now: Instant) -> Duration {
        let here = self.here();
        here.map_or(Duration::ZERO, |here| self.deference_of(tenant, &here, now))
    }

    fn deference_of(&self, tenant: &TenantId, here: &str, now: Instant) -> Duration {
        let members = self.lock();
        let place = |name: &str, owned: usize| {
            let mut hasher = DefaultHasher::new();
            (tenant.as_str(), name).hash(&mut hasher);
            (owned / SLACK, hasher.finish())
        };
        let ours = members.by_name.get(here).map_or((0, 0), |member| place(here, member.beat.owned));
        let first = members.by_name.iter().filter(|(name, member)| {
            *name != here && member.is_lively(now) && member.beat.has_room() && place(name, member.beat.owned) < ours
        });
        TURN * u32::try_from(first.count()).unwrap_or(u32::MAX).min(4)
    }

    fn lock(&self) -> MutexGuard<'_, Members> {
        // Nothing between lock and unlock can leave the map half changed.
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Members {
    fn hears(&self, now: Instant) -> bool {
        self.looked.is_some_and(|looked| now.duration_since(looked) < LOOK_HOLDS)
    }
}

impl Member {
    fn is_silent(&self, now: Instant) -> bool {
        now.duration_since(self.seen) >= SILENT_AFTER
    }

    fn is_lively(&self, now: Instant) -> bool {
        now.duration_since(self.seen) < LIVELY_FOR
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn beat(number: u64, owned: usize, max: Option<usize>) -> Option<Beat> {
        Some(Beat { number, owned, max, run: Tag(0xfedc), past: Tag(7) })
    }

    fn tenant(number: usize) -> TenantId {
        TenantId::parse(&format!("toko-{number}")).unwrap()
    }

    #[test]
    fn a_beat_is_read_as_it_was_written() {
        for beat in [beat(7, 3, None), beat(0, 10_000, Some(10_000))].into_iter().flatten() {
            assert_eq!(Beat::parse(&beat.text()), Some(beat));
        }
        assert_eq!(Beat::parse("1"), None, "what another version wrote");
    }

    #[test]
    fn who_beats_as_another_version_does_is_not_silent() {
        let (census, start) = (Census::new(None), Instant::now());
        for second in 0..=SILENT_AFTER.as_secs() {
            let now = start + Duration::from_secs(second);
            census.see("newer", Some(Beat::of(&format!("v2 {second}"))), now);
            census.see("stuck", Some(Beat::of("v2 0")), now);
            census.looked(now);
        }
        let now = start + SILENT_AFTER;
        assert!(!census.is_silent("newer", now) && census.is_silent("stuck", now));
        assert!(!census.has_room(now), "nothing is left to it");
    }

    #[test]
    fn who_slept_takes_nobody_for_silent_before_a_look() {
        let (census, start) = (Census::new(None), Instant::now());
        census.see("a", beat(1, 0, None), start);
        census.looked(start);
        let woken = start + SILENT_AFTER * 2;
        assert!(!census.is_silent("a", woken) && census.silent(woken).is_empty());
        // What was asked for before is answered now.
        census.see("a", beat(1, 0, None), woken);
        census.looked(start);
        assert!(!census.is_silent("a", woken));
        census.see("a", beat(1, 0, None), woken);
        census.looked(woken);
        assert!(census.is_silent("a", woken) && census.silent(woken) == ["a"]);
    }

    #[test]
    fn silence_begins_with_the_last_new_beat_and_is_not_known_after_a_blink() {
        let (census, start) = (Census::new(None), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        census.see("a", beat(1, 0, None), at(0));
        census.see("a", beat(2, 0, None), at(1));
        census.see("a", beat(2, 0, None), at(3));
        census.looked(at(3) + LOOK_HOLDS / 2);
        assert!(!census.is_silent("a", at(3)) && census.is_suspicious(at(3)));
        assert!(census.is_silent("a", at(4)));
        assert_eq!(census.silent(at(4)), ["a"]);
        census.blink(at(4));
        census.looked(at(6));
        assert!(!census.is_silent("a", at(6)));
        assert!(census.see("a", None, at(6)), "it is gone");
        assert!(!census.see("a", None, at(7)), "which is no news any more");
        census.looked(at(60));
        assert!(!census.is_silent("a", at(60)), "the dead are not silent");
    }

    #[test]
    fn the_least_loaded_come_first_and_those_alike_share() {
        let (census, now) = (Census::new(None), Instant::now());
        census.see("busy", beat(1, 100, None), now);
        census.see("one", beat(1, 3, None), now);
        census.see("two", beat(1, 9, None), now);
        census.see("full", beat(1, 0, Some(0)), now);
        let mut taken = [0; 2];
        for number in 0..200 {
            let waits = ["one", "two", "busy"].map(|here| census.deference_of(&tenant(number), here, now));
            taken[0] += usize::from(waits[0].is_zero());
            taken[1] += usize::from(waits[1].is_zero());
            assert!(waits[0].is_zero() != waits[1].is_zero(), "one of them comes first");
            assert_eq!(waits[2], TURN * 2);
        }
        assert!(taken.iter().all(|taken| *taken > 60), "{taken:?}");
    }

    #[test]
    fn nothing_is_left_to_who_leaves() {
        let (census, now) = (Census::new(None), Instant::now());
        census.see("leaving", beat(1, 1, None), now);
        census.see("here", beat(1, 100, None), now);
        assert_eq!(census.deference_of(&tenant(1), "here", now), TURN);
        census.leaves("leaving");
        assert_eq!(census.deference_of(&tenant(1), "here", now), Duration::ZERO);
    }

    #[test]
    fn nobody_waits_for_whom_nothing_is_heard_of() {
        let (census, start) = (Census::new(None), Instant::now());
        census.see("idle", beat(1, 0, None), start);
        census.see("busy", beat(1, 100, Some(100)), start);
        let later = start + LIVELY_FOR;
        census.see("busy", beat(2, 100, Some(100)), later);
        assert_eq!(census.deference_of(&tenant(1), "busy", start), TURN);
        assert_eq!(census.deference_of(&tenant(1), "busy", later), Duration::ZERO);
        assert!(census.has_room(start) && !census.has_room(later));
    }
}
