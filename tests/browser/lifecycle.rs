use std::time::Duration;

use serde_json::json;
use tautan_test_support::{token, within};

use crate::page_test::{NUMBER_SHOWN, PageTest};

const OPEN: &str = "return streams.map((stream) => stream.readyState !== EventSource.CLOSED)";

#[tokio::test(flavor = "multi_thread")]
async fn page_restored_from_the_cache_reopens_its_stream() {
    let Some(stage) = PageTest::open().await else { return };
    let (browser, card) = (&stage.browser, stage.browser.card());
    card.state("disconnected").await;
    browser.run("window.untouched = true", vec![]).await;
    browser.goto(&format!("{}/healthz", stage.program.base())).await;
    stage.link().await;
    browser.run("history.back()", vec![]).await;
    assert_eq!(card.state("connected").await.phone, NUMBER_SHOWN);
    assert_eq!(
        browser.run("return window.untouched", vec![]).await,
        json!(true),
        "it came out of the back/forward cache"
    );
    assert_eq!(browser.run(OPEN, vec![]).await, json!([false, true]));
}

/// A minute of this page lasts half a second. Reading a hidden tab would show it, so it leaves a note where another tab
/// of its origin can read it: of a stream that was closed while it was hidden, and of one that was opened then.
async fn hidden_in_a_hurry(stage: &PageTest) {
    let hurry = "{ const real = setTimeout; window.setTimeout = (act, ms, ...rest) => real(act, ms === 60_000 ? 500 : ms, ...rest); }";
    stage.browser.devtools("Page.addScriptToEvaluateOnNewDocument", json!({ "source": hurry })).await;
    stage.sign_in().await;
    stage.browser.card().state("disconnected").await;
    let note = "setInterval(() => {
        const open = streams.some((stream) => stream.readyState !== EventSource.CLOSED);
        if (!document.hidden) return;
        if (!open) localStorage.setItem('quiet', 'yes');
        else if (localStorage.getItem('quiet')) localStorage.setItem('again', 'yes');
    }, 20)";
    stage.browser.run(note, vec![]).await;
}

/// In another tab, which shows no page of ours.
async fn is_quiet(stage: &PageTest) {
    stage.browser.new_tab().await;
    stage.browser.goto(&format!("{}/healthz", stage.program.base())).await;
    let quiet = "const look = () => localStorage.getItem('quiet') ? arguments[0](true) : setTimeout(look, 20); look();";
    assert_eq!(stage.browser.run_async(quiet, vec![]).await, json!(true));
}

#[tokio::test(flavor = "multi_thread")]
async fn tab_hidden_for_a_minute_holds_no_stream() {
    let Some(stage) = PageTest::set(&[], "id-ID").await else { return };
    let (browser, card) = (&stage.browser, stage.browser.card());
    hidden_in_a_hurry(&stage).await;
    let first = browser.tab().await;
    is_quiet(&stage).await;
    stage.link().await;

    browser.switch(&first).await;
    assert_eq!(card.state("connected").await.phone, NUMBER_SHOWN);
}

/// An open stream of a hidden tab would request one window of codes after the other from WhatsApp.
#[tokio::test(flavor = "multi_thread")]
async fn hidden_tab_requests_no_new_code() {
    // Of the first code nothing is left after 1.8 s.
    let Some(stage) = PageTest::set(&[("SIM_QR_PACE", "0.03")], "id-ID").await else { return };
    let (browser, card) = (&stage.browser, stage.browser.card());
    hidden_in_a_hurry(&stage).await;
    card.click("#connect").await;
    card.code().await;
    is_quiet(&stage).await;
    // For longer than the page waits for a code that is overdue.
    tokio::time::sleep(Duration::from_secs(15)).await;
    assert_eq!(browser.run("return localStorage.getItem('again')", vec![]).await, json!(null));
}

#[tokio::test(flavor = "multi_thread")]
async fn eight_tabs_do_not_block_each_other_over_six_connections() {
    let Some(stage) = PageTest::open().await else { return };
    let (browser, card) = (&stage.browser, stage.browser.card());
    card.state("disconnected").await;
    let mut tabs = vec![browser.tab().await];
    for _ in 0..7 {
        tabs.push(browser.new_tab().await);
        browser.goto(&stage.page()).await;
        card.state("disconnected").await;
    }
    card.click("#connect").await;
    card.code().await;
    let code = card.scannable("#qr").await.expect("a code on the screen");
    within("the scan", stage.phone.scan(&code)).await.expect("the phone takes the code");
    for tab in [&tabs[7], &tabs[0], &tabs[3]] {
        browser.switch(tab).await;
        assert_eq!(card.state("connected").await.phone, NUMBER_SHOWN);
    }
}

/// While the machine sleeps, no timer of the page runs, and its sockets end without an error.
#[tokio::test(flavor = "multi_thread")]
async fn page_opens_a_new_stream_after_the_machine_slept() {
    let Some(stage) = PageTest::open().await else { return };
    let (browser, card) = (&stage.browser, stage.browser.card());
    card.state("disconnected").await;
    browser.run("const real = Date.now; Date.now = () => real() + 600_000", vec![]).await;
    let second = "const look = () => streams[1]?.readyState === 1 ? arguments[0](true) : setTimeout(look, 20); look();";
    assert_eq!(browser.run_async(second, vec![]).await, json!(true));
    card.state("disconnected").await;
    assert_eq!(browser.run(OPEN, vec![]).await, json!([false, true]), "one, and no third");
}

/// The first tab receives no event: another page of the product signs another user in.
#[tokio::test(flavor = "multi_thread")]
async fn tab_asks_whose_it_is_when_it_is_shown_again() {
    let Some(stage) = PageTest::open().await else { return };
    let (browser, card) = (&stage.browser, stage.browser.card());
    stage.link().await;
    card.state("connected").await;
    stage.link_as("other", "6289876543210").await;
    let first = browser.tab().await;
    browser.new_tab().await;
    browser.goto(&format!("{}/healthz", stage.program.base())).await;
    browser.set_token(stage.program.base(), &token("other")).await;
    browser.switch(&first).await;
    let shown = card.until("the other tenant", |shown| shown.phone == "+62 898-7654-3210").await;
    assert_eq!(shown.state, "connected");
    let shown = card.state("connected").await;
    assert_eq!(shown.phone, "+62 898-7654-3210");
}
