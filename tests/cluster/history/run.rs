//! One history: made, recorded and checked.

use std::{collections::BTreeSet, time::Duration};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use reqwest::Method;
use serde_json::Value;
use tautan_simulator::DeviceId;
use tautan_test_support::{Event, RedisNode, Way, rank};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    checker::{Client, Content, History, Mark, Note, Position, Trouble, check},
    schedule::{Clock, Fault, Planned, plan, plan_last},
};
use crate::{
    stage::{Cluster, Setup, device, number},
    tab::{Seen, Tab, What},
};

pub struct Scale {
    pub tenants: usize,
    pub streams: usize,
    /// At least so many events are made.
    pub appends: usize,
    pub faults: usize,
    pub span: Duration,
    /// With all faults that come last; otherwise with some of them.
    pub all: bool,
}

const INSTANCES: usize = 3;
/// Real links beside the stubs, for what happens at WhatsApp.
const LINKED: usize = 3;
/// The first of them.
const TENANT: &str = "toko-0";
/// The user of each tenant presses something about so often.
const PRESSES_MS: std::ops::Range<u64> = 1_000..6_000;
/// A request that timed out may still be executed for this long, so later requests cannot be ordered after it.
const GIVEN_UP_LASTS: Duration = Duration::from_secs(10);
/// A connection to Redis that broke is renewed, and what it missed is read.
const RECOVERS_WITHIN: Duration = Duration::from_secs(2);
const SETTLES_WITHIN: Duration = Duration::from_secs(40);

pub async fn run(seed: u64, scale: &Scale) {
    println!("HISTORY_SEED={seed}");
    let setup = Setup::of(INSTANCES).behind_network(0..INSTANCES).with("SIM_SEED", &seed.to_string());
    // No bound on what is resumed: the rate is another test's, and a history wants many takeovers.
    let mut cluster = setup
        .with("TAUTAN_RESUME_RATE", "200/s")
        .with("RUST_LOG", "warn,tautan::store::redis=info,tautan::app=info")
        .start()
        .await;
    let mut tenants: Vec<String> = (0..scale.tenants).map(|at| format!("chatty-{at:03}")).collect();
    let mut phones = Vec::new();
    for at in 0..LINKED {
        let phone = cluster.simulator.phone(&number(at), "Toko");
        cluster.link(at % INSTANCES, &format!("toko-{at}"), &phone).await;
        phones.push(phone);
        tenants.push(format!("toko-{at}"));
    }
    let devices: Vec<DeviceId> = phones.iter().map(device).collect();

    let (began, rest, mut users) = (Instant::now(), CancellationToken::new(), JoinSet::new());
    let mut tabs = Vec::new();
    for at in 0..scale.streams + LINKED {
        let tenant = tenants[at % tenants.len()].clone();
        let tab = cluster.restless_tab(at % INSTANCES, &tenant, seed ^ at as u64, rest.clone());
        tabs.push((tenant, tab));
    }
    for (at, tenant) in tenants.iter().take(scale.tenants).enumerate() {
        let user = User { api: cluster.api(0, tenant), addresses: cluster.addresses.clone() };
        let random = StdRng::seed_from_u64(seed.wrapping_mul(1_000) + at as u64);
        users.spawn(user.presses(random, rest.clone()));
    }

    let mut planned = plan(seed, scale.faults, INSTANCES, scale.span);
    planned.extend(plan_last(seed, &planned, INSTANCES, scale.all));
    let Suffered { redis_restarts, redis_losses, suspensions } = suffer(&mut cluster, &planned, began, &devices).await;
    while made(&tabs) < scale.appends {
        assert!(began.elapsed() < scale.span * 6, "only {} events were made", made(&tabs));
        sleep(Duration::from_secs(2)).await;
    }
    rest.cancel();
    if let Some(given_up) = users.join_all().await.into_iter().flatten().max() {
        sleep_until(given_up + GIVEN_UP_LASTS).await;
    }
    let wanted = last_words(&cluster, &tenants[..scale.tenants]).await;
    std::fs::write(cluster.folder.path().join("calm"), "").expect("written");
    let answers = settle(&cluster, &tenants, &tabs).await;

    let replaced_links = devices.iter().enumerate().flat_map(|(at, device)| {
        let moments = cluster.simulator.double_logins_at(*device).into_iter();
        moments.map(move |moment| (format!("toko-{at}"), moment.saturating_duration_since(began.into_std())))
    });
    let replaced_links = replaced_links.collect();
    let clients: Vec<_> = tabs.iter().map(|(tenant, tab)| observed(tenant, tab, began)).collect();
    let losses = planned.iter().filter_map(|Planned { from, to, fault }| {
        let instance = match fault {
            Fault::Kill(_) | Fault::Stop(_) => return None,
            Fault::Cut(instance) | Fault::Silent(instance) | Fault::Unsubscribed(instance) => Some(*instance),
            Fault::RedisKill
            | Fault::RedisLoss
            | Fault::LostBirth(_)
            | Fault::LostTakeover
            | Fault::CutOwner
            | Fault::Promotion(_) => None,
        };
        Some(Trouble { when: *from..*to + RECOVERS_WITHIN, instance })
    });
    let history = History {
        clients,
        answers,
        wanted,
        redis_restarts,
        redis_losses,
        suspensions,
        losses_of_messages: losses.collect(),
        replaced_links,
    };
    let notes: usize = history.clients.iter().map(|client| client.notes.len()).sum();
    let opened =
        history.clients.iter().flat_map(|client| &client.notes).filter(|(_, note)| matches!(note, Note::Opened(_)));
    println!(
        "FIGURE history {seed}: {} events made, {notes} notes of {} clients that opened {} streams, {} faults, {:.0} s",
        made(&tabs),
        tabs.len(),
        opened.count(),
        planned.len(),
        began.elapsed().as_secs_f64()
    );
    let wrong = check(&history);
    for Planned { from, to, fault } in planned.iter().filter(|_| !wrong.is_empty()) {
        println!("FAULT {from:?} to {to:?}: {fault:?}");
    }
    for (kind, words) in wrong.iter().take(30) {
        println!("WRONG {kind:?}: {words}");
    }
    assert!(wrong.is_empty(), "{} things are wrong with history {seed}", wrong.len());
    assert!(cluster.instances.iter_mut().all(|instance| !instance.has_ended()), "no instance crashed");
}

