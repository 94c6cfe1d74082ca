//! The schedule of faults, which follows from a seed.

use std::time::Duration;

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// `kill -9`; it is started again at the end.
    Kill(usize),
    /// SIGSTOP until the end.
    Stop(usize),
    /// The instance's way to Redis.
    Cut(usize),
    Silent(usize),
    /// Redis itself; it comes back with its file.
    RedisKill,
    /// Redis is killed at the end, and comes back as it was at the beginning.
    RedisLoss,
}

impl Fault {
    fn is_of_redis(self) -> bool {
        matches!(self, Self::RedisKill | Self::RedisLoss)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Planned {
    pub from: Duration,
    pub to: Duration,
    pub fault: Fault,
}

/// Longer than a lease, so that its successor has published before it wakes.
const LONG_MS: std::ops::Range<u64> = 9_500..12_000;
const SHORT_MS: std::ops::Range<u64> = 200..2_500;

/// No instance has two faults at once, and one instance is always healthy.
pub fn plan(seed: u64, faults: usize, instances: usize, span: Duration) -> Vec<Planned> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut ill = vec![Duration::ZERO; instances];
    let mut redis_away = Duration::ZERO;
    let mut planned: Vec<Planned> = Vec::new();
    let pace = span / faults as u32;
    let mut now = pace;
    while planned.len() < faults {
        // Every history has an instance that is suspended for longer than its lease and then goes on.
        let sleeper = planned.is_empty();
        let long = random.random_bool(0.25) || sleeper;
        let lasts = Duration::from_millis(random.random_range(if long { LONG_MS } else { SHORT_MS }));
        let instance = random.random_range(0..instances);
        let fault = match random.random_range(0..100) {
            _ if sleeper => Fault::Stop(instance),
            0..30 => Fault::Kill(instance),
            30..60 => Fault::Stop(instance),
            60..72 => Fault::Cut(instance),
            72..85 => Fault::Silent(instance),
            85..94 => Fault::RedisKill,
            _ => Fault::RedisLoss,
        };
        let well = ill.iter().filter(|until| **until <= now).count();
        let possible = match fault {
            Fault::RedisKill | Fault::RedisLoss => redis_away <= now,
            Fault::Kill(_) | Fault::Stop(_) | Fault::Cut(_) | Fault::Silent(_) => ill[instance] <= now && well > 1,
        };
        if possible {
            // A restart is not what lasts, and Redis away for long ends every session at once.
            let short = matches!(fault, Fault::Kill(_)) || fault.is_of_redis();
            let lasts = if short { lasts.min(Duration::from_millis(SHORT_MS.end)) } else { lasts };
            // An append-only file that is synced every second loses no more.
            let lasts = if fault == Fault::RedisLoss { lasts.min(Duration::from_secs(1)) } else { lasts };
            let to = now + lasts;
            if fault.is_of_redis() {
                redis_away = to + pace;
            } else {
                ill[instance] = to + pace / 2;
            }
            planned.push(Planned { from: now, to, fault });
        }
        now += pace / if possible { 1 } else { 4 };
    }
    planned
}

#[test]
fn seed_determines_the_faults_and_one_instance_stays_healthy() {
    for seed in 0..50 {
        let planned = plan(seed, 60, 3, Duration::from_secs(75));
        assert_eq!(planned, plan(seed, 60, 3, Duration::from_secs(75)));
        for moment in planned.iter().map(|planned| planned.from) {
            let now = planned.iter().filter(|fault| fault.from <= moment && moment < fault.to);
            assert!(now.filter(|planned| !planned.fault.is_of_redis()).count() < 3);
        }
    }
    assert_ne!(plan(1, 60, 3, Duration::from_secs(75)), plan(2, 60, 3, Duration::from_secs(75)));
}
