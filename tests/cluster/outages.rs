//! Outages of Redis, in three ways: streams stay open, become stale, and show the true status once Redis is back.

use std::time::Duration;

use futures::future::join_all;
use tautan_simulator::Phone;
use tautan_test_support::{Api, Way, within};
use tokio::time::{Instant, sleep, sleep_until};

use crate::{
    quiet::{together, within_bound},
    stage::{Cluster, Setup, TTL, number, proves_device},
    tab::Tab,
};

const SHORT: Duration = Duration::from_secs(15);
const LONG: Duration = Duration::from_secs(60);
const INSTANCES: usize = 3;
const STUBS: usize = 60;
const RATE: u64 = 20;

#[derive(Clone, Copy)]
enum Outage {
    KillAndRestart,
    Stop,
    CutNetwork,
    SilentNetwork,
}

impl Outage {
    fn begin(self, cluster: &mut Cluster) {
        match self {
            Self::KillAndRestart => cluster.redis.stop(),
            Self::Stop => cluster.redis.pause(),
            Self::CutNetwork => (0..INSTANCES).for_each(|instance| cluster.set_network(instance, Way::Cut)),
            Self::SilentNetwork => (0..INSTANCES).for_each(|instance| cluster.set_network(instance, Way::Silent)),
        }
    }

    fn end(self, cluster: &mut Cluster) {
        match self {
            Self::KillAndRestart => cluster.redis.restart(),
            Self::Stop => cluster.redis.resume(),
            Self::CutNetwork | Self::SilentNetwork => {
                (0..INSTANCES).for_each(|instance| cluster.set_network(instance, Way::Open));
            }
        }
    }
}

async fn is_outlived(outage: Outage, lasts: Duration) {
    let mut cluster = Setup::of(INSTANCES).behind_network(0..INSTANCES).start().await;
    let mut tenants: Vec<String> = (0..STUBS).map(|at| format!("idle-{at}")).collect();
    cluster.connect_stubs(&tenants).await;
    let phones = [cluster.simulator.phone(&number(1), "Toko Sari"), cluster.simulator.phone(&number(2), "Toko Budi")];
    for (at, (tenant, phone)) in ["sari", "budi"].into_iter().zip(&phones).enumerate() {
        cluster.link(at, tenant, phone).await;
        tenants.push(tenant.to_owned());
    }
    let mut tabs = Vec::new();
    for (at, tenant) in tenants.iter().enumerate() {
        // The real ones are watched everywhere.
        let watched = if at < STUBS { at % INSTANCES..at % INSTANCES + 1 } else { 0..INSTANCES };
        tabs.extend(watched.map(|instance| (instance, tenant.clone(), cluster.tab(instance, tenant))));
    }
    for (_, _, tab) in &mut tabs {
        tab.until_status("connected").await;
    }

    let began = Instant::now();
    outage.begin(&mut cluster);
    sleep(Duration::from_secs(1)).await;
    unlink(&phones[0]);
    sleep_until(began + TTL + Duration::from_secs(1)).await;
    for (_, _, tab) in &tabs {
        assert_eq!(tab.status()["stale"], true, "nothing is known for sure:\n{}", tab.story());
    }
    for instance in 0..INSTANCES {
        let received = cluster.status(instance, "budi").await;
        assert_eq!(
            (&received["status"], &received["stale"]),
            (&"connecting".into(), &true.into()),
            "the status cannot be known: {received}"
        );
        let mut late = cluster.tab(instance, "budi");
        late.until("a stream without Redis", |event| event.data["stale"] == true).await;
        tabs.push((instance, "budi".to_owned(), late));
    }
    let asked: Vec<Api> = tabs.iter().map(|(instance, tenant, _)| cluster.api(*instance, tenant)).collect();
    sleep_until(began + lasts).await;

    outage.end(&mut cluster);
    let back = Instant::now();
    let received = streams_show_the_status(&cluster, &tabs, &asked).await;
    within_bound("every stream shows the truth after Redis came back", back, received, Duration::from_secs(2));
    let mut times = Vec::new();
    for (_, tenant, tab) in &mut tabs {
        let wanted = if tenant == "sari" { "disconnected" } else { "connected" };
        tab.forget_before(back);
        let (at, last) = tab.until_status(wanted).await;
        if tenant == "sari" {
            assert_eq!(last.data["reason"], "unlinked-by-phone", "the end that could not be saved is not lost");
        } else {
            times.push(at);
        }
    }
    let last = times.iter().max().expect("there are some");
    // One instance may have taken all; each has a second's worth of links at once.
    let rate = Duration::from_secs(3 + STUBS as u64 / RATE);
    within_bound(&format!("{} sessions resumed after Redis came back", STUBS + 1), back, *last, rate);
    for (_, _, tab) in &tabs {
        assert!(!tab.has_closed(), "no stream is dropped:\n{}", tab.story());
    }
    proves_device(&phones[1]).await;
    let all_run = cluster.instances.iter_mut().all(|instance| !instance.has_ended());
    assert!(all_run, "no instance crashed");
}

