use tautan_test_support::within;

use crate::page_test::{NUMBER_SHOWN, PageTest};

#[tokio::test(flavor = "multi_thread")]
async fn unlinking_asks_first_and_then_ends_the_link() {
    let Some(stage) = PageTest::open().await else { return };
    let card = stage.browser.card();
    let device = stage.link().await;
    card.state("connected").await;

    card.click("#disconnect").await;
    card.until("the question", |shown| shown.dialog).await;
    card.click("#keep").await;
    card.until("no question", |shown| !shown.dialog && shown.state == "connected").await;
    assert_eq!(stage.phone.devices(), [device], "who keeps the account keeps it");

    card.click("#disconnect").await;
    card.until("the question", |shown| shown.dialog).await;
    card.click("#confirm").await;
    let shown = card.reason("unlinked-by-user").await;
    assert_eq!((&*shown.title, &*shown.status), ("Koneksi sudah diputuskan", "Terputus"));
    assert!(shown.offers("connect") && !shown.dialog && shown.phone.is_empty(), "{shown:#?}");
    assert_eq!(stage.phone.devices(), [], "the phone lists the device no more");
}

#[tokio::test(flavor = "multi_thread")]
async fn pairing_can_be_cancelled_and_started_again() {
    let Some(stage) = PageTest::open().await else { return };
    let card = stage.browser.card();
    card.state("disconnected").await;
    card.click("#connect").await;
    card.code().await;
    let first = card.scannable("#qr").await.expect("a code on the screen");

    card.click("#cancel").await;
    let shown = card.reason("cancelled").await;
    assert!(!shown.qr && shown.title == "Penautan dibatalkan", "{shown:#?}");
    within("the scan", stage.phone.scan(&first)).await.expect_err("a cancelled code links nothing");

    card.click("#connect").await;
    card.code().await;
    let second = card.scannable("#qr").await.expect("a code on the screen");
    assert_ne!(first, second);
    within("the scan", stage.phone.scan(&second)).await.expect("the phone takes the code");
    assert_eq!(card.state("connected").await.phone, NUMBER_SHOWN);
}

#[tokio::test(flavor = "multi_thread")]
async fn unlink_on_the_phone_is_shown_with_its_reason() {
    let Some(stage) = PageTest::open().await else { return };
    let card = stage.browser.card();
    let device = stage.link().await;
    card.state("connected").await;

    assert!(stage.phone.unlink(device));
    let shown = card.reason("unlinked-by-phone").await;
    assert_eq!((&*shown.state, &*shown.status, &*shown.title), ("disconnected", "Terputus", "Sesi Terputus"));
    assert!(shown.text.starts_with("Perangkat ini dikeluarkan dari ponsel Anda."), "{shown:#?}");
    assert!(shown.offers("connect"));
}

#[tokio::test(flavor = "multi_thread")]
async fn unreachable_whatsapp_is_shown_and_recovers_by_itself() {
    let Some(stage) = PageTest::open().await else { return };
    let card = stage.browser.card();
    stage.link().await;
    card.state("connected").await;

    stage.simulator.unreachable(true);
    let shown = card.state("connecting").await;
    assert!(["reconnecting", "whatsapp-unreachable"].contains(&&*shown.reason), "{shown:#?}");
    assert_eq!((&*shown.status, &*shown.phone), ("Menghubungkan", NUMBER_SHOWN), "the account is still known");

    stage.simulator.unreachable(false);
    let shown = card.state("connected").await;
    assert_eq!(
        (&*shown.title, &*shown.phone),
        ("WhatsApp Terhubung", NUMBER_SHOWN),
        "no congratulation: nothing is new"
    );
}
