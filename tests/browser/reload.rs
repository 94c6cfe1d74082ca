use tautan_test_support::within;

use crate::page_test::{NUMBER_SHOWN, PageTest};

#[tokio::test(flavor = "multi_thread")]
async fn reload_shows_the_same_state_again() {
    let Some(stage) = PageTest::open().await else { return };
    let card = stage.browser.card();
    assert_eq!(card.state("disconnected").await.reason, "never-linked");
    stage.browser.reload().await;
    assert_eq!(card.state("disconnected").await.reason, "never-linked");

    card.click("#connect").await;
    card.code().await;
    let code = card.scannable("#qr").await.expect("a code on the screen");
    stage.browser.reload().await;
    card.code().await;
    assert_eq!(card.scannable("#qr").await.as_ref(), Some(&code), "the same code, not a new one");

    let device = within("the scan", stage.phone.scan(&code)).await.expect("the phone takes the code");
    card.state("connected").await;
    stage.browser.reload().await;
    let shown = card.state("connected").await;
    assert_eq!((&*shown.phone, &*shown.title), (NUMBER_SHOWN, "WhatsApp Terhubung"));

    assert!(stage.phone.unlink(device));
    card.reason("unlinked-by-phone").await;
    stage.browser.reload().await;
    card.reason("unlinked-by-phone").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn second_tab_shows_the_current_status_and_both_follow() {
    let Some(stage) = PageTest::open().await else { return };
    let (browser, card) = (&stage.browser, stage.browser.card());
    card.state("disconnected").await;
    card.click("#connect").await;
    card.code().await;
    let code = card.scannable("#qr").await.expect("a code on the screen");

    let first = browser.tab().await;
    let second = browser.new_tab().await;
    browser.goto(&stage.page()).await;
    card.code().await;
    assert_eq!(card.scannable("#qr").await.as_ref(), Some(&code));

    let device = within("the scan", stage.phone.scan(&code)).await.expect("the phone takes the code");
    for tab in [&second, &first] {
        browser.switch(tab).await;
        assert_eq!(card.state("connected").await.phone, NUMBER_SHOWN);
    }
    assert!(stage.phone.unlink(device));
    for tab in [&first, &second] {
        browser.switch(tab).await;
        card.reason("unlinked-by-phone").await;
    }
}
