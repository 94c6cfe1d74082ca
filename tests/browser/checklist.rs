use std::time::{Duration, Instant};

use tautan_test_support::{token, within};

use crate::page_test::{NUMBER_SHOWN, PageTest, TENANT};

/// The list that a person ticks off by hand, in its order.
#[tokio::test(flavor = "multi_thread")]
async fn seed_checklist_from_login_to_reload_passes() {
    let Some(stage) = PageTest::set(&[], "id-ID").await else { return };
    let card = stage.browser.card();

    stage.browser.set_token(stage.program.base(), &token(TENANT)).await;
    stage.browser.goto(&stage.page()).await;
    let shown = card.state("disconnected").await;
    assert_eq!((&*shown.reason, &*shown.status), ("never-linked", "Belum Terhubung"));
    assert!(shown.words.contains("Hubungkan WhatsApp"), "the seed's button in {shown:#?}");

    let pressed = Instant::now();
    card.click("#connect").await;
    let shown = card.code().await;
    let until_code = pressed.elapsed();
    assert_eq!((&*shown.state, &*shown.status), ("qr_pending", "Menunggu Scan"));
    let on_screen = card.scannable("#qr").await.expect("a camera reads the code on the screen");
    assert_eq!(on_screen, stage.offered().await);

    let scanned = Instant::now();
    within("the scan", stage.phone.scan(&on_screen)).await.expect("the phone takes the code");
    let shown = card.until("the number", |shown| shown.phone == NUMBER_SHOWN).await;
    let until_number = scanned.elapsed();
    assert_eq!((&*shown.state, &*shown.status), ("connected", "Terhubung"));
    assert_eq!(shown.title, "Berhasil Terhubung!");

    stage.browser.reload().await;
    let shown = card.state("connected").await;
    assert_eq!((&*shown.status, &*shown.phone), ("Terhubung", NUMBER_SHOWN));

    assert_eq!(stage.browser.complaints().await, [""; 0], "the console and the content security policy");
    println!("press to code {until_code:?}, scan to number {until_number:?}");
    assert!(until_number < Duration::from_secs(1), "{until_number:?} from the scan to the number on the screen");
}

/// No report is proof only if a violation would be reported.
#[tokio::test(flavor = "multi_thread")]
async fn inline_style_and_script_are_refused_and_reported() {
    let Some(stage) = PageTest::open().await else { return };
    stage.browser.card().state("disconnected").await;
    stage.browser.complaints().await;
    let markup = "document.body.insertAdjacentHTML('beforeend', '<p style=\"color: red\" onclick=\"alert(1)\">…</p>')";
    stage.browser.run(markup, Vec::new()).await;
    let complaints = stage.browser.complaints().await.join("\n");
    assert!(complaints.contains("style-src") && complaints.contains("script-src"), "{complaints}");
}
