use std::{
    collections::{BTreeMap, HashSet},
    time::Duration,
};

use tokio::time::Instant;

use crate::tenant::TenantId;

/// Tenants to start, each once, each not before its time, and all of them at a bounded rate: a thousand links at once
/// would be a burst for WhatsApp and for this instance.
pub(super) struct Queue {
    due: BTreeMap<(Instant, u64), TenantId>,
    waiting: HashSet<TenantId>,
    /// Keeps the order of those that are due at once.
    added: u64,
    period: Duration,
    /// How many may be released at once after a pause: as many as in a second.
    burst: u32,
    /// When the last one would have been released, had they been spread evenly (GCRA, the generic cell rate algorithm).
    spread_until: Instant,
}

impl Queue {
    pub fn new(rate: u32, now: Instant) -> Self {
        let rate = rate.max(1);
        let period = Duration::from_secs(1) / rate;
        Self { due: BTreeMap::new(), waiting: HashSet::new(), added: 0, period, burst: rate, spread_until: now }
    }

    /// A tenant that waits already is released at the earlier of the two times.
    pub fn add(&mut self, tenant: TenantId, at: Instant) {
        if !self.waiting.insert(tenant.clone()) {
            let Some(key) = self.due.iter().find(|(_, waiting)| **waiting == tenant).map(|(key, _)| *key) else {
                return;
            };
            if key.0 <= at {
                return;
            }
            self.due.remove(&key);
        }
        self.added += 1;
        self.due.insert((at, self.added), tenant);
    }

    pub fn is_empty(&self) -> bool {
        self.due.is_empty()
    }

    /// When the next one may be released.
    pub fn next_at(&self) -> Option<Instant> {
        let ((due, _), _) = self.due.first_key_value()?;
        let paced = self.spread_until.checked_sub(self.period * (self.burst - 1)).unwrap_or(*due);
        Some(paced.max(*due))
    }

    /// The tenant that is released now. Call it no sooner than [`Self::next_at`].
    pub fn pop(&mut self, now: Instant) -> Option<TenantId> {
        let (_, tenant) = self.due.pop_first()?;
        self.waiting.remove(&tenant);
        self.spread_until = self.spread_until.max(now) + self.period;
        Some(tenant)
    }

    /// The last one started no session: it does not count against the rate.
    pub fn refund(&mut self) {
        self.spread_until = self.spread_until.checked_sub(self.period).unwrap_or(self.spread_until);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(number: usize) -> TenantId {
        TenantId::parse(&format!("toko-{number}")).unwrap()
    }

    /// When each of them went, in milliseconds.
    fn drained(queue: &mut Queue, start: Instant) -> Vec<(TenantId, u128)> {
        let (mut went, mut now) = (Vec::new(), start);
        while let Some(at) = queue.next_at() {
            now = now.max(at);
            went.push((queue.pop(now).unwrap(), now.duration_since(start).as_millis()));
        }
        went
    }

    #[test]
    fn queue_releases_one_second_at_once_then_at_the_rate() {
        let start = Instant::now();
        let mut queue = Queue::new(20, start);
        (0..60).for_each(|number| queue.add(tenant(number), start));
        let went = drained(&mut queue, start);
        assert!(went[..20].iter().all(|(_, at)| *at == 0), "{went:?}");
        assert_eq!((went[20].1, went[39].1, went[59].1), (50, 1_000, 2_000));
        assert_eq!(went[7].0, tenant(7), "in their order");
    }

    #[test]
    fn tenant_is_released_once_and_not_before_its_time() {
        let (start, later) = (Instant::now(), Instant::now() + Duration::from_secs(1));
        let mut queue = Queue::new(20, start);
        queue.add(tenant(1), later);
        queue.add(tenant(2), start);
        queue.add(tenant(1), later + Duration::from_secs(1));
        assert_eq!(queue.next_at(), Some(start));
        assert_eq!(queue.pop(start), Some(tenant(2)));
        assert_eq!(queue.next_at(), Some(later));
        queue.add(tenant(1), start);
        assert_eq!(queue.pop(start), Some(tenant(1)), "the earlier time counts");
        assert!(queue.is_empty());
    }

    #[test]
    fn refunded_tenants_do_not_delay_others() {
        let start = Instant::now();
        let mut queue = Queue::new(1, start);
        (0..50).for_each(|number| queue.add(tenant(number), start));
        for _ in 0..49 {
            assert_eq!(queue.next_at(), Some(start));
            queue.pop(start);
            queue.refund();
        }
        queue.pop(start);
        queue.add(tenant(50), start);
        assert_eq!(queue.next_at(), Some(start + Duration::from_secs(1)));
    }
}