/// Events that a reader received.
fn made(tabs: &[(String, Tab)]) -> usize {
    let places = tabs.iter().flat_map(|(tenant, tab)| tab.places().into_iter().map(move |position| (tenant, position)));
    places.collect::<BTreeSet<_>>().len()
}

#[derive(Default)]
struct Suffered {
    redis_restarts: usize,
    /// Of these, restarts without the last writes.
    redis_losses: usize,
    suspensions: Vec<Trouble>,
}

/// Executes the planned faults.
async fn suffer(cluster: &mut Cluster, planned: &[Planned], began: Instant, devices: &[DeviceId]) -> Suffered {
    let mut moments: Vec<(Duration, bool, Fault)> = Vec::new();
    for Planned { from, to, fault } in planned {
        moments.extend([(*from, true, *fault), (*to, false, *fault)]);
    }
    moments.sort_by_key(|(at, begins, _)| (*at, *begins));
    let (mut suffered, mut backup, mut replica) = (Suffered::default(), None, None);
    let Suffered { redis_restarts, redis_losses, suspensions } = &mut suffered;
    let mut suspended = [None; INSTANCES];
    for (at, begins, fault) in moments {
        sleep_until(began + at).await;
        match (fault, begins) {
            (Fault::Kill(instance), true) => drop(cluster.kill(instance)),
            (Fault::Kill(instance), false) => cluster.start_again(instance),
            (Fault::Stop(instance), true) => {
                suspended[instance] = Some(began.elapsed());
                cluster.pause(instance);
                // WhatsApp drops a client that does not answer before another one comes.
                for device in devices {
                    cluster.simulator.cut(*device);
                }
            }
            (Fault::Stop(instance) | Fault::Unsubscribed(instance), false) => {
                cluster.resume(instance);
                let when = suspended[instance].take().map(|from| from..began.elapsed());
                suspensions.extend(when.map(|when| Trouble { when, instance: Some(instance) }));
            }
            (Fault::Cut(instance), true) => cluster.set_network(instance, Way::Cut),
            (Fault::Silent(instance), true) => cluster.set_network(instance, Way::Silent),
            (Fault::Cut(instance) | Fault::Silent(instance), false) => cluster.set_network(instance, Way::Open),
            (Fault::RedisLoss, true) => backup = Some(cluster.redis.backup()),
            (Fault::LostBirth(instance), true) => {
                backup = Some(cluster.redis.backup());
                cluster.kill(instance);
                cluster.start_again(instance);
            }
            (Fault::RedisLoss | Fault::LostBirth(_), false) => {
                cluster.redis.restart_from(&backup.take().expect("made when it began"));
                *redis_restarts += 1;
                *redis_losses += 1;
            }
            (Fault::LostTakeover, true) => {
                lose_takeover(cluster, devices[0]).await;
                *redis_restarts += 1;
                *redis_losses += 1;
            }
            (Fault::CutOwner, true) => cut_owner(cluster).await,
            (Fault::LostTakeover | Fault::CutOwner, false) => {}
            (Fault::Unsubscribed(instance), true) => {
                suspended[instance] = Some(began.elapsed());
                cluster.pause(instance);
                cluster.set_network(instance, Way::Cut);
                cluster.set_network(instance, Way::Open);
            }
            (Fault::Promotion(_), true) => {
                replica = Some(cluster.redis.promoted());
                // A master that gets its first replica begins a run, without a loss.
                *redis_restarts += 1;
            }
            (Fault::Promotion(clock), false) => {
                let replica = replica.take().expect("promoted when it began");
                set_clock(&replica, clock);
                cluster.redis.return_from(&replica);
                *redis_restarts += 1;
                *redis_losses += 1;
            }
            (Fault::RedisKill, true) => cluster.redis.stop(),
            (Fault::RedisKill, false) => {
                cluster.redis.restart();
                *redis_restarts += 1;
            }
        }
    }
    suffered
}

