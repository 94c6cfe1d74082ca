//! SIGTERM of an owner: it hands over.

use std::time::Duration;

use tautan::clock::{self, Timestamp};
use tautan_test_support::{Event, rank};

use crate::{
    quiet::{alone, within_bound},
    stage::{Setup, device, number, proves_device},
    tab::Tab,
};

/// The links that an instance opens in a second, and at most at once.
const RATE: f64 = 20.0;

/// No number is left out between the first and the last, and none comes twice.
fn is_whole(tab: &Tab) {
    let ids: Vec<_> = tab.events().iter().filter_map(|event: &Event| event.id.as_deref().map(rank)).collect();
    let follows = |one: &(u64, u64), next: &(u64, u64)| next.0 == one.0 && next.1 == one.1 + 1;
    assert!(ids.is_sorted_by(follows), "an event was missed or sent twice:\n{}", tab.story());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn session_is_connected_elsewhere_within_500_ms_of_sigterm() {
    let Some(_turn) = alone().await else { return };
    let mut cluster = Setup::of(3).start().await;
    let phone = cluster.simulator.phone(&number(1), "Toko Sari");
    let owner = cluster.link(0, "toko", &phone).await;
    let mut staying = cluster.tab((owner + 1) % 3, "toko");
    let mut moving = cluster.tab(owner, "toko");
    staying.until_status("connected").await;
    moving.until_status("connected").await;

    let asked = cluster.terminate(owner);
    let (at, _) = staying.until_status("connected").await;
    within_bound("1 session connected elsewhere after SIGTERM", asked, at, Duration::from_millis(500));
    moving.until_status("connected").await;
    is_whole(&staying);
    is_whole(&moving);
    assert_eq!(cluster.instances[owner].ended().0, Some(0), "it drained");
    proves_device(&phone).await;
    let device = device(&phone);
    assert_eq!(cluster.simulator.double_login_ms(device), 0);
    assert_eq!(cluster.simulator.live_sockets_max(device), 1);
    println!("FIGURE double login after SIGTERM: {} ms", cluster.simulator.double_login_ms(device));
}

/// All of them linked by phones, on one instance that leaves two others.
async fn are_handed_over(sessions: usize, bound: Duration) {
    // All of them on one instance, before there is another.
    let mut cluster = Setup::of(1).start().await;
    let tenants: Vec<String> = (0..sessions).map(|at| format!("toko-{at}")).collect();
    let phones: Vec<_> = (0..sessions).map(|at| cluster.simulator.phone(&number(at), "Toko")).collect();
    for (tenant, phone) in tenants.iter().zip(&phones) {
        cluster.link(0, tenant, phone).await;
    }
    cluster.add();
    cluster.add();
    let mut staying: Vec<Tab> = tenants.iter().map(|tenant| cluster.tab(1, tenant)).collect();
    let mut moving: Vec<Tab> = tenants.iter().map(|tenant| cluster.tab(0, tenant)).collect();
    for tab in staying.iter_mut().chain(&mut moving) {
        tab.until_status("connected").await;
    }
    let asked = cluster.terminate(0);
    let mut last = asked;
    for tab in &mut staying {
        last = last.max(tab.until_status("connected").await.0);
    }
    within_bound(&format!("{sessions} sessions connected elsewhere after SIGTERM"), asked, last, bound);
    for tab in &mut moving {
        tab.until_status("connected").await;
    }
    staying.iter().chain(&moving).for_each(is_whole);
    for phone in &phones {
        let device = device(phone);
        assert_eq!(cluster.simulator.double_login_ms(device), 0);
        assert_eq!(cluster.simulator.live_sockets_max(device), 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_sessions_are_connected_elsewhere_within_1500_ms() {
    let Some(_turn) = alone().await else { return };
    are_handed_over(20, Duration::from_millis(1_500)).await;
}

/// Each with keys, a handshake and a login of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "minutes; make long"]
async fn two_hundred_linked_phones_resume_elsewhere_at_the_rate() {
    let Some(_turn) = alone().await else { return };
    are_handed_over(200, Duration::from_secs(10)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_sessions_resume_elsewhere_at_the_rate() {
    let Some(_turn) = alone().await else { return };
    let mut cluster = Setup::of(1).start().await;
    let tenants: Vec<String> = (0..200).map(|at| format!("idle-{at}")).collect();
    cluster.connect_stubs(&tenants).await;
    cluster.add();
    cluster.add();
    let mut staying: Vec<Tab> = tenants.iter().map(|tenant| cluster.tab(1, tenant)).collect();
    for tab in &mut staying {
        tab.until_status("connected").await;
    }
    let began = clock::system().now();
    let asked = cluster.terminate(0);
    let (mut last, mut times) = (asked, Vec::new());
    for tab in &mut staying {
        let (at, connected) = tab.until_status("connected").await;
        last = last.max(at);
        times.push(connected.text("since").parse::<Timestamp>().expect("a time"));
        is_whole(tab);
    }
    within_bound("200 sessions connected elsewhere after SIGTERM", asked, last, Duration::from_secs(10));
    // By the time that each event names. A delay makes a link later and never earlier, so this holds on a full machine too.
    times.sort();
    for (before, at) in times.iter().enumerate() {
        let after = at.duration_since(began).as_secs_f64();
        let allowed = 2.0 * (RATE + RATE * after);
        assert!(before as f64 <= allowed, "{} links in {after} s: at most {allowed:.0}", before + 1);
    }
}
