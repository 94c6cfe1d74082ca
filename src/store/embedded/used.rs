use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use crate::{
    clock::Timestamp,
    limit::{Limit, Times},
    store::{Limited, Limits, StoreError, Usage},
};

/// When a tenant used its limits. In memory alone: after some minutes a use does not count.
#[derive(Clone, Default)]
pub struct Used {
    pair_codes: Times<Timestamp>,
    dials: Times<Timestamp>,
}

/// When pairing codes were asked for each number, by a keyed hash of it. In memory alone.
#[derive(Default)]
pub struct Numbers(Mutex<HashMap<[u8; 32], Times<Timestamp>>>);

impl Numbers {
    /// False: the limit is used up.
    pub fn take(&self, number: [u8; 32], limit: Limit, now: Timestamp) -> bool {
        let mut numbers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        numbers.retain(|_, times| !times.are_over(limit, now));
        numbers.entry(number).or_default().take(limit, now)
    }
}

impl Used {
    pub fn is_empty(&self) -> bool {
        self.pair_codes.is_empty() && self.dials.is_empty()
    }

    /// Counts the whole usage, or nothing.
    pub fn take(&mut self, usage: Usage, limits: &Limits, now: Timestamp) -> Result<(), StoreError> {
        let code = usage.pair_code.then(|| self.pair_codes.wait(limits.pair_codes, now)).flatten();
        let dial = usage.dial.then(|| self.dials.wait(limits.dials, now)).flatten();
        match (code, dial) {
            (Some(wait), _) => return Err(Limited::PairCodes.after(wait)),
            (None, Some(wait)) => return Err(Limited::Dials.after(wait)),
            (None, None) => {}
        }
        if usage.pair_code {
            self.pair_codes.add(limits.pair_codes, now);
        }
        if usage.dial {
            self.dials.add(limits.dials, now);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn numbers_are_forgotten_when_their_codes_count_no_more() {
        let (numbers, limit) = (Numbers::default(), Limit::new(1, Duration::from_secs(600)).unwrap());
        let at = |second| Timestamp::from_second(second).unwrap();
        assert!((0..100).all(|number| numbers.take([number; 32], limit, at(0))));
        assert!(!numbers.take([0; 32], limit, at(599)));
        assert!(numbers.take([0; 32], limit, at(600)));
        assert_eq!(numbers.0.lock().unwrap().len(), 1);
        assert!(numbers.take([0; 32], limit, at(0)), "after the clock was set back");
    }
}
