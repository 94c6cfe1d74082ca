//! Everything mixed at random, with faults, for minutes: afterwards memory, descriptors, threads and sockets are what they
//! were, and each tenant's status is true for its device.
//!
//! `SOAK_SECONDS` is how long each of the two tests lasts, `SOAK_SEED` repeats a choice of what happens. The order of
//! what happens at once is the machine's own, so a seed repeats a run only nearly.

mod faults;
mod measure;
mod truth;
mod users;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use tautan_simulator::{Phone, Simulator};
use tautan_test_support::{Api, Program, RedisServer, Settings, redis_is_installed};
use tempfile::TempDir;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

use faults::Faults;
use measure::Measured;

const TENANTS: usize = 20;
const SECONDS: u64 = 300;
/// 32 bytes in base64.
const KEY: &str = "q83vEjRWeJq83vEjRWeJq83vEjRWeJq83vEjRWeJq80=";
/// The program that is measured lives this part of the time, the others before it are killed and drained.
const MEASURED_PART: f64 = 0.6;
/// Of that, until it has seen everything once.
const WARM_PART: f64 = 0.35;
/// An allocator keeps some memory after a peak. More than this is growth over time.
const MEMORY_GROWTH_MAX: f64 = 1.25;

/// A tenant, its user's phone, and what was seen that must never be.
#[derive(Clone)]
pub struct Tenant {
    pub name: String,
    pub phone: Phone,
}

/// State that all users and faults share.
#[derive(Clone)]
pub struct Scene {
    pub simulator: Simulator,
    /// Where the program listens; changes with each start.
    base: Arc<Mutex<String>>,
    wrong: Arc<Mutex<Vec<String>>>,
    began: Instant,
}

impl Scene {
    pub fn base(&self) -> String {
        self.base.lock().expect("no holder panics").clone()
    }

    pub fn api(&self, tenant: &Tenant) -> Api {
        Api::new(&self.base(), &tenant.name)
    }

    /// A failure that no fault can explain.
    pub fn is_wrong(&self, what: String) {
        let at = self.began.elapsed();
        self.wrong.lock().expect("no holder panics").push(format!("{at:.1?}: {what}"));
    }
}

/// The program, and what it keeps its state in.
struct Soak {
    scene: Scene,
    tenants: Vec<Tenant>,
    directory: TempDir,
    redis: Option<RedisServer>,
    program: Program,
}

impl Soak {
    async fn new(redis: Option<RedisServer>) -> Self {
        let simulator = Simulator::start().await.expect("a free port");
        let directory = tempfile::tempdir().expect("a directory");
        let tenants = (0..TENANTS).map(|number| Tenant {
            name: format!("toko-{number}"),
            phone: simulator.phone(&format!("62811{number:08}"), &format!("Toko {number}")),
        });
        let (tenants, base) = (tenants.collect(), Arc::new(Mutex::new(String::new())));
        let scene = Scene { simulator, base, wrong: Arc::default(), began: Instant::now() };
        let program = settings(&scene, &directory, redis.as_ref()).start();
        let soak = Self { scene, tenants, directory, redis, program };
        soak.listens();
        soak
    }

    fn listens(&self) {
        *self.scene.base.lock().expect("no holder panics") = self.program.base().to_owned();
    }

    /// Starts the program again after a kill or an ordered end.
    fn start_again(&mut self) {
        self.no_panic();
        self.program = settings(&self.scene, &self.directory, self.redis.as_ref()).start();
        self.listens();
    }

    fn no_panic(&self) {
        let panics = self.program.output().into_iter().filter(|line| line.contains("panicked"));
        panics.for_each(|line| self.scene.is_wrong(line));
    }

