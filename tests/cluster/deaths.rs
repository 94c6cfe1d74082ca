//! `kill -9` of an owner: another instance takes over, and the user's page goes on.

use std::time::Duration;

use crate::{
    quiet::{alone, within_bound},
    stage::{Setup, device, number, proves_device},
    tab::{Seen, What},
};

/// A user waits for it, and a pairing has nothing to lose.
const FRESH_CODE_WITHIN: Duration = Duration::from_millis(1_500);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn session_is_connected_elsewhere_within_10_s_of_a_kill() {
    let Some(_turn) = alone().await else { return };
    let mut cluster = Setup::of(3).start().await;
    let phone = cluster.simulator.phone(&number(1), "Toko Sari");
    let owner = cluster.link(0, "toko", &phone).await;
    let (survivor, other) = ((owner + 1) % 3, (owner + 2) % 3);
    let mut watching = cluster.tab(survivor, "toko");
    let mut widowed = cluster.tab(owner, "toko");
    watching.until_status("connected").await;
    widowed.until_status("connected").await;

    let killed = cluster.kill(owner);
    watching.until_stale().await;
    let (at, _) = watching.until_status("connected").await;
    within_bound("connected elsewhere after kill -9", killed, at, Duration::from_secs(10));
    widowed.until_status("connected").await;
    assert_eq!(cluster.api(other, "toko").status().await["status"], "connected");
    assert_ne!(cluster.owner("toko"), Some(owner));
    proves_device(&phone).await;
    let device = device(&phone);
    assert_eq!(cluster.simulator.double_login_ms(device), 0);
    assert_eq!(cluster.simulator.double_logins(device), 0);
    println!("FIGURE double login after kill -9: {} ms", cluster.simulator.double_login_ms(device));
    for tab in [&watching, &widowed] {
        let ended = tab.events().iter().any(|event| event.is_status("disconnected") || event.name == "qr-code");
        assert!(!ended, "the page just goes on:\n{}", tab.story());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_code_is_shown_within_1500_ms_of_the_kill_of_its_owner() {
    let Some(_turn) = alone().await else { return };
    let mut cluster = Setup::of(3).start().await;
    let phone = cluster.simulator.phone(&number(1), "Toko Sari");
    cluster.api(0, "toko").connect().await;
    let mut first = cluster.tab(0, "toko");
    let (_, dead_code) = first.until_qr().await;
    let owner = cluster.owner("toko").expect("an instance shows it");
    let mut watching = cluster.tab((owner + 1) % 3, "toko");
    let mut widowed = cluster.tab(owner, "toko");
    watching.until_qr().await;
    widowed.until_qr().await;

    let killed = cluster.kill(owner);
    let back =
        widowed.until_seen("its return", Duration::from_secs(5), |seen: &Seen| matches!(seen.what, What::Opened));
    let back = back.await.at;
    let fresh = |event: &tautan_test_support::Event| {
        event.name == "qr-code" && event.data["qrText"] != dead_code.data["qrText"]
    };
    let (at, _) = watching.until("a fresh code", fresh).await;
    within_bound("fresh code on a surviving stream after kill -9", killed, at, FRESH_CODE_WITHIN);
    let (at, qr) = widowed.until("a fresh code", fresh).await;
    within_bound("fresh code on a dead instance's stream after its return", back, at, FRESH_CODE_WITHIN);
    let text = tautan_test_support::read_data_url(qr.text("qrCode"));
    phone.scan(&text).await.expect("a living code");
    watching.until_status("connected").await;
    widowed.until_status("connected").await;
    proves_device(&phone).await;
}
