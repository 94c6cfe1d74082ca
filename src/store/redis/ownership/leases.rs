use std::{
    collections::{BTreeSet, HashMap, HashSet, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::{
    events::Event,
    store::{
        Lease,
        lease::WeakLease,
        redis::{journal::record::Record, script::Script},
    },
    tenant::TenantId,
};

/// The leases that this process holds or is about to acquire. A tenant that Redis lists as ours and that is not held here is
/// orphaned, for example after an acquire that ran although its answer was lost.
#[derive(Default)]
pub struct Leases {
    known: Mutex<HashMap<u128, Entry>>,
    /// The highest fence that this process ever saw. A Redis that lost it must not give it again.
    highest: AtomicU64,
    beat: AtomicU64,
}

enum Entry {
    Acquiring,
    Held(Arc<Held>),
}

/// A lease that this process holds, and its writes, one after the other.
pub struct Held {
    pub tenant: TenantId,
    pub incarnation: String,
    weak: WeakLease,
    pub writes: tokio::sync::Mutex<Writes>,
}

pub struct Writes {
    number: u64,
    /// The record as the last write left it, and the server's run of that write: another run may have lost it. `None`: not
    /// known.
    pub record: Option<(String, Record)>,
    recent: VecDeque<Recent>,
    /// The size of the arguments in `recent`.
    recent_bytes: usize,
}

/// A change of the credentials: a script, and its arguments without the lease's numbering.
type Change = (&'static Script, Vec<Vec<u8>>);

struct Recent {
    beat: u64,
    change: Change,
    bytes: usize,
}

/// The most that is kept of one lease to be written again. WhatsApp may send all settings of an account within a second.
const RECENT_BYTES_MAX: usize = 8 << 20;

/// What a crash of Redis can lose, in beats of about a second: its file reaches the disk once a second, which may come a
/// second late. Counted in beats, since Redis loses nothing in the time in which it is away.
const LOSS_MAX_BEATS: u64 = 3;

impl Held {
    /// `None`: all copies of the lease were dropped.
    pub fn lease(&self) -> Option<Lease> {
        self.weak.upgrade()
    }
}

impl Writes {
    /// A number for one write and its repetitions.
    pub fn next_number(&mut self) -> u64 {
        self.number += 1;
        self.number
    }

    /// The newest event, if it is known.
    pub fn newest(&self) -> Option<Arc<Event>> {
        self.record.as_ref().and_then(|(_, record)| record.newest.clone())
    }

    pub fn remember(&mut self, beat: u64, script: &'static Script, arguments: Vec<Vec<u8>>) {
        let bytes = arguments.iter().map(Vec::len).sum();
        self.recent_bytes += bytes;
        self.recent.push_back(Recent { beat, change: (script, arguments), bytes });
    }

    /// What Redis may have lost, oldest first. Changes that follow each other are joined, so that no reader finds a row as it
    /// was between two of them.
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

    /// Whether another change may be made now. False: the changes that are kept have reached their limit.
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
pub struct Acquiring<'a> {
    leases: &'a Leases,
    pub nonce: u128,
}

impl Leases {
    pub fn begin_acquire(&self) -> Acquiring<'_> {
        let nonce = rand::random();
        self.lock().insert(nonce, Entry::Acquiring);
        Acquiring { leases: self, nonce }
    }

    pub fn highest_fence(&self) -> u64 {
        self.highest.load(Ordering::Relaxed)
    }

    pub fn held(&self, nonce: u128) -> Option<Arc<Held>> {
        match self.lock().get(&nonce) {
            Some(Entry::Held(held)) if held.weak.is_held() => Some(held.clone()),
            _ => None,
        }
    }

    pub fn is_ours(&self, nonce: u128) -> bool {
        self.lock().get(&nonce).is_some_and(Entry::is_alive)
    }

    /// The tenants whose leases are held here.
    pub fn tenants(&self) -> HashSet<TenantId> {
        let known = self.lock();
        let held = known.values().filter_map(|entry| match entry {
            Entry::Held(held) if held.weak.is_held() => Some(held.tenant.clone()),
            _ => None,
        });
        held.collect()
    }

    /// The lease was released, or lost.
    pub fn end(&self, nonce: u128) {
        if let Some(Entry::Held(held)) = self.lock().remove(&nonce) {
            held.weak.end();
        }
    }

    /// Returns their tenants.
    pub fn end_all(&self) -> BTreeSet<TenantId> {
        let ended: Vec<_> = self.lock().drain().collect();
        let mut tenants = BTreeSet::new();
        for (_, entry) in ended {
            if let Entry::Held(held) = entry {
                held.weak.end();
                tenants.insert(held.tenant.clone());
            }
        }
        tenants
    }

    /// How many leases this process holds or is about to acquire.
    pub fn count(&self) -> usize {
        self.lock().len()
    }

    /// The leases of these tenants, by their nonces.
    pub fn of(&self, tenants: &BTreeSet<TenantId>) -> Vec<(TenantId, u128)> {
        let known = self.lock();
        let held = known.iter().filter_map(|(nonce, entry)| match entry {
            Entry::Held(held) if tenants.contains(&held.tenant) => Some((held.tenant.clone(), *nonce)),
            Entry::Held(_) | Entry::Acquiring => None,
        });
        held.collect()
    }

    /// A beat arrived: forgets leases without copies, and of the others the changes that a crash of Redis cannot lose any more.
    pub fn beat(&self) {
        let beat = self.beat.fetch_add(1, Ordering::Relaxed) + 1;
        self.lock().retain(|_, entry| entry.is_alive());
        for held in self.all() {
            // A lease that is writing now forgets at the next beat.
            if let Ok(mut writes) = held.writes.try_lock() {
                writes.forget(beat);
            }
        }
    }

    /// The number of the newest beat.
    pub fn now(&self) -> u64 {
        self.beat.load(Ordering::Relaxed)
    }

    pub fn all(&self) -> Vec<Arc<Held>> {
        let known = self.lock();
        let held = known.values().filter_map(|entry| match entry {
            Entry::Held(held) => Some(held.clone()),
            Entry::Acquiring => None,
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
            Self::Acquiring => true,
            Self::Held(held) => held.weak.is_held(),
        }
    }
}

impl Acquiring<'_> {
    /// `None`: the incarnation of this acquire ended meanwhile.
    pub fn done(self, tenant: &TenantId, incarnation: &str, fence: u64, record: (String, Record)) -> Option<Lease> {
        self.leases.highest.fetch_max(fence, Ordering::Relaxed);
        let mut known = self.leases.lock();
        // Ended with all others before the answer arrived.
        known.get(&self.nonce)?;
        let lease = Lease::new(tenant.clone(), fence, self.nonce);
        let held = Held {
            tenant: tenant.clone(),
            incarnation: incarnation.to_owned(),
            weak: lease.downgrade(),
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

impl Drop for Acquiring<'_> {
    fn drop(&mut self) {
        let mut known = self.leases.lock();
        if matches!(known.get(&self.nonce), Some(Entry::Acquiring)) {
            known.remove(&self.nonce);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::redis::script::WRITE;

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
