use std::{
    collections::{BTreeSet, HashMap, HashSet, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use super::{record::Record, script::Script};
use crate::{
    events::Event,
    store::{Lease, lease::Claim},
    tenant::TenantId,
};

/// The leases that this process holds or is about to: what Redis says we own and is not here is nobody's, such as an
/// acquire that ran although its answer was lost.
#[derive(Default)]
pub struct Leases {
    known: Mutex<HashMap<u128, Entry>>,
    /// The highest fence this process ever saw: a Redis that forgot must not give it again.
    highest: AtomicU64,
    beat: AtomicU64,
}

enum Entry {
    Taking,
    Held(Arc<Held>),
}

/// A lease of ours, and its writes, one after the other.
pub struct Held {
    pub tenant: TenantId,
    pub incarnation: String,
    claim: Claim,
    pub writes: tokio::sync::Mutex<Writes>,
}

pub struct Writes {
    number: u64,
    /// As the last write left it, and the server's run it was made in: another run may have lost it. `None` where it is
    /// not known.
    pub record: Option<(String, Record)>,
    recent: VecDeque<Recent>,
    /// Of the arguments of all that is recent.
    recent_bytes: usize,
}

/// A change of the credentials: a script, and its arguments but for the lease's numbering.
type Change = (&'static Script, Vec<Vec<u8>>);

struct Recent {
    beat: u64,
    change: Change,
    bytes: usize,
}

/// What of one lease is kept to be written again. WhatsApp may send an account's whole settings within a second.
const RECENT_BYTES_MAX: usize = 8 << 20;

/// What a crash of Redis can take with it, in beats of about a second: its file is written to the disk once a second,
/// which may come a second late. Counted in beats, since nothing is lost in the time in which Redis is away.
const LOSS_MAX_BEATS: u64 = 3;

impl Held {
    /// `None`: it was dropped everywhere.
    pub fn lease(&self) -> Option<Lease> {
        self.claim.lease()
    }
}

impl Writes {
    /// Each write has its own, and its repetitions the same.
    pub fn next_number(&mut self) -> u64 {
        self.number += 1;
        self.number
    }

    /// The newest event that the lease told or knows of, where that is known.
    pub fn newest(&self) -> Option<Arc<Event>> {
        self.record.as_ref().and_then(|(_, record)| record.newest.clone())
    }

    pub fn remember(&mut self, beat: u64, script: &'static Script, arguments: Vec<Vec<u8>>) {
        let bytes = arguments.iter().map(Vec::len).sum();
        self.recent_bytes += bytes;
        self.recent.push_back(Recent { beat, change: (script, arguments), bytes });
    }

    /// What Redis may come back without, oldest first. Changes that follow each other are one, so that nobody who reads
    /// meanwhile finds a row as it was in between.
    pub fn recent(&self) -> Vec<Change> {
        let mut changes: Vec<Change> = Vec::new();
        for Recent { change: (script, arguments), .. } in &self.recent {
            match changes.last_mut() {
                Some((last, together)) if std::ptr::eq(*last, *script) => together.extend_from_slice(arguments),
                _ => changes.push((*script, arguments.clone())),
            }
        }
        changes
    }

    /// Whether another change may be made now: what is kept of those before has not filled its place.
    pub fn has_room(&mut self, beat: u64) -> bool {
        self.forget(beat);
        self.recent_bytes < RECENT_BYTES_MAX
    }

    fn forget(&mut self, beat: u64) {
        while let Some(old) = self.recent.pop_front_if(|recent| recent.beat + LOSS_MAX_BEATS < beat) {
            self.recent_bytes -= old.bytes;
        }
        if self.recent.is_empty() {
            self.recent.shrink_to_fit();
        }
    }
}

/// A nonce that counts as ours until the taking is over, whatever becomes of it.
pub struct Taking<'a> {
    leases: &'a Leases,
    pub nonce: u128,
}

impl Leases {
    pub fn take(&self) -> Taking<'_> {
        let nonce = rand::random();
        self.lock().insert(nonce, Entry::Taking);
        Taking { leases: self, nonce }
    }

    pub fn highest_fence(&self) -> u64 {
        self.highest.load(Ordering::Relaxed)
    }

    pub fn held(&self, nonce: u128) -> Option<Arc<Held>> {
        match self.lock().get(&nonce) {
            Some(Entry::Held(held)) if held.claim.is_held() => Some(held.clone()),
            _ => None,
        }
    }

    pub fn is_ours(&self, nonce: u128) -> bool {
        self.lock().get(&nonce).is_some_and(Entry::is_alive)
    }

    /// Tenants that somebody here holds or writes for.
    pub fn tenants(&self) -> HashSet<TenantId> {
        let known = self.lock();
        let held = known.values().filter_map(|entry| match entry {
            Entry::Held(held) if held.claim.is_held() => Some(held.tenant.clone()),
            _ => None,
        });
        held.collect()
    }

    /// It was given back, or is another's.
    pub fn end(&self, nonce: u128) {
        if let Some(Entry::Held(held)) = self.lock().remove(&nonce) {
            held.claim.end();
        }
    }

    /// Answers whose they were.
    pub fn end_all(&self) -> BTreeSet<TenantId> {
        let ended: Vec<_> = self.lock().drain().collect();
        let mut tenants = BTreeSet::new();
        for (_, entry) in ended {
            if let Entry::Held(held) = entry {
                held.claim.end();
                tenants.insert(held.tenant.clone());
            }
        }
        tenants
    }

    /// How many this process holds or is about to.
    pub fn count(&self) -> usize {
        self.lock().len()
    }

    /// The leases of these tenants, by their nonces.
    pub fn of(&self, tenants: &BTreeSet<TenantId>) -> Vec<(TenantId, u128)> {
        let known = self.lock();
        let held = known.iter().filter_map(|(nonce, entry)| match entry {
            Entry::Held(held) if tenants.contains(&held.tenant) => Some((held.tenant.clone(), *nonce)),
            Entry::Held(_) | Entry::Taking => None,
        });
        held.collect()
    }

    /// A beat arrived: forgets leases that were dropped everywhere, and of the others what no crash of Redis can take any
    /// more.
    pub fn beat(&self) {
        let beat = self.beat.fetch_add(1, Ordering::Relaxed) + 1;
        self.lock().retain(|_, entry| entry.is_alive());
        for held in self.all() {
            // One that writes just now forgets at the next beat.
            if let Ok(mut writes) = held.writes.try_lock() {
                writes.forget(beat);
            }
        }
    }

    /// Which beat it is, for as long as beats arrive.
    pub fn now(&self) -> u64 {
        self.beat.load(Ordering::Relaxed)
    }

    pub fn all(&self) -> Vec<Arc<Held>> {
        let known = self.lock();
        let held = known.values().filter_map(|entry| match entry {
            Entry::Held(held) => Some(held.clone()),
            Entry::Taking => None,
        });
        held.collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u128, Entry>> {
        // Nothing between lock and unlock can leave the map half changed.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    fn is_alive(&self) -> bool {
        match self {
            Self::Taking => true,
            Self::Held(held) => held.claim.is_held(),
        }
    }
}

impl Taking<'_> {
    /// `None`: the incarnation it was taken for ended meanwhile.
    pub fn done(self, tenant: &TenantId, incarnation: &str, fence: u64, record: (String, Record)) -> Option<Lease> {
        self.leases.highest.fetch_max(fence, Ordering::Relaxed);
        let mut known = self.leases.lock();
        // Ended with all others while the answer was on its way.
        known.get(&self.nonce)?;
        let lease = Lease::new(tenant.clone(), fence, self.nonce);
        let held = Held {
            tenant: tenant.clone(),
            incarnation: incarnation.to_owned(),
            claim: lease.claim(),
            writes: tokio::sync::Mutex::new(Writes {
                number: 0,
                record: Some(record),
                recent: VecDeque::new(),
                recent_bytes: 0,
            }),
        };
        known.insert(self.nonce, Entry::Held(Arc::new(held)));
        Some(lease)
    }
}

impl Drop for Taking<'_> {
    fn drop(&mut self) {
        let mut known = self.leases.lock();
        if matches!(known.get(&self.nonce), Some(Entry::Taking)) {
            known.remove(&self.nonce);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::script::WRITE, *};

    #[test]
    fn changes_wait_until_those_before_cannot_be_lost() {
        let mut writes = Writes { number: 0, record: None, recent: VecDeque::new(), recent_bytes: 0 };
        let change = || vec![vec![b'x'; 1 << 20]];
        for beat in 1..=8 {
            assert!(writes.has_room(1), "{beat}");
            writes.remember(1, &WRITE, change());
        }
        assert!(!writes.has_room(1));
        assert!(!writes.has_room(1 + LOSS_MAX_BEATS), "a crash could still take them");
        assert!(writes.has_room(2 + LOSS_MAX_BEATS));
        assert_eq!((writes.recent.len(), writes.recent_bytes), (0, 0));
    }
}
