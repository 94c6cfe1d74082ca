use rustix::process::{Pid, Signal, kill_process};
use tautan_test_support::within;

use crate::{
    page_test::{NUMBER_SHOWN, PageTest},
    screen,
};

/// Six seconds for the first code of a window, two for each other one.
const SHORT: &[(&str, &str)] = &[("SIM_QR_PACE", "0.1")];

#[tokio::test(flavor = "multi_thread")]
async fn countdown_falls_and_the_next_code_appears() {
    let Some(stage) = PageTest::set(SHORT, "id-ID").await else { return };
    stage.sign_in().await;
    let card = stage.browser.card();
    card.state("disconnected").await;
    card.click("#connect").await;

    let shown = card.code().await;
    let (seconds, code) = (shown.seconds(), card.scannable("#qr").await.expect("a code on the screen"));
    assert!((4..=6).contains(&seconds) && shown.text == "Kode 1 dari 6", "{shown:#?}");
    card.until("fewer seconds", |shown| shown.mode == "qr_pending" && shown.seconds() < seconds).await;

    card.until("the second code", |shown| shown.mode == "qr_pending" && shown.text == "Kode 2 dari 6").await;
    let next = card.scannable("#qr").await.expect("a code on the screen");
    assert_ne!(code, next);
    within("the scan", stage.phone.scan(&next)).await.expect("the phone takes the code");
    assert_eq!(card.state("connected").await.phone, NUMBER_SHOWN);
}

#[tokio::test(flavor = "multi_thread")]
async fn expired_code_cannot_be_scanned_from_the_screen() {
    let Some(stage) = PageTest::set(SHORT, "id-ID").await else { return };
    stage.sign_in().await;
    let card = stage.browser.card();
    card.state("disconnected").await;
    card.click("#connect").await;
    card.code().await;
    let code = card.scannable("#qr").await.expect("a code on the screen");

    // A service that says nothing more: the page has to know by itself.
    let pid = Pid::from_raw(stage.program.pid().cast_signed()).expect("a process");
    kill_process(pid, Signal::STOP).expect("it can be stopped");
    let shown = card.until("the end of the code", |shown| shown.mode == "expired").await;
    assert!(shown.countdown.is_empty() && shown.words.contains("Kode kadaluarsa"), "{shown:#?}");
    assert_eq!(card.scannable("#qr").await, None, "no camera may read it any more");
    assert_eq!(card.scannable(".box").await, None);
    screen::keep(&stage.browser, "32-code-expired").await;

    kill_process(pid, Signal::CONT).expect("it can go on");
    card.code().await;
    assert_ne!(card.scannable("#qr").await.expect("a code on the screen"), code);
}
