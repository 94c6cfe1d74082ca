use std::{
    ops::Range,
    sync::{Arc, Mutex},
    time::Duration,
};

use rand::{SeedableRng as _, rngs::StdRng};
use reqwest::{Method, StatusCode};
use serde_json::Value;
use tautan_simulator::{DeviceId, Phone, Simulator};
use tautan_test_support::{Api, Network, Program, RedisServer, Settings, Way, within};
use tempfile::TempDir;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::tab::{Restless, Tab};

/// 32 bytes, which all instances share.
const KEY: &str = "q83vEjRWeJq83vEjRWeJq83vEjRWeJq83vEjRWeJq80=";
/// No instance treats an owner as dead before this time.
pub const TTL: Duration = Duration::from_secs(8);

/// Where the instances listen; `None`: a balancer would send no request there.
#[derive(Clone, Default)]
pub struct Addresses(Arc<Mutex<Vec<Option<String>>>>);

impl Addresses {
    pub fn set(&self, instance: usize, base: Option<String>) {
        let mut all = self.0.lock().expect("no holder panics");
        let length = all.len().max(instance + 1);
        all.resize(length, None);
        all[instance] = base;
    }

    pub fn get(&self, instance: usize) -> Option<String> {
        self.0.lock().expect("no holder panics").get(instance).cloned().flatten()
    }

    /// The instance itself if it can be asked, else the next one that can.
    pub fn at_or_after(&self, instance: usize) -> Option<(usize, String)> {
        let all = self.0.lock().expect("no holder panics");
        let places = (0..all.len()).map(|step| (instance + step) % all.len());
        places.into_iter().find_map(|place| Some((place, all[place].clone()?)))
    }
}

/// How a cluster is set up.
pub struct Setup {
    instances: usize,
    environment: Vec<(String, String)>,
    behind_network: Range<usize>,
}

impl Setup {
    pub fn of(instances: usize) -> Self {
        Self { instances, environment: Vec::new(), behind_network: 0..0 }
    }

    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Between these instances and Redis there is a network that can be broken.
    pub fn behind_network(mut self, instances: Range<usize>) -> Self {
        self.behind_network = instances;
        self
    }

    pub async fn start(self) -> Cluster {
        let simulator = Simulator::start().await.expect("a free port");
        let redis = RedisServer::start_durable();
        let mut networks = Vec::new();
        for instance in 0..self.instances {
            networks.push(match self.behind_network.contains(&instance) {
                true => Some(Network::to(([127, 0, 0, 1], redis.port).into()).await.expect("a free port")),
                false => None,
            });
        }
        let folder = tempfile::tempdir().expect("a directory");
        let mut cluster = Cluster {
            simulator,
            redis,
            networks,
            folder,
            environment: self.environment,
            instances: Vec::new(),
            addresses: Addresses::default(),
        };
        for _ in 0..self.instances {
            cluster.add();
        }
        cluster
    }
}

/// Several instances on one Redis, beside one simulator.
pub struct Cluster {
    pub simulator: Simulator,
    pub redis: RedisServer,
    networks: Vec<Option<Network>>,
    /// The files that stub links read.
    pub folder: TempDir,
    /// The environment of instances that are started from now on.
    pub environment: Vec<(String, String)>,
    pub instances: Vec<Program>,
    pub addresses: Addresses,
}

impl Cluster {
    fn settings(&self, instance: usize) -> Settings {
        let network = self.networks.get(instance).and_then(Option::as_ref);
        let port = network.map_or(self.redis.port, |network| network.address().port());
        let data_dir = self.folder.path().join(format!("instance-{instance}"));
        let mut settings = Settings::new(&data_dir, &self.simulator.url())
            .with("REDIS_URL", &format!("redis://127.0.0.1:{port}/"))
            .with("TAUTAN_ENCRYPTION_KEY", KEY)
            .with("SIM_STUBS", self.folder.path().to_str().expect("a name in UTF-8"));
        for (name, value) in &self.environment {
            settings = settings.with(name, value);
        }
        settings
    }

    pub fn add(&mut self) -> usize {
        let instance = self.instances.len();
        self.instances.push(self.settings(instance).start());
        self.addresses.set(instance, Some(self.instances[instance].base().to_owned()));
        instance
    }

    /// In the place of one that has ended.
    pub fn start_again(&mut self, instance: usize) {
        self.instances[instance] = self.settings(instance).start();
        self.addresses.set(instance, Some(self.instances[instance].base().to_owned()));
    }

