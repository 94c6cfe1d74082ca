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
    /// SIGSTOP, for less than a lease. Its connections to Redis break meanwhile; that to WhatsApp does not.
    Unsubscribed(usize),
    /// `kill -9`, and a start at once. At the end Redis is killed, and comes back as it was before: it knows nothing of the new
    /// process.
    LostBirth(usize),
    /// The owner of a link is killed. Once another instance has taken over, Redis comes back without that, and the new owner cannot
    /// reach it.
    LostTakeover,
    /// The owner of a link cannot reach Redis until another instance has taken over. Its link to WhatsApp stays open.
    CutOwner,
    /// A replica is promoted at the beginning. At the end the master follows it, and is the master again on open connections.
    Promotion(Clock),
}

/// The clock of a promoted replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    Right,
    /// By 9 s, so that all heartbeats have expired.
    Ahead,
    /// By 30 s, so that all heartbeats live for so much longer.
    Behind,
}

impl Fault {
    fn is_of_redis(self) -> bool {
        matches!(self, Self::RedisKill | Self::RedisLoss | Self::LostBirth(_) | Self::LostTakeover | Self::Promotion(_))
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
/// A heartbeat expires, another instance takes over, and what follows.
const TAKEOVER_MS: std::ops::Range<u64> = 14_000..15_000;

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
            _ if fault.is_of_redis() => redis_away <= now,
            _ => ill[instance] <= now && well > 1,
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

/// Faults that need all instances and Redis, one after the other once the others are over. `all`: otherwise those of this seed.
pub fn plan_last(seed: u64, planned: &[Planned], instances: usize, all: bool) -> Vec<Planned> {
    const PAUSE: Duration = Duration::from_secs(3);
    let mut random = StdRng::seed_from_u64(!seed);
    let unsubscribed = Fault::Unsubscribed(random.random_range(0..instances));
    let lost_birth = Fault::LostBirth(random.random_range(0..instances));
    let mut faults = [Clock::Ahead, Clock::Behind, Clock::Right].map(Fault::Promotion).to_vec();
    faults.extend([lost_birth, Fault::LostTakeover, Fault::CutOwner]);
    if !all {
        faults = vec![faults[seed as usize % faults.len()]];
    }
    faults.insert(0, unsubscribed);
    let mut now = planned.iter().map(|planned| planned.to).max().unwrap_or_default();
    let last = faults.into_iter().map(|fault| {
        let lasts = match fault {
            Fault::LostTakeover | Fault::CutOwner => TAKEOVER_MS,
            _ if fault.is_of_redis() => 200..1_000,
            _ => 2_000..4_500,
        };
        let from = now + PAUSE;
        now = from + Duration::from_millis(random.random_range(lasts));
        Planned { from, to: now, fault }
    });
    last.collect()
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
