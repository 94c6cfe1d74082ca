//! What happens to WhatsApp and to the program, seen from the page.

use tautan_simulator::Fault;
use tautan_test_support::damage_credentials;

use crate::{
    page_test::{NUMBER_SHOWN, PageTest},
    screen,
};

#[tokio::test(flavor = "multi_thread")]
async fn restart_with_silent_whatsapp_is_resuming_then_unreachable() {
    let Some(mut stage) = PageTest::open().await else { return };
    stage.link().await;
    stage.browser.card().state("connected").await;
    screen::narrow(&stage.browser).await;
    stage.program.kill();
    stage.simulator.faults().set(Fault::SilentLogin);
    stage.start_again();
    let (browser, card) = (&stage.browser, stage.browser.card());
    let shown = card.reason("resuming").await;
    assert_eq!((&*shown.phone, &*shown.title), (NUMBER_SHOWN, "Menyambungkan kembali…"));
    // The browser itself writes into the console that the service was down.
    browser.complaints().await;
    screen::keep(browser, "23-resuming").await;

    stage.simulator.unreachable(true);
    let shown = card.reason("whatsapp-unreachable").await;
    assert_eq!((&*shown.state, &*shown.phone), ("connecting", NUMBER_SHOWN), "the account is still known");
    screen::keep(browser, "24-whatsapp-unreachable").await;

    card.click("#disconnect").await;
    card.click("#confirm").await;
    let shown = card.reason("unlinked-by-user").await;
    assert!(shown.words.contains("Hapus juga perangkat ini di ponsel"), "WhatsApp was not reached: {shown:#?}");
    screen::keep(browser, "25-unlinked-and-not-told").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unanswered_pairing_can_be_cancelled_or_goes_on() {
    let Some(stage) = PageTest::open().await else { return };
    let card = stage.browser.card();
    card.state("disconnected").await;
    screen::narrow(&stage.browser).await;
    stage.simulator.unreachable(true);
    card.click("#connect").await;
    let shown = card.reason("whatsapp-unreachable").await;
    assert!(shown.offers("cancel") && !shown.offers("disconnect"), "nothing is linked: {shown:#?}");
    screen::keep(&stage.browser, "31-unreachable-before-a-code").await;
    card.click("#cancel").await;
    card.reason("cancelled").await;
    card.click("#connect").await;
    card.state("connecting").await;
    stage.simulator.unreachable(false);
    card.code().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_that_do_not_open_lead_to_the_one_way_out() {
    let Some(mut stage) = PageTest::open().await else { return };
    let device = stage.link().await;
    stage.browser.card().state("connected").await;
    screen::narrow(&stage.browser).await;
    stage.program.terminate();
    assert!(stage.program.wait().success());
    damage_credentials(&stage.program.data_dir);
    stage.start_again();
    let (browser, card) = (&stage.browser, stage.browser.card());
    let shown = card.reason("credentials-unreadable").await;
    assert!(shown.offers("disconnect") && !shown.offers("connect"), "{shown:#?}");
    browser.complaints().await;
    screen::keep(browser, "26-credentials-unreadable").await;

    card.click("#disconnect").await;
    card.click("#confirm").await;
    card.reason("unlinked-by-user").await;
    stage.link_anew(device).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn link_that_keeps_crashing_is_shown_as_an_internal_error() {
    let folder = tempfile::tempdir().expect("a directory");
    let stanza = folder.path().join("bad-stanza");
    let stubs = [("SIM_STUBS", folder.path().to_str().expect("a name in UTF-8"))];
    let Some(stage) = PageTest::set(&stubs, "id-ID").await else { return };
    let (browser, card) = (&stage.browser, stage.browser.card());
    stage.sign_in().await;
    card.state("disconnected").await;
    screen::narrow(browser).await;
    std::fs::write(&stanza, "").expect("written");
    card.click("#connect").await;
    // Each link that meets the file panics and takes it away.
    let shown = card
        .until("the end", |shown| {
            std::fs::write(&stanza, "").expect("written");
            shown.reason == "internal"
        })
        .await;
    assert!(shown.offers("connect"), "{shown:#?}");
    screen::keep(browser, "27-internal").await;
    std::fs::remove_file(&stanza).expect("no link has read it");
    card.click("#connect").await;
    card.code().await;
}