    /// `kill -9`; a balancer notices at once.
    pub fn kill(&mut self, instance: usize) -> Instant {
        self.addresses.set(instance, None);
        let at = Instant::now();
        self.instances[instance].kill();
        at
    }

    /// SIGTERM; the balancer stops sending requests.
    pub fn terminate(&mut self, instance: usize) -> Instant {
        self.addresses.set(instance, None);
        let at = Instant::now();
        self.instances[instance].terminate();
        at
    }

    pub fn pause(&self, instance: usize) -> Instant {
        self.addresses.set(instance, None);
        self.instances[instance].pause();
        Instant::now()
    }

    pub fn resume(&self, instance: usize) {
        self.instances[instance].resume();
        self.addresses.set(instance, Some(self.instances[instance].base().to_owned()));
    }

    pub fn api(&self, instance: usize, tenant: &str) -> Api {
        self.instances[instance].api(tenant)
    }

    pub fn tab(&self, instance: usize, tenant: &str) -> Tab {
        Tab::open(&self.instances[instance].api(tenant), &self.addresses, instance, None)
    }

    /// An instance that leaves and comes back until it is stopped.
    pub fn restless_tab(&self, instance: usize, tenant: &str, seed: u64, rest: CancellationToken) -> Tab {
        let restless = Restless { random: StdRng::seed_from_u64(seed), rest };
        Tab::open(&self.instances[instance].api(tenant), &self.addresses, instance, Some(restless))
    }

    /// The instance's way to Redis.
    pub fn set_network(&self, instance: usize, way: Way) {
        self.networks[instance].as_ref().expect("there is a network to break").set(way);
    }

    /// Slows down each request of the instance to Redis.
    pub fn set_delay(&self, instance: usize, delay: Duration) {
        self.networks[instance].as_ref().expect("there is a network to slow down").set_delay(delay);
    }

    /// Answered without a store as well: the status is stale then.
    pub async fn status(&self, instance: usize, tenant: &str) -> Value {
        let ask = self.api(instance, tenant).ask(Method::GET, "status").send();
        let answer = within("an answer", ask).await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::OK);
        within("a body", answer.json::<Value>()).await.expect("JSON")
    }

    /// One field of a tenant's record in Redis.
    pub fn record(&self, tenant: &str, field: &str) -> Option<String> {
        let answer = self.redis.ask(&["HGET", &format!("tautan:{{0}}:{{{tenant}}}"), field]);
        let text = String::from_utf8_lossy(&answer).into_owned();
        text.starts_with('$')
            .then(|| text.lines().nth(1).map(str::to_owned))
            .flatten()
            .filter(|_| !text.starts_with("$-1"))
    }

    /// The instance that owns the tenant, as Redis and the instances' own words have it.
    pub fn owner(&self, tenant: &str) -> Option<usize> {
        let incarnation = self.record(tenant, "owner_incarnation")?;
        self.instances.iter().position(|program| {
            let lines = program.output();
            lines.iter().any(|line| line.contains("registered with redis") && line.contains(&incarnation))
        })
    }

    /// Links an account as a user would, through the given instance; answers the owner.
    pub async fn link(&self, instance: usize, tenant: &str, phone: &Phone) -> usize {
        let mut tab = self.tab(instance, tenant);
        self.api(instance, tenant).connect().await;
        tab.scan(phone).await;
        tab.until_status("connected").await;
        self.owner(tenant).expect("an instance runs it")
    }

    /// Every stub of these tenants is connected.
    pub async fn connect_stubs(&self, tenants: &[String]) {
        let mut tabs = Vec::new();
        for (at, tenant) in tenants.iter().enumerate() {
            let instance = at % self.instances.len();
            if self.addresses.get(instance).is_some() {
                self.api(instance, tenant).connect().await;
                tabs.push(self.tab(instance, tenant));
            }
        }
        for tab in &mut tabs {
            tab.until_status("connected").await;
        }
    }
}

/// The one device that the phone lists.
pub fn device(phone: &Phone) -> DeviceId {
    let devices = phone.devices();
    assert_eq!(devices.len(), 1, "{devices:?}");
    devices[0]
}

/// A text reaches the device: its keys are those that the phone and the server know.
pub async fn proves_device(phone: &Phone) {
    let sent = within("the text", phone.send_text(device(phone), "Apakah masih ada?")).await;
    sent.expect("the device reads it");
}

/// A number that is no other tenant's.
pub fn number(at: usize) -> String {
    format!("62811{at:08}")
}
