//! Redis refuses writes, or runs a slow script of another client. A link stays while its lease is certain.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tautan_simulator::Phone;
use tautan_test_support::{Program, within};
use tokio::time::{Instant, sleep, sleep_until};

use crate::{
    quiet::{together, within_bound},
    stage::{Cluster, Setup, TTL, device, number, proves_device},
    tab::Tab,
};

const INSTANCES: usize = 2;
const TENANTS: [&str; 2] = ["sari", "budi"];
const STUBS: usize = 6;
/// Longer than a lease.
const LASTS: Duration = Duration::from_secs(12);
const SEEN_WITHIN: Duration = Duration::from_secs(3);
const BACK_WITHIN: Duration = Duration::from_secs(5);
const OVER: &str = "the sessions of this incarnation are ended";

#[derive(Clone, Copy)]
enum Refused {
    Memory,
    Disk,
    Replicas,
}

impl Refused {
    fn begin(self, cluster: &Cluster) {
        match self {
            Self::Memory => cluster.redis.set("maxmemory", "1"),
            Self::Disk => cluster.redis.break_snapshots(),
            Self::Replicas => cluster.redis.set("min-replicas-to-write", "1"),
        }
    }

    fn end(self, cluster: &Cluster) {
        match self {
            Self::Memory => cluster.redis.set("maxmemory", "0"),
            Self::Disk => cluster.redis.mend_snapshots(),
            Self::Replicas => cluster.redis.set("min-replicas-to-write", "0"),
        }
    }

    /// Redis's word, and a part of the remedy.
    fn logged(self) -> [&'static str; 2] {
        match self {
            Self::Memory => ["OOM", "maxmemory"],
            Self::Disk => ["MISCONF", "disk"],
            Self::Replicas => ["NOREPLICAS", "min-replicas-to-write"],
        }
    }
}

/// Linked accounts, one on each instance, and stubs; a stream of each on every instance.
struct Shop {
    cluster: Cluster,
    phones: Vec<Phone>,
    tabs: Vec<Tab>,
}

impl Shop {
    async fn open() -> Self {
        let cluster = Setup::of(INSTANCES).start().await;
        let stubs: Vec<String> = (0..STUBS).map(|at| format!("idle-{at}")).collect();
        cluster.connect_stubs(&stubs).await;
        let mut phones = Vec::new();
        for (at, tenant) in TENANTS.into_iter().enumerate() {
            let phone = cluster.simulator.phone(&number(at), "Toko");
            cluster.link(at, tenant, &phone).await;
            phones.push(phone);
        }
        let all: Vec<&str> = TENANTS.into_iter().chain(stubs.iter().map(String::as_str)).collect();
        let tabs = (0..INSTANCES).flat_map(|at| all.iter().map(move |tenant| (at, *tenant)));
        let mut tabs: Vec<Tab> = tabs.map(|(at, tenant)| cluster.tab(at, tenant)).collect();
        for tab in &mut tabs {
            tab.until_status("connected").await;
        }
        Self { cluster, phones, tabs }
    }

    async fn until_ready_is(&self, store: &str, bound: Duration) {
        let began = Instant::now();
        for instance in &self.cluster.instances {
            loop {
                let ready = ready(instance.base()).await;
                if ready == (StatusCode::OK, json!({ "store": store })) {
                    break;
                }
                assert!(began.elapsed() < bound, "/readyz says {ready:?}:\n{:#?}", instance.output());
                sleep(Duration::from_millis(20)).await;
            }
        }
    }

    /// What a command is answered: its status, and the problem's code or the session's status.
    async fn command(&self, instance: usize, tenant: &str, path: &str) -> (u16, String) {
        let ask = self.cluster.api(instance, tenant).ask(Method::POST, path).send();
        let answer = within("an answer", ask).await.expect("an answer");
        let status = answer.status().as_u16();
        let body: Value = within("a body", answer.json()).await.expect("JSON");
        let word = body.get("code").unwrap_or(&body["status"]);
        (status, word.as_str().unwrap_or_default().to_owned())
    }

    fn logins(&self) -> Vec<u64> {
        self.phones.iter().map(|phone| self.cluster.simulator.logins(device(phone))).collect()
    }

    fn owners(&self) -> Vec<Option<String>> {
        TENANTS.iter().map(|tenant| self.cluster.record(tenant, "owner_nonce")).collect()
    }