    /// Users do what users do, and things fail, for so long.
    async fn storm(&mut self, random: &mut StdRng, lasts: Duration, may_restart: bool) {
        let rest = CancellationToken::new();
        let mut users = JoinSet::new();
        for tenant in &self.tenants {
            let random = StdRng::seed_from_u64(random.random());
            users.spawn(users::acts(self.scene.clone(), tenant.clone(), random, rest.clone()));
        }
        users.spawn(users::attacks(self.scene.clone(), StdRng::seed_from_u64(random.random()), rest.clone()));
        let mut faults = Faults::new(StdRng::seed_from_u64(random.random()), may_restart);
        let until = Instant::now() + lasts;
        while Instant::now() < until {
            faults.strike(self).await;
            assert!(!self.program.has_ended(), "it ended by itself: {:#?}", self.last_lines());
        }
        rest.cancel();
        while let Some(ended) = users.join_next().await {
            ended.expect("a user does not panic");
        }
        faults.end(self);
        self.no_panic();
        println!("{:.0?}: {}", self.scene.began.elapsed(), faults.summary());
    }

    /// Waits until every status is true, links every tenant, and measures.
    async fn rest(&self) -> Measured {
        let settled = truth::fulfils(&self.scene, &self.tenants).await;
        let linked = truth::all_link(&self.scene, &self.tenants).await;
        truth::is_shown_to_all(&self.scene, &self.tenants).await;
        let measured = Measured::at_rest(self.program.pid()).await;
        let sockets = self.scene.simulator.sockets();
        println!("{:.0?}: settled in {settled:.1?}, linked in {linked:.1?}, {measured}", self.scene.began.elapsed());
        assert_eq!(sockets, TENANTS, "one socket for each tenant and none besides");
        measured
    }

    fn last_lines(&self) -> Vec<String> {
        let output = self.program.output();
        output[output.len().saturating_sub(40)..].to_vec()
    }
}

fn settings(scene: &Scene, directory: &TempDir, redis: Option<&RedisServer>) -> Settings {
    let settings = Settings::new(directory.path(), &scene.simulator.url())
        .with("RUST_LOG", "warn,tautan::app=info")
        .with("SIM_QR_PACE", "0.2")
        .with("TAUTAN_HEARTBEAT", "1s");
    match redis {
        Some(redis) => settings.with("REDIS_URL", &redis.url()).with("TAUTAN_ENCRYPTION_KEY", KEY),
        None => settings,
    }
}

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().unwrap_or_else(|_| panic!("{name} is no number")))
}

async fn soak(redis: Option<RedisServer>) {
    let seed = variable("SOAK_SEED").unwrap_or_else(rand::random);
    let lasts = Duration::from_secs(variable("SOAK_SECONDS").unwrap_or(SECONDS));
    println!("SOAK_SEED={seed} for {lasts:?}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut soak = Soak::new(redis).await;
    soak.storm(&mut random, lasts.mul_f64(1.0 - MEASURED_PART), true).await;
    soak.rest().await;
    // From here on one process is measured.
    soak.program.terminate();
    assert!(soak.program.wait().success(), "a drain with {TENANTS} links");
    soak.start_again();
    let measured = lasts.mul_f64(MEASURED_PART);
    soak.storm(&mut random, measured.mul_f64(WARM_PART), false).await;
    let warm = soak.rest().await;
    soak.storm(&mut random, measured.mul_f64(1.0 - WARM_PART), false).await;
    let last = soak.rest().await;
    soak.no_panic();
    let wrong = soak.scene.wrong.lock().expect("no holder panics").clone();
    assert!(wrong.is_empty(), "with SOAK_SEED={seed}: {wrong:#?}");
    last.is_no_more_than(&warm, MEMORY_GROWTH_MAX);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes; `make long` runs it"]
async fn soak_with_the_embedded_store_ends_as_it_began() {
    soak(None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes; `make long` runs it"]
async fn soak_with_redis_ends_as_it_began() {
    if redis_is_installed() {
        soak(Some(RedisServer::start_durable())).await;
    }
}

/// A pause that the end of a storm cuts short.
pub async fn pause(rest: &CancellationToken, lasts: Duration) {
    rest.run_until_cancelled(sleep(lasts)).await;
}