/// Redis loses a takeover, and the new owner cannot reach Redis. Until the new owner has compared its leases with what Redis
/// knows, no instance may take its tenants.
async fn lose_takeover(cluster: &mut Cluster, device: DeviceId) {
    let owner = owned_by(cluster, TENANT, |_| true, || {}).await;
    cluster.kill(owner);
    let (mut backup, mut newer) = (None, None);
    // The last one but one: the takeover may stand in the last.
    let taker = owned_by(
        cluster,
        TENANT,
        |taker| taker != owner,
        || {
            backup = newer.replace(cluster.redis.backup());
        },
    );
    let taker = taker.await;
    let is_linked = cluster.simulator.wait_for_live(device, 1, Duration::from_secs(1)).await;
    println!("instance {taker} took over from {owner}, its link is open: {}", is_linked.is_ok());
    cluster.set_network(taker, Way::Silent);
    cluster.redis.restart_from(&backup.expect("a heartbeat lives for longer than a backup takes"));
    // Less than an owner keeps its links without a heartbeat.
    sleep(Duration::from_secs(4)).await;
    cluster.set_network(taker, Way::Open);
    cluster.start_again(owner);
}

/// It must have hung up before another instance takes over.
async fn cut_owner(cluster: &Cluster) {
    let owner = owned_by(cluster, TENANT, |_| true, || {}).await;
    cluster.set_network(owner, Way::Silent);
    let taker = owned_by(cluster, TENANT, |taker| taker != owner, || {}).await;
    println!("instance {taker} took over from {owner}, which is cut off");
    sleep(Duration::from_secs(1)).await;
    cluster.set_network(owner, Way::Open);
}

/// Looks until an instance owns the tenant for which `is_it` holds. `before` is called before each look.
async fn owned_by(cluster: &Cluster, tenant: &str, is_it: impl Fn(usize) -> bool, mut before: impl FnMut()) -> usize {
    let look = async {
        loop {
            before();
            match cluster.owner(tenant).filter(|owner| is_it(*owner)) {
                Some(owner) => break owner,
                None => sleep(Duration::from_millis(20)).await,
            }
        }
    };
    timeout(SETTLES_WITHIN, look).await.expect("an instance owns it")
}

