use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{Semaphore, watch},
    time::{Instant, timeout_at},
};

use super::{
    keys::{Key, KeyError},
    publisher::{Fetch, FileFetch, Pace, UrlFetch},
};
use crate::{
    bucket::{Bucket, Rate},
    clock::until,
};

/// Fetches that tokens with an unknown key may cause at once.
const UNKNOWN_AT_ONCE: u32 = 3;
/// Requests that wait at the same time because their key is not known. One more is answered at once: tokens with made-up
/// keys cost nothing to make.
const WAITING_MAX: usize = 64;
/// How long each of them waits.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// No known key fits, and the publisher could not be asked whether there is a new one.
#[derive(Debug, PartialEq, Eq)]
pub struct Away;

/// A key set that refreshes itself. While its publisher is away, the last known keys are still used.
pub struct Jwks {
    source: Arc<dyn Fetch>,
    keys: Mutex<Arc<[Key]>>,
    fetches: Mutex<Fetches>,
    ended: watch::Sender<Ended>,
    waiting: Semaphore,
}

struct Fetches {
    /// The number of fetches that were started, and of the last one.
    begun: u64,
    running: bool,
    ended_at: Option<Instant>,
    for_unknown: Bucket,
}

/// The last fetch that has ended.
#[derive(Clone, Copy, Default)]
struct Ended {
    number: u64,
    failed: bool,
}

impl Jwks {
    /// A file is read at once, so that a mistake stops the start; a URL when the first token comes.
    pub fn open(place: &str) -> Result<Self, KeyError> {
        if place.contains("://") {
            return Ok(Self::new(Arc::new(UrlFetch::new(place)?)));
        }
        let set = Self::new(Arc::new(FileFetch(place.into())));
        match set.reload()?.pop() {
            Some(weak) => Err(weak),
            None => Ok(set),
        }
    }

    pub fn new(source: Arc<dyn Fetch>) -> Self {
        let for_unknown = Bucket::full(Instant::now());
        Self {
            source,
            keys: Mutex::new(Arc::new([])),
            fetches: Mutex::new(Fetches { begun: 0, running: false, ended_at: None, for_unknown }),
            ended: watch::Sender::new(Ended::default()),
            waiting: Semaphore::new(WAITING_MAX),
        }
    }

    /// The keys that may have signed a token with this `kid`. None: the publisher knows no such key, or could not be asked
    /// again so soon.
    pub async fn find(self: &Arc<Self>, id: Option<&str>) -> Result<Vec<Key>, Away> {
        let (begun, deadline) = (self.fetches().begun, Instant::now() + WAIT_MAX);
        if let Some(number) = self.begin_if_old() {
            // Otherwise a token of a withdrawn key would count if it came first after a quiet night. Requests that come
            // while this fetch is under way do not wait for it.
            let _ = timeout_at(deadline, self.ended.subscribe().wait_for(|ended| ended.number >= number)).await;
        }
        let known = self.matching(id);
        if !known.is_empty() {
            return Ok(known);
        }
        let Ok(_place) = self.waiting.try_acquire() else { return Err(Away) };
        let answered = timeout_at(deadline, self.look_up(id, begun)).await;
        let known = self.matching(id);
        let failed = self.ended.borrow().failed;
        let unanswered = answered.is_err() && self.fetches().running;
        if known.is_empty() && (failed || unanswered) { Err(Away) } else { Ok(known) }
    }

    /// Returns once the key is known, or a fetch has ended that began after the `since`th: it says what was published when
    /// the token came. Cancel safe: a fetch goes on without those who wait for it.
    async fn look_up(self: &Arc<Self>, id: Option<&str>, since: u64) {
        let mut ended = self.ended.subscribe();
        loop {
            let last = *ended.borrow_and_update();
            if last.number > since || !self.matching(id).is_empty() {
                return;
            }
            let next = self.begin_for_unknown(since);
            tokio::select! {
                _ = ended.changed() => {}
                () = until(next) => {}
            }
        }
    }

    fn matching(&self, id: Option<&str>) -> Vec<Key> {
        let known = self.known();
        // Without a `kid` every key may be meant; publishers with a single key often leave it out.
        known.iter().filter(|key| id.is_none() || key.id.as_deref() == id).cloned().collect()
    }

    fn known(&self) -> Arc<[Key]> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn fetches(&self) -> MutexGuard<'_, Fetches> {
        // Nothing under this lock can leave it half changed.
        self.fetches.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of the fetch that it begins. `None`: what is known is young enough, or is being fetched.
    fn begin_if_old(self: &Arc<Self>) -> Option<u64> {
        let mut fetches = self.fetches();
        let Pace { age_max, .. } = self.source.pace();
        let young = fetches.ended_at.is_some_and(|at| at.elapsed() < age_max);
        (!young && !fetches.running).then(|| self.begin(&mut fetches))
    }

    /// `None`: a fetch is under way. `Some`: when to look again.
    fn begin_for_unknown(self: &Arc<Self>, since: u64) -> Option<Instant> {
        let (mut fetches, now) = (self.fetches(), Instant::now());
        if fetches.running {
            return None;
        }
        // It ended after the caller looked.
        if fetches.begun > since {
            return Some(now);
        }
        let rate = Rate { burst: UNKNOWN_AT_ONCE, every: self.source.pace().unknown_every };
        let taken = fetches.for_unknown.take(rate, now);
        taken.map(|()| self.begin(&mut fetches)).err()
    }

    /// Starts a fetch that no request owns: a cancelled caller neither stops it nor makes it a failure.
    fn begin(self: &Arc<Self>, fetches: &mut Fetches) -> u64 {
        fetches.begun += 1;
        fetches.running = true;
        let (set, number) = (Arc::clone(self), fetches.begun);
        drop(tokio::task::spawn_blocking(move || {
            let mut end = End { set: &set, ended: Ended { number, failed: true } };
            match set.reload() {
                Ok(weak) => {
                    end.ended.failed = false;
                    weak.iter().for_each(|error| tracing::warn!(%error, "a key of the key set is not used"));
                }
                Err(error) => tracing::warn!(error = chain(&error), "the key set could not be refreshed"),
            }
        }));
        number
    }

    /// Returns the errors of the keys that are left out.
    fn reload(&self) -> Result<Vec<KeyError>, KeyError> {
        let json = self.source.fetch().map_err(KeyError::UnreadableSet)?;
        let (keys, weak) = Key::from_set(&json)?;
        *self.keys.lock().unwrap_or_else(PoisonError::into_inner) = keys.into();
        Ok(weak)
    }
}

/// Ends a fetch when it is dropped. Without this, a fetch that panics would count as under way for ever.
struct End<'s> {
    set: &'s Jwks,
    ended: Ended,
}

impl Drop for End<'_> {
    fn drop(&mut self) {
        let mut fetches = self.set.fetches();
        fetches.running = false;
        fetches.ended_at = Some(Instant::now());
        // Under the lock: a fetch that is not running any more has been announced.
        self.set.ended.send_replace(self.ended);
    }
}

impl fmt::Debug for Jwks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Jwks({} keys)", self.known().len())
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests;
