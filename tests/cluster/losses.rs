//! Redis comes back without its last writes.

use std::time::Duration;

use tautan_simulator::Phone;
use tokio::time::Instant;

use crate::{
    quiet::{alone, together, within_bound},
    stage::{Setup, device, number, proves_device},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn empty_redis_after_a_restart_ends_sessions_with_store_lost() {
    let Some(_turn) = together().await else { return };
    let mut cluster = Setup::of(3).start().await;
    let mut tenants: Vec<String> = (0..9).map(|at| format!("idle-{at}")).collect();
    cluster.connect_stubs(&tenants).await;
    let phone = cluster.simulator.phone(&number(1), "Toko Sari");
    cluster.link(0, "toko", &phone).await;
    let linked = device(&phone);
    tenants.push("toko".to_owned());
    let mut tabs: Vec<_> =
        tenants.iter().flat_map(|tenant| (0..3).map(|at| cluster.tab(at, tenant)).collect::<Vec<_>>()).collect();
    for tab in &mut tabs {
        tab.until_status("connected").await;
    }
    cluster.redis.restart_empty();
    let back = Instant::now();
    let mut last = back;
    for tab in &mut tabs {
        let (at, end) = tab.until_status("disconnected").await;
        assert_eq!(end.data["reason"], "store-lost", "{}", tab.story());
        assert_eq!(end.data["retryable"], true);
        last = last.max(at);
    }
    within_bound("sessions ended with store-lost after Redis came back empty", back, last, Duration::from_secs(5));
    for tab in &tabs {
        assert!(!tab.has_closed(), "no stream is dropped:\n{}", tab.story());
    }
    for (instance, program) in cluster.instances.iter_mut().enumerate() {
        assert!(!program.has_ended(), "instance {instance} crashed");
    }
    for instance in 0..3 {
        assert_eq!(cluster.api(instance, "toko").status().await["reason"], "store-lost");
    }
    assert_eq!(phone.devices(), [linked], "no device was unlinked");
    let hung_up = cluster.simulator.wait_for_live(linked, 0, tautan_test_support::DEADLINE).await;
    hung_up.expect("an unknown link is closed");
    // The button begins anew.
    let mut tab = cluster.tab(1, "toko");
    cluster.api(2, "toko").connect().await;
    tab.scan(&phone).await;
    tab.until_status("connected").await;
}

/// Linked after the moment from which Redis comes back.
async fn pair(cluster: &crate::stage::Cluster, phone: &Phone) -> tautan_test_support::Backup {
    let mut tab = cluster.tab(0, "toko");
    cluster.api(0, "toko").connect().await;
    let (_, qr) = tab.until_qr().await;
    let backup = cluster.redis.backup();
    phone.scan(qr.text("qrText")).await.expect("a living code");
    tab.until_status("connected").await;
    backup
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn owner_with_its_lease_rewrites_the_lost_second() {
    let Some(_turn) = alone().await else { return };
    let mut cluster = Setup::of(3).start().await;
    let phone = cluster.simulator.phone(&number(1), "Toko Sari");
    let backup = pair(&cluster, &phone).await;
    let owner = cluster.owner("toko").expect("an instance runs it");
    let other = (owner + 1) % 3;
    let mut tab = cluster.tab(other, "toko");
    tab.until_status("connected").await;

    cluster.redis.restart_from(&backup);
    let back = Instant::now();
    // A stream that opens now has nothing but what Redis holds.
    let mut late = cluster.tab((owner + 2) % 3, "toko");
    let (at, _) = late.until_status("connected").await;
    within_bound("a lost second is written again", back, at, Duration::from_secs(3));
    proves_device(&phone).await;
    assert_eq!(cluster.owner("toko"), Some(owner), "it never lost its lease");

    // The credentials too: the next owner needs no scan.
    tab.forget();
    cluster.kill(owner);
    tab.until_stale().await;
    tab.until_status("connected").await;
    let codes = tab.events().iter().filter(|event| event.name == "qr-code").count();
    assert_eq!(codes, 0, "nothing is to be scanned:\n{}", tab.story());
    proves_device(&phone).await;
}
