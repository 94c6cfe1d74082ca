use std::{collections::VecDeque, time::Duration};

use crate::{
    clock::Timestamp,
    limit::Limit,
    store::{Limited, Limits, StoreError, Usage},
};

/// When a tenant used what is limited, the last time first. In memory alone: after some minutes it does not count.
#[derive(Clone, Default)]
pub struct Used {
    pair_codes: VecDeque<Timestamp>,
    dials: VecDeque<Timestamp>,
}

impl Used {
    /// All of it or nothing.
    pub fn take(&mut self, usage: Usage, limits: &Limits, now: Timestamp) -> Result<(), StoreError> {
        let code = usage.pair_code.then(|| wait(&self.pair_codes, limits.pair_codes, now)).flatten();
        let dial = usage.dial.then(|| wait(&self.dials, limits.dials, now)).flatten();
        match (code, dial) {
            (Some(wait), _) => return Err(Limited::PairCodes.after(wait)),
            (None, Some(wait)) => return Err(Limited::Dials.after(wait)),
            (None, None) => {}
        }
        if usage.pair_code {
            add(&mut self.pair_codes, limits.pair_codes, now);
        }
        if usage.dial {
            add(&mut self.dials, limits.dials, now);
        }
        Ok(())
    }
}

fn wait(times: &VecDeque<Timestamp>, limit: Limit, now: Timestamp) -> Option<Duration> {
    // A clock that was set back must not shut a tenant out.
    limit.wait(times.iter().map(|at| Duration::try_from(now.duration_since(*at)).unwrap_or(Duration::MAX)))
}

fn add(times: &mut VecDeque<Timestamp>, limit: Limit, now: Timestamp) {
    times.push_front(now);
    times.truncate(limit.count() as usize);
}
