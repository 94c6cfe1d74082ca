//! A bad stanza of one tenant does not crash one instance after the other.

use std::time::Duration;

use tokio::time::sleep;

use crate::{
    quiet::together,
    stage::{Cluster, Setup, number, proves_device},
    tab::Tab,
};

/// Connected tenants on every instance, stubs and real ones, each watched.
async fn bystanders(cluster: &Cluster) -> Vec<Tab> {
    let mut tenants: Vec<String> = (0..9).map(|at| format!("idle-{at}")).collect();
    cluster.connect_stubs(&tenants).await;
    for at in 0..3 {
        let phone = cluster.simulator.phone(&number(at), "Toko");
        cluster.link(at, &format!("toko-{at}"), &phone).await;
        tenants.push(format!("toko-{at}"));
    }
    let mut tabs: Vec<_> = tenants.iter().enumerate().map(|(at, tenant)| cluster.tab((at + 1) % 3, tenant)).collect();
    for tab in &mut tabs {
        tab.until_status("connected").await;
    }
    // A name may follow its connection.
    sleep(Duration::from_millis(500)).await;
    tabs
}

fn are_undisturbed(tabs: &[Tab], before: &[usize]) {
    for (tab, before) in tabs.iter().zip(before) {
        assert_eq!(tab.seen().len(), *before, "the panic of another tenant disturbed it:\n{}", tab.story());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tenant_with_a_panicking_link_ends_after_3_crashes_alone() {
    let Some(_turn) = together().await else { return };
    let mut cluster = Setup::of(3).start().await;
    let others = bystanders(&cluster).await;
    let before: Vec<usize> = others.iter().map(|tab| tab.seen().len()).collect();
    cluster.api(1, "panic-1").connect().await;
    let mut tab = cluster.tab(0, "panic-1");
    let (_, end) = tab.until_status("disconnected").await;
    assert_eq!(end.data["reason"], "internal");
    let lives = tab.events().iter().filter(|event| event.is_status("connected")).count();
    assert_eq!(lives, 3, "{}", tab.story());
    are_undisturbed(&others, &before);
    assert!(cluster.instances.iter_mut().all(|instance| !instance.has_ended()), "no instance crashed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crashes_are_counted_across_owners() {
    let Some(_turn) = together().await else { return };
    let mut cluster = Setup::of(3).start().await;
    cluster.api(0, "panic-1").connect().await;
    let mut watching = [cluster.tab(0, "panic-1"), cluster.tab(1, "panic-1"), cluster.tab(2, "panic-1")];
    for tab in &mut watching {
        tab.until_status("connected").await;
        tab.until("the crash", |event| event.data["reason"] == "reconnecting").await;
    }
    let owner = cluster.owner("panic-1").expect("an instance runs it");
    cluster.kill(owner);
    let tab = &mut watching[(owner + 1) % 3];
    let (_, end) = tab.until_status("disconnected").await;
    assert_eq!(end.data["reason"], "internal");
    let lives = tab.events().iter().filter(|event| event.is_status("connected")).count();
    assert!((2..=3).contains(&lives), "three crashes in all, under two owners:\n{}", tab.story());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn session_survives_a_panic_in_a_library_task() {
    let Some(_turn) = together().await else { return };
    let mut cluster = Setup::of(3).start().await;
    let others = bystanders(&cluster).await;
    let phone = cluster.simulator.phone(&number(9), "Toko Sari");
    let mut tab = cluster.tab(0, "toko");
    cluster.link(1, "toko", &phone).await;
    tab.until_status("connected").await;
    // A device that is asked answers with frames; all others are quiet.
    let device = crate::stage::device(&phone);
    let before: Vec<usize> = others.iter().map(|tab| tab.seen().len()).collect();
    let stanza = cluster.folder.path().join("bad-stanza");
    std::fs::write(&stanza, "").expect("written");
    cluster.simulator.ping(device, Duration::from_secs(1)).await;
    assert!(!stanza.exists(), "a link read it");
    tab.forget();
    // Its link may be gone for good or only one of its tasks: either way the session is usable again.
    proves_device(&phone).await;
    assert_eq!(cluster.api(2, "toko").status().await["status"], "connected", "{}", tab.story());
    are_undisturbed(&others, &before);
    assert!(cluster.instances.iter_mut().all(|instance| !instance.has_ended()), "no instance crashed");
}