    fn lines(&self, part: &str) -> usize {
        let lines = self.cluster.instances.iter().flat_map(Program::output);
        lines.filter(|line| line.contains(part)).count()
    }

    fn every_log_has(&self, refused: Refused) {
        let [word, remedy] = refused.logged();
        for program in &self.cluster.instances {
            let output = program.output();
            let lines: Vec<_> = output.iter().filter(|line| line.contains("redis refuses writes")).collect();
            assert_eq!(lines.len(), 1, "once an episode: {lines:#?}");
            assert!(lines[0].contains(word) && lines[0].contains(remedy), "{lines:?}");
            assert!(!output.iter().any(|line| line.contains("redis is away")), "it answers");
        }
    }

    async fn links_come_back(&mut self, since: Instant) {
        let mut last = since;
        for tab in &mut self.tabs {
            let (at, _) = tab.until_status("connected").await;
            last = last.max(at);
            assert!(!tab.has_closed(), "no stream is dropped:\n{}", tab.story());
        }
        within_bound("every link is back after redis took writes again", since, last, BACK_WITHIN);
        for phone in &self.phones {
            proves_device(phone).await;
            assert_eq!(self.cluster.simulator.double_logins(device(phone)), 0, "no link is replaced");
        }
    }
}

async fn ready(base: &str) -> (StatusCode, Value) {
    let answer = within("readiness", reqwest::get(format!("{base}/readyz"))).await.expect("an answer");
    (answer.status(), answer.json().await.expect("JSON"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_memory_of_redis_ends_no_link() {
    let Some(_turn) = together().await else { return };
    let mut shop = Shop::open().await;
    let fresh = shop.cluster.simulator.phone(&number(7), "Toko Baru");
    let mut pairing = shop.cluster.tab(0, "pairing");
    let asked = Instant::now();
    shop.cluster.api(0, "pairing").connect().await;
    pairing.until_qr().await;
    let (logins, owners) = (shop.logins(), shop.owners());
    let seen: Vec<_> = shop.tabs.iter().map(|tab| tab.events().len()).collect();
    let began = Instant::now();
    Refused::Memory.begin(&shop.cluster);
    shop.until_ready_is("read-only", SEEN_WITHIN).await;
    while began.elapsed() < LASTS {
        assert_eq!(shop.command(0, "new", "connect").await, (503, "store-unavailable".to_owned()));
        assert_eq!(shop.command(1, "sari", "connect").await, (200, "connected".to_owned()), "a repetition");
        for tenant in TENANTS {
            let status = shop.cluster.status(1, tenant).await;
            assert_eq!((&status["status"], &status["stale"]), (&"connected".into(), &false.into()));
        }
        shop.until_ready_is("read-only", Duration::ZERO).await;
        sleep(Duration::from_millis(500)).await;
    }
    for phone in &shop.phones {
        proves_device(phone).await;
    }
    assert_eq!((shop.logins(), shop.owners()), (logins.clone(), owners), "every link is the one of before");
    for (tab, seen) in shop.tabs.iter().zip(&seen) {
        assert_eq!(tab.events().len(), *seen, "no page sees anything of it:\n{}", tab.story());
    }
    // A code that was on its way links, and a link that WhatsApp cuts dials again.
    pairing.forget_before(asked);
    pairing.scan(&fresh).await;
    pairing.until_status("connected").await;
    assert!(shop.cluster.simulator.cut(device(&shop.phones[0])));
    within("the dial", async {
        while shop.logins()[0] == logins[0] {
            sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    let unlinked = shop.command(0, "budi", "disconnect").await;
    assert_eq!(unlinked.0, 202, "{unlinked:?}");
    for (at, tab) in shop.tabs.iter_mut().enumerate().filter(|(at, _)| at % (STUBS + TENANTS.len()) == 1) {
        let (_, last) = tab.until_status("disconnected").await;
        assert_eq!(last.data["reason"], "unlinked-by-user", "stream {at}");
    }
    assert!(shop.phones[1].devices().is_empty(), "the phone lists it no more");
    assert_eq!(shop.lines(OVER), 0);
    assert_eq!(shop.command(1, "new", "connect").await.0, 503, "it is full all the while");

    Refused::Memory.end(&shop.cluster);
    shop.until_ready_is("ok", SEEN_WITHIN).await;
    shop.every_log_has(Refused::Memory);
    assert_eq!(shop.command(1, "new", "connect").await.0, 202);
    proves_device(&shop.phones[0]).await;
    proves_device(&fresh).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_owner_is_followed_while_memory_is_full() {
    let Some(_turn) = together().await else { return };
    let mut cluster = Setup::of(INSTANCES).start().await;
    let phone = cluster.simulator.phone(&number(1), "Toko Sari");
    let owner = cluster.link(0, "sari", &phone).await;
    let mut tab = cluster.tab(1 - owner, "sari");
    tab.until_status("connected").await;
    cluster.redis.set("maxmemory", "1");
    sleep(Duration::from_secs(2)).await;
    tab.forget();
    let killed = cluster.kill(owner);
    let (at, _) = tab.until_status("connected").await;
    within_bound("connected elsewhere, with the memory full", killed, at, TTL + Duration::from_secs(3));
    cluster.start_again(owner);
    proves_device(&phone).await;
    cluster.terminate(1 - owner);
    let mut tab = cluster.tab(owner, "sari");
    tab.until_status("connected").await;
    proves_device(&phone).await;
    assert_eq!(cluster.simulator.double_logins(device(&phone)), 0);
}

/// A lease that is not renewed may be taken over, so its link ends.
async fn links_end_and_come_back(refused: Refused) {
    let Some(_turn) = together().await else { return };
    let mut shop = Shop::open().await;
    let began = Instant::now();
    refused.begin(&shop.cluster);
    shop.until_ready_is("read-only", SEEN_WITHIN).await;
    for (tenant, command) in [("new", "connect"), ("sari", "disconnect")] {
        assert_eq!(shop.command(1, tenant, command).await, (503, "store-unavailable".to_owned()));
    }
    sleep_until(began + TTL + Duration::from_secs(1)).await;
    assert_eq!(shop.lines(OVER), INSTANCES, "once each");
    for tab in &shop.tabs {
        assert_eq!(tab.status()["stale"], true, "no link is certain:\n{}", tab.story());
    }
    let logins = shop.logins();
    sleep_until(began + LASTS).await;
    shop.until_ready_is("read-only", Duration::ZERO).await;
    assert_eq!(shop.logins(), logins, "no link is dialled without a lease");
    shop.tabs.iter_mut().for_each(Tab::forget);

    refused.end(&shop.cluster);
    let back = Instant::now();
    shop.links_come_back(back).await;
    shop.until_ready_is("ok", SEEN_WITHIN).await;
    shop.every_log_has(refused);
    assert_eq!(shop.command(1, "new", "connect").await.0, 202);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn links_come_back_when_redis_can_save_snapshots_again() {
    links_end_and_come_back(Refused::Disk).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn links_come_back_when_redis_has_replicas_again() {
    links_end_and_come_back(Refused::Replicas).await;
}

/// It is over before an owner has to hang up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn script_shorter_than_the_deadline_ends_no_link() {
    let Some(_turn) = together().await else { return };
    let shop = Shop::open().await;
    let before = (shop.logins(), shop.owners());
    shop.cluster.redis.run_slow_script(Duration::from_millis(4_500));
    shop.until_ready_is("ok", SEEN_WITHIN).await;
    sleep(TTL).await;
    assert_eq!(shop.lines(OVER), 0);
    assert_eq!((shop.logins(), shop.owners()), before, "every link is the one of before");
    for tab in &shop.tabs {
        let status = tab.status();
        assert_eq!((&status["status"], &status["stale"]), (&"connected".into(), &false.into()), "{}", tab.story());
    }
}

/// While it runs every heartbeat expires: at its end each lease may be taken over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn links_come_back_after_a_script_longer_than_a_lease() {
    let Some(_turn) = together().await else { return };
    let mut shop = Shop::open().await;
    shop.cluster.redis.run_slow_script(Duration::from_secs(9));
    let back = Instant::now();
    shop.tabs.iter_mut().for_each(|tab| tab.forget_before(back));
    shop.links_come_back(back).await;
    shop.until_ready_is("ok", SEEN_WITHIN).await;
    let lines = shop.lines("SCRIPT KILL");
    assert_eq!(lines, INSTANCES, "each log says once what keeps redis busy");
}
