use tautan_simulator::{DeviceId, Fault, Refusal};
use tautan_test_support::within;

use crate::{
    card::Card,
    page_test::{NUMBER_SHOWN, PageTest},
    screen,
};

/// Once through every state, with pictures. The other tests say what the states must say.
#[tokio::test(flavor = "multi_thread")]
async fn every_state_fits_a_narrow_and_a_wide_screen() {
    let Some(stage) = PageTest::open().await else { return };
    let (browser, card) = (&stage.browser, stage.browser.card());
    screen::narrow(browser).await;
    browser.reload().await;
    card.state("disconnected").await;
    screen::keep(browser, "01-never-linked").await;
    screen::narrow(browser).await;

    stage.simulator.faults().set(Fault::SilentLogin);
    card.click("#connect").await;
    card.until("the sketch", |shown| shown.mode == "starting").await;
    screen::keep(browser, "02-preparing").await;
    stage.simulator.faults().clear(Fault::SilentLogin);
    card.click("#cancel").await;
    card.reason("cancelled").await;
    screen::keep(browser, "03-cancelled").await;

    card.click("#connect").await;
    card.code().await;
    screen::keep(browser, "04-code").await;
    stage.simulator.faults().set_times(Fault::SilentPairing, 1);
    let code = stage.offered().await;
    let pairing = stage.phone.clone();
    let mut scans = tokio::task::JoinSet::new();
    scans.spawn(async move { pairing.scan(&code).await });
    card.until("the finish", |shown| shown.mode == "scanned").await;
    screen::keep(browser, "05-finishing").await;
    drop(scans);
    stage.program.api("tenant").disconnect().await;
    card.state("disconnected").await;

    connected(&stage, &card).await;
}

async fn connected(stage: &PageTest, card: &Card<'_>) {
    let browser = &stage.browser;
    card.click("#connect").await;
    card.code().await;
    stage.scan_offered().await;
    card.state("connected").await;
    screen::keep(browser, "06-connected-just-now").await;
    browser.reload().await;
    let shown = card.state("connected").await;
    assert_eq!((&*shown.phone, &*shown.platform), (NUMBER_SHOWN, "Android"), "as the phone sent it when it was linked");
    screen::keep(browser, "07-connected").await;
    card.click("#disconnect").await;
    card.until("the question", |shown| shown.dialog).await;
    screen::keep(browser, "08-question").await;
    card.click("#keep").await;

    stage.simulator.unreachable(true);
    card.state("connecting").await;
    screen::keep(browser, "09-reconnecting").await;
    stage.simulator.unreachable(false);
    card.state("connected").await;

    stage.phone.refuse(Refusal::Banned { expire_seconds: Some(86_400) });
    card.reason("banned").await;
    screen::keep(browser, "10-banned").await;
    browser.delete_token().await;
    browser.reload().await;
    card.until("the signed-out view", |shown| shown.stream == "signed-out").await;
    // The browser itself writes the 401 into the console.
    browser.complaints().await;
    screen::keep(browser, "11-signed-out").await;
}

/// Each end that the simulator can bring about, as the page shows it, and that the one action which helps does help.
#[tokio::test(flavor = "multi_thread")]
async fn each_end_from_whatsapp_is_shown_and_left_again() {
    let Some(stage) = PageTest::open().await else { return };
    let (browser, card) = (&stage.browser, stage.browser.card());
    let device = stage.link().await;
    card.state("connected").await;
    screen::narrow(browser).await;

    for (refusal, reason) in [(Refusal::Locked, "account-locked"), (Refusal::Outdated, "client-outdated")] {
        stage.phone.refuse(refusal);
        card.reason(reason).await;
        screen::keep(browser, &format!("12-{reason}")).await;
        stage.phone.accept();
        again(&stage, &card).await;
    }

    replaced(&stage, device).await;
    card.reason("replaced").await;
    screen::keep(browser, "13-replaced").await;
    again(&stage, &card).await;

    assert!(stage.phone.unlink(device));
    card.reason("unlinked-by-phone").await;
    screen::keep(browser, "14-unlinked-by-phone").await;

    stage.simulator.faults().set_times(Fault::CorruptHmac, 1);
    card.click("#connect").await;
    card.code().await;
    let _ = within("the scan", stage.phone.scan(&stage.offered().await)).await;
    card.reason("pairing-failed").await;
    screen::keep(browser, "15-pairing-failed").await;
}

async fn again(stage: &PageTest, card: &Card<'_>) {
    card.click("#connect").await;
    card.state("connected").await;
    screen::narrow(&stage.browser).await;
}

/// Said once it is redialled, said again it is believed.
async fn replaced(stage: &PageTest, device: DeviceId) {
    let mut events = stage.program.api("tenant").events().await;
    assert!(stage.simulator.replace(device));
    events.until_status("connecting").await;
    events.until_status("connected").await;
    assert!(stage.simulator.replace(device));
}

#[tokio::test(flavor = "multi_thread")]
async fn used_up_codes_are_shown_and_one_press_brings_new_ones() {
    let settings = [("SIM_QR_PACE", "0.02"), ("TAUTAN_QR_WINDOWS", "1")];
    let Some(stage) = PageTest::set(&settings, "id-ID").await else { return };
    let (browser, card) = (&stage.browser, stage.browser.card());
    stage.sign_in().await;
    card.state("disconnected").await;
    screen::narrow(browser).await;
    card.click("#connect").await;
    let shown = card.reason("qr-expired").await;
    assert_eq!(&*shown.title, "QR code sudah kadaluarsa");
    screen::keep(browser, "16-codes-used-up").await;
    card.click("#connect").await;
    card.code().await;
}
