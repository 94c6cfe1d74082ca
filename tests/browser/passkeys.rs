//! WhatsApp asks some accounts for a passkey between the scan and the link.

use reqwest::Method;
use serde_json::json;
use tautan_simulator::{DeviceId, Passkey, ScanError};
use tautan_test_support::within;
use tokio::task::JoinSet;

use crate::{
    page_test::{NUMBER_SHOWN, PageTest},
    screen,
    sign_in::token_accepted_for,
};

struct Scanned {
    stage: PageTest,
    passkey: Passkey,
    scan: JoinSet<Result<DeviceId, ScanError>>,
}

/// An account that asks for a passkey has scanned the page's code.
async fn scanned(environment: &[(&str, &str)]) -> Option<Scanned> {
    let stage = PageTest::set(environment, "id-ID").await?;
    let passkey = stage.phone.asks_for_passkey();
    stage.sign_in().await;
    let card = stage.browser.card();
    card.state("disconnected").await;
    screen::narrow(&stage.browser).await;
    card.click("#connect").await;
    card.code().await;
    let (phone, code) = (stage.phone.clone(), stage.offered().await);
    let mut scan = JoinSet::new();
    scan.spawn(async move { phone.scan(&code).await });
    Some(Scanned { stage, passkey, scan })
}

#[tokio::test(flavor = "multi_thread")]
async fn passkey_card_names_the_step_and_confirms_the_code() {
    let Some(Scanned { stage, passkey, mut scan }) = scanned(&[]).await else { return };
    let (browser, card) = (&stage.browser, stage.browser.card());
    let shown =
        card.until("the passkey", |shown| shown.mode == "passkey-required" && !shown.countdown.is_empty()).await;
    assert!(shown.text.contains("halaman ini tidak dapat memintanya"), "no false hope: {shown:#?}");
    assert!(shown.offers("cancel") && !shown.offers("same") && !shown.qr, "{shown:#?}");
    assert!((100..=160).contains(&shown.seconds()), "what is left of WhatsApp's window: {shown:#?}");
    screen::keep(browser, "20-passkey-required").await;

    shows_passkey(&stage, &passkey).await;
    let shown = card.until("the code", |shown| shown.mode == "compare" && !shown.compare.is_empty()).await;
    assert_eq!(stage.phone.passkey_code(), Some(shown.compare.clone()), "the phone shows the same");
    assert!(shown.offers("same") && shown.offers("cancel"), "{shown:#?}");
    screen::keep(browser, "21-passkey-compare").await;
    assert_eq!(stage.phone.devices(), [], "nothing is linked before the owner has compared");

    card.click("#same").await;
    let shown = card.state("connected").await;
    assert_eq!((&*shown.phone, &*shown.problem), (NUMBER_SHOWN, ""));
    within("the scan", scan.join_next()).await.expect("a scan").expect("no panic").expect("linked");
    assert_eq!(browser.complaints().await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn codes_that_differ_are_no_reason_to_link() {
    let Some(Scanned { stage, passkey, scan: _scan }) = scanned(&[]).await else { return };
    let card = stage.browser.card();
    shows_passkey(&stage, &passkey).await;
    card.until("the code", |shown| shown.mode == "compare").await;
    card.click("#cancel").await;
    card.reason("cancelled").await;
    assert_eq!(stage.phone.devices(), []);
}

/// Another tab received the events in between.
#[tokio::test(flavor = "multi_thread")]
async fn tab_restored_after_a_passkey_step_shows_the_new_code() {
    let Some(Scanned { stage, passkey, scan: _scan }) = scanned(&[]).await else { return };
    let (browser, card) = (&stage.browser, stage.browser.card());
    shows_passkey(&stage, &passkey).await;
    card.until("the code", |shown| shown.mode == "compare").await;
    let first = browser.tab().await;
    browser.new_tab().await;
    browser.goto(&stage.page()).await;
    card.until("the code", |shown| shown.mode == "compare").await;
    card.click("#cancel").await;
    card.reason("cancelled").await;
    card.click("#connect").await;
    card.code().await;

    browser.switch(&first).await;
    let shown = card.until("the new code", |shown| shown.mode == "qr_pending").await;
    assert!(shown.qr && shown.compare.is_empty() && !shown.offers("same"), "{shown:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn sign_in_that_ends_hides_the_code_to_compare() {
    let Some(Scanned { stage, passkey, scan: _scan }) = scanned(&[]).await else { return };
    let (browser, card) = (&stage.browser, stage.browser.card());
    shows_passkey(&stage, &passkey).await;
    card.until("the code", |shown| shown.mode == "compare").await;

    // The answer to the button is 401.
    browser.delete_token().await;
    card.click("#same").await;
    asks_to_sign_in(&stage).await;
    assert_eq!(stage.phone.devices(), [], "no signed-in user has confirmed");

    // The stream says that the sign-in has ended.
    stage.sign_in_with(&token_accepted_for(6)).await;
    card.until("the code again", |shown| shown.mode == "compare" && !shown.compare.is_empty()).await;
    asks_to_sign_in(&stage).await;
}

async fn asks_to_sign_in(stage: &PageTest) {
    let card = stage.browser.card();
    let shown = card.until("the signed-out view", |shown| shown.stream == "signed-out").await;
    assert_eq!((&*shown.title, &*shown.status, &*shown.compare), ("Masuk lagi", "Perlu Masuk", ""), "{shown:#?}");
    assert_eq!(shown.buttons, ["retry"], "{shown:#?}");
}

/// A page of the product cannot do this: the owner shows the passkey on a page of WhatsApp.
async fn shows_passkey(stage: &PageTest, passkey: &Passkey) {
    let api = stage.program.api("tenant");
    let asked = api.events().await.until("what is asked", |event| event.name == "passkey-required").await;
    let assertion = passkey.assertion(&asked.data["options"]);
    let answer = api.ask(Method::POST, "passkey").json(&json!({ "assertion": assertion })).send();
    assert!(within("the assertion", answer).await.expect("an answer").status().is_success());
}

#[tokio::test(flavor = "multi_thread")]
async fn passkey_timeout_is_shown_and_another_number_links() {
    // WhatsApp's window is over after 8 s.
    let Some(Scanned { stage, scan: _scan, .. }) = scanned(&[("SIM_QR_PACE", "0.05")]).await else { return };
    let card = stage.browser.card();
    let shown = card.reason("passkey-timeout").await;
    assert!(shown.offers("connect"), "{shown:#?}");
    screen::keep(&stage.browser, "22-passkey-timeout").await;
    card.click("#connect").await;
    card.code().await;
    let other = stage.simulator.phone("6289876543210", "Budi");
    within("the scan", other.scan(&stage.offered().await)).await.expect("the phone takes the code");
    card.state("connected").await;
}