fn unlink(phone: &Phone) {
    for device in phone.devices() {
        assert!(phone.unlink(device));
    }
}

/// Returns when each stream has shown what its instance answers, read anew: the store is not away for any. `asked`: a
/// client for each tab. Made anew and one after the other they took longer than the instances.
async fn streams_show_the_status(cluster: &Cluster, tabs: &[(usize, String, Tab)], asked: &[Api]) -> Instant {
    let http = reqwest::Client::new();
    // One that has shown it is not asked again: it may be a moment behind at the session's next step.
    let mut waiting: Vec<(&Api, &Tab)> = asked.iter().zip(tabs).map(|(api, (_, _, tab))| (api, tab)).collect();
    loop {
        let mut here = true;
        for instance in 0..INSTANCES {
            let url = format!("{}/readyz", cluster.instances[instance].base());
            let ready = within("readiness", http.get(url).send()).await.expect("an answer");
            assert!(ready.status().is_success(), "an outage of the store changes nothing here");
            here &= !ready.text().await.expect("a body").contains("away");
        }
        if here {
            let shows = join_all(waiting.iter().map(shows_the_answer)).await;
            waiting = waiting.into_iter().zip(shows).filter_map(|(tab, shows)| (!shows).then_some(tab)).collect();
            if waiting.is_empty() {
                return Instant::now();
            }
        }
        sleep(Duration::from_millis(20)).await;
    }
}

async fn shows_the_answer((api, tab): &(&Api, &Tab)) -> bool {
    let (before, received) = (tab.status(), api.status().await);
    let same =
        |shown: &serde_json::Value| ["status", "reason", "stale"].iter().all(|field| shown[field] == received[field]);
    // It may have moved on while it was asked.
    same(&before) || same(&tab.status())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_kill_for_15_s_loses_no_stream_and_no_end() {
    let Some(_turn) = together().await else { return };
    is_outlived(Outage::KillAndRestart, SHORT).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_stopped_for_15_s_loses_no_stream_and_no_end() {
    let Some(_turn) = together().await else { return };
    is_outlived(Outage::Stop, SHORT).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn network_cut_for_15_s_loses_no_stream_and_no_end() {
    let Some(_turn) = together().await else { return };
    is_outlived(Outage::CutNetwork, SHORT).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_network_for_15_s_loses_no_stream_and_no_end() {
    let Some(_turn) = together().await else { return };
    is_outlived(Outage::SilentNetwork, SHORT).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "minutes; make long"]
async fn redis_outage_of_a_minute_loses_no_stream_and_no_end() {
    let Some(_turn) = together().await else { return };
    for outage in [Outage::KillAndRestart, Outage::Stop, Outage::CutNetwork, Outage::SilentNetwork] {
        is_outlived(outage, LONG).await;
    }
}