/// The clock of a server cannot be set: its heartbeats are made to expire as they would.
fn set_clock(replica: &RedisNode, clock: Clock) {
    let answer = replica.ask(&["KEYS", "tautan:{0}:alive:*"]);
    for heartbeat in answer.lines().filter(|line| line.starts_with("tautan:")) {
        match clock {
            Clock::Right => {}
            Clock::Ahead => _ = replica.ask(&["DEL", heartbeat]),
            Clock::Behind => _ = replica.ask(&["PEXPIRE", heartbeat, "38000"]),
        }
    }
}

struct User {
    api: tautan_test_support::Api,
    addresses: crate::stage::Addresses,
}

impl User {
    /// Returns when a request last timed out.
    async fn presses(self, mut random: StdRng, rest: CancellationToken) -> Option<Instant> {
        let mut given_up = None;
        while !rest.is_cancelled() {
            let paths: &[&str] = if random.random_bool(0.8) { &["connect"] } else { &["disconnect", "connect"] };
            for path in paths {
                if let Some((_, base)) = self.addresses.at_or_after(random.random_range(0..INSTANCES)) {
                    // Whether it was fulfilled is checked at the end, when no fault is active.
                    let asked = self.api.at(&base).ask(Method::POST, path).send();
                    if !matches!(timeout(Duration::from_secs(3), asked).await, Ok(Ok(_))) {
                        given_up = Some(Instant::now());
                    }
                }
            }
            let pause = Duration::from_millis(random.random_range(PRESSES_MS));
            rest.run_until_cancelled(sleep(pause)).await;
        }
        given_up
    }
}

/// Every user unlinks and, as soon as that is answered, connects again: that is what has to be true in the end.
async fn last_words(cluster: &Cluster, tenants: &[String]) -> BTreeSet<String> {
    for (at, tenant) in tenants.iter().enumerate() {
        let api = cluster.api(at % INSTANCES, tenant);
        for path in ["disconnect", "connect"] {
            let until = Instant::now() + SETTLES_WITHIN;
            loop {
                let asked = timeout(Duration::from_secs(5), api.ask(Method::POST, path).send()).await;
                if asked.is_ok_and(|answer| answer.is_ok_and(|answer| answer.status().is_success())) {
                    break;
                }
                assert!(Instant::now() < until, "{path} of {tenant} is not answered");
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
    tenants.iter().cloned().collect()
}

/// Waits until all readers see the same status, or until a time limit; returns the statuses of the instances.
async fn settle(cluster: &Cluster, tenants: &[String], tabs: &[(String, Tab)]) -> Vec<(String, Content)> {
    let until = Instant::now() + SETTLES_WITHIN;
    loop {
        let mut answers = Vec::new();
        for tenant in tenants {
            for instance in 0..INSTANCES {
                let answer = cluster.status(instance, tenant).await;
                answers.push((tenant.clone(), status(&answer)));
            }
        }
        let mut all = answers.iter().all(|(_, content)| content.is_settled());
        for (tenant, tab) in tabs {
            let last = status(&tab.status());
            all &= answers.iter().filter(|(of, _)| of == tenant).all(|(_, answer)| *answer == last);
        }
        if all || Instant::now() > until {
            return answers;
        }
        sleep(Duration::from_millis(200)).await;
    }
}

fn status(data: &Value) -> Content {
    let text = |field: &str| data[field].as_str().map(str::to_owned);
    Content::Status {
        word: text("status").unwrap_or_default(),
        reason: text("reason"),
        mark: data["name"].as_str().and_then(Mark::parse),
        stale: data["stale"] == true,
    }
}

fn observed(tenant: &str, tab: &Tab, began: Instant) -> Client {
    let note = |seen: &Seen| {
        let note = match &seen.what {
            What::Opened => Note::Opened(seen.instance),
            What::Event(event) => Note::Received { position: position(event), content: content(event) },
            What::Refused(code) => Note::Refused(code.as_u16()),
            What::Closed => return None,
        };
        Some((seen.at.saturating_duration_since(began), note))
    };
    Client { tenant: tenant.to_owned(), notes: tab.seen().iter().filter_map(note).collect() }
}

fn content(event: &Event) -> Content {
    match event.name.as_str() {
        "qr-code" => Content::Code { mark: Mark::parse(event.text("qrText")) },
        _ => status(&event.data),
    }
}

fn position(event: &Event) -> Option<Position> {
    event.id.as_deref().map(rank)
}
