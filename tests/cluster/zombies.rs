//! An owner that was suspended past its lease and wakes: it must not publish, and must not end its successor's link.

use std::time::Duration;

use tokio::time::sleep;

use crate::{
    quiet::{alone, within_bound},
    stage::{Setup, device, number, proves_device},
};

/// How long a woken owner is watched: its timers, reconnects and heartbeats have all run by then.
const WATCHED: Duration = Duration::from_secs(6);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn owner_suspended_past_its_lease_writes_nothing() {
    let Some(_turn) = alone().await else { return };
    let cluster = Setup::of(2).start().await;
    let phone = cluster.simulator.phone(&number(1), "Toko Sari");
    let zombie = cluster.link(0, "toko", &phone).await;
    let device = device(&phone);
    let successor = 1 - zombie;
    let mut watching = cluster.tab(successor, "toko");
    watching.until_status("connected").await;

    let stopped = cluster.pause(zombie);
    assert!(cluster.simulator.cut(device), "WhatsApp gives up on who does not answer");
    let (at, _) = watching.until_status("connected").await;
    within_bound("connected elsewhere after SIGSTOP", stopped, at, Duration::from_secs(10));
    proves_device(&phone).await;
    let record =
        || ["owner_incarnation", "owner_nonce", "owner_fence", "version"].map(|field| cluster.record("toko", field));
    let (before, logins, received) = (record(), cluster.simulator.logins(device), watching.events());

    cluster.resume(zombie);
    sleep(WATCHED).await;
    assert_eq!(cluster.owner("toko"), Some(successor));
    assert_eq!(record(), before, "it writes nothing");
    assert_eq!(watching.events(), received, "it says nothing:\n{}", watching.story());
    assert_eq!(cluster.simulator.logins(device), logins, "no link connects");
    assert_eq!(cluster.simulator.double_logins(device), 0, "no link is replaced");
    assert_eq!(cluster.simulator.double_login_ms(device), 0);
    proves_device(&phone).await;
    let received = cluster.api(zombie, "toko").status().await;
    assert_eq!(
        (&received["status"], &received["stale"]),
        (&"connected".into(), &false.into()),
        "it serves what others own"
    );
    let (mut last, other) = (cluster.tab(zombie, "toko"), number(2));
    last.until_status("connected").await;
    let fresh = cluster.simulator.phone(&other, "Toko Budi");
    cluster.link(zombie, "budi", &fresh).await;
}

/// A pairing changes hands sooner, so its zombie sleeps shorter.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn code_of_a_suspended_owner_is_not_shown_after_a_newer_one() {
    let Some(_turn) = alone().await else { return };
    let cluster = Setup::of(2).start().await;
    let phone = cluster.simulator.phone(&number(1), "Toko Sari");
    cluster.api(0, "toko").connect().await;
    let zombie = {
        cluster.tab(0, "toko").until_qr().await;
        cluster.owner("toko").expect("an instance shows it")
    };
    let mut watching = cluster.tab(1 - zombie, "toko");
    watching.until_qr().await;
    cluster.pause(zombie);
    watching.until_qr().await;
    let owner = cluster.record("toko", "owner_nonce");
    let shown = watching.events();
    cluster.resume(zombie);
    sleep(WATCHED).await;
    assert_eq!(cluster.record("toko", "owner_nonce"), owner);
    assert_eq!(watching.events(), shown, "it says nothing:\n{}", watching.story());
    let (_, qr) = cluster.tab(zombie, "toko").until_qr().await;
    phone.scan(qr.text("qrText")).await.expect("the successor's code");
    watching.until_status("connected").await;
    proves_device(&phone).await;
}
