use tautan_simulator::{Fault, Refusal};
use tautan_test_support::within;

use crate::{card::Card, screen, stage::Stage};

/// Once through every state, with pictures. The other tests say what the states must say.
#[tokio::test(flavor = "multi_thread")]
async fn every_state_fits_a_narrow_and_a_wide_screen() {
    let Some(stage) = Stage::open().await else { return };
    let (browser, card) = (&stage.browser, stage.browser.card());
    card.state("disconnected").await;
    screen::keep(browser, "01-never-linked").await;

    stage.sim.faults().set(Fault::SilentLogin);
    card.click("#connect").await;
    card.until("the sketch", |shown| shown.mode == "starting").await;
    screen::keep(browser, "02-preparing").await;
    stage.sim.faults().clear(Fault::SilentLogin);
    card.click("#cancel").await;
    card.reason("cancelled").await;
    screen::keep(browser, "03-cancelled").await;

    card.click("#connect").await;
    card.code().await;
    screen::keep(browser, "04-code").await;
    stage.sim.faults().set_times(Fault::SilentPairing, 1);
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

async fn connected(stage: &Stage, card: &Card<'_>) {
    let browser = &stage.browser;
    card.click("#connect").await;
    card.code().await;
    within("the scan", stage.phone.scan(&stage.offered().await)).await.expect("the phone takes the code");
    card.state("connected").await;
    screen::keep(browser, "06-connected-just-now").await;
    browser.reload().await;
    card.state("connected").await;
    screen::keep(browser, "07-connected").await;
    card.click("#disconnect").await;
    card.until("the question", |shown| shown.dialog).await;
    screen::keep(browser, "08-question").await;
    card.click("#keep").await;

    stage.sim.unreachable(true);
    card.state("connecting").await;
    screen::keep(browser, "09-reconnecting").await;
    stage.sim.unreachable(false);
    card.state("connected").await;

    stage.phone.refuse(Refusal::Banned { expire_seconds: Some(86_400) });
    card.reason("banned").await;
    screen::keep(browser, "10-banned").await;
    browser.delete_token().await;
    browser.reload().await;
    card.until("the signed-out view", |shown| shown.stream == "signed-out").await;
    screen::keep(browser, "11-signed-out").await;
}
