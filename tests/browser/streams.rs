use serde_json::json;
use tautan_test_support::{token, within};

use crate::{
    browser::PAGE,
    listener::{Listener, ids},
    page_test::{NUMBER_SHOWN, PageTest, TENANT},
    screen,
    wire::Wire,
};

#[tokio::test(flavor = "multi_thread")]
async fn cut_stream_resumes_with_its_last_event_id() {
    let Some(stage) = PageTest::set(&[], "id-ID").await else { return };
    let wire = Wire::to(stage.program.base()).await;
    stage.browser.set_token(&wire.base(), &token(TENANT)).await;
    stage.browser.goto(&format!("{}{PAGE}", wire.base())).await;
    let api = stage.program.api(TENANT);
    let mut uncut = api.events().await;
    let mut received = vec![uncut.until_status("disconnected").await];
    let listener = Listener::open(&stage.browser).await;
    listener.until_last("disconnected").await;

    api.connect().await;
    let before = listener.until("a code", |heard| heard.last().is_some_and(|event| event.name == "qr-code")).await;
    let last_id = &before.last().expect("the code").id;

    wire.cut();
    let code = before.last().expect("the code").data["qrText"].as_str().expect("its text");
    let device = within("the scan", stage.phone.scan(code)).await.expect("the phone takes the code");
    while !received.last().expect("the first").is_status("connected") {
        received.push(within("the next event", uncut.next()).await.expect("it goes on"));
    }
    assert_eq!(listener.heard().await, before, "nothing comes over a wire that is cut");
    wire.mend();

    let heard = listener.until_last("connected").await;
    assert!(wire.headers("last-event-id").contains(last_id), "{:?}", wire.headers("last-event-id"));
    let words = |name: &str, data: &serde_json::Value| json!([name, data["status"], data["reason"], data["qrText"]]);
    let heard_words: Vec<_> = heard.iter().map(|event| words(&event.name, &event.data)).collect();
    let told_words: Vec<_> = received.iter().map(|event| words(&event.name, &event.data)).collect();
    assert_eq!(heard_words, told_words, "exactly what an uncut stream received");

    assert!(stage.phone.unlink(device));
    let ids = ids(&listener.until_last("disconnected").await);
    assert!(ids.len() >= 5 && ids.windows(2).all(|pair| pair[0].0 == pair[1].0 && pair[0].1 < pair[1].1), "{ids:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn open_page_recovers_after_the_service_was_killed() {
    let Some(mut stage) = PageTest::open().await else { return };
    let device = stage.link().await;
    stage.browser.card().state("connected").await;
    stage.browser.run("window.untouched = true", Vec::new()).await;
    Listener::open(&stage.browser).await.until_last("connected").await;

    stage.program.kill();
    let shown = stage.browser.card().until("the cut", |shown| shown.stream == "lost" && !shown.notice.is_empty()).await;
    assert_eq!((&*shown.state, &*shown.phone), ("connected", NUMBER_SHOWN), "the last known state stays");
    assert!(shown.notice.contains("kehilangan sambungan"), "{shown:#?}");
    screen::keep_without_service(&stage.browser, "30-stream-lost").await;

    stage.start_again();
    assert_eq!(stage.browser.card().state("connected").await.phone, NUMBER_SHOWN);
    // Also the browser's own reconnection, without the page's script.
    let listener = Listener::again(&stage.browser);
    listener
        .until("the way back", |heard| {
            heard.len() > 1 && heard.last().is_some_and(|event| event.data["status"] == "connected")
        })
        .await;

    stage.program.kill();
    assert!(stage.phone.unlink(device));
    stage.start_again();
    let shown = stage.browser.card().reason("unlinked-by-phone").await;
    assert_eq!((&*shown.title, &*shown.notice), ("Sesi Terputus", ""));
    let ids = ids(&Listener::again(&stage.browser).until_last("disconnected").await);
    assert!(ids.windows(2).all(|pair| pair[0].0 != pair[1].0 || pair[0].1 < pair[1].1), "{ids:?}");
    assert_eq!(stage.browser.run("return window.untouched", Vec::new()).await, json!(true), "it was never reloaded");
}

/// Each try hangs for seconds. A notice that goes and comes with it would be read out again and again.
#[tokio::test(flavor = "multi_thread")]
async fn notice_of_a_lost_stream_stays_until_it_is_live() {
    let Some(stage) = PageTest::set(&[("TAUTAN_HEARTBEAT", "1s")], "id-ID").await else { return };
    stage.sign_in().await;
    let (browser, card) = (&stage.browser, stage.browser.card());
    card.state("disconnected").await;
    stage.program.pause();
    card.until("the loss", |shown| !shown.notice.is_empty()).await;
    let record = "const notice = document.querySelector('whatsapp-link').shadowRoot.querySelector('#notice');
        const seen = [];
        new MutationObserver(() => seen.push(notice.textContent)).observe(notice, { childList: true, subtree: true, characterData: true });
        window.recorded = seen";
    browser.run(record, vec![]).await;
    // Three tries at least: each is given up after 4 s, and the pause before it is 4 s at most by then.
    tokio::time::sleep(std::time::Duration::from_secs(16)).await;
    assert_eq!(browser.run("return window.recorded", vec![]).await, json!([]));
    stage.program.resume();
    card.until("the way back", |shown| shown.stream == "live" && shown.notice.is_empty()).await;
    assert_eq!(browser.run("return window.recorded", vec![]).await, json!([""]));
}

/// A router that drops a connection closes nothing: EventSource does not notice, and the page would show "connected"
/// for hours after the phone has unlinked.
#[tokio::test(flavor = "multi_thread")]
async fn stream_that_falls_silent_is_replaced_after_missed_heartbeats() {
    let Some(stage) = PageTest::set(&[("TAUTAN_HEARTBEAT", "1s")], "id-ID").await else { return };
    let wire = Wire::to(stage.program.base()).await;
    stage.browser.set_token(&wire.base(), &token(TENANT)).await;
    stage.browser.goto(&format!("{}{PAGE}", wire.base())).await;
    let device = stage.link().await;
    let card = stage.browser.card();
    card.state("connected").await;

    wire.fall_silent();
    assert!(stage.phone.unlink(device));
    let shown = card.reason("unlinked-by-phone").await;
    assert_eq!((&*shown.stream, &*shown.notice), ("live", ""));
    // A line that lives is left alone.
    let opened = "return performance.getEntriesByType('resource').filter((it) => it.name.endsWith('/events')).length";
    let before = stage.browser.run(opened, Vec::new()).await;
    tokio::time::sleep(std::time::Duration::from_secs(4)).await;
    assert_eq!(stage.browser.run(opened, Vec::new()).await, before);
}

/// Two windows side by side: neither is hidden, so only the other one's word makes a page ask whose it is.
#[tokio::test(flavor = "multi_thread")]
async fn pages_beside_one_another_show_one_tenant() {
    let Some(stage) = PageTest::open().await else { return };
    stage.link().await;
    stage.link_as("other", "6289876543210").await;
    stage.browser.card().state("connected").await;
    let first = stage.browser.tab().await;
    stage.browser.run("Object.defineProperty(document, 'hidden', { get: () => false })", Vec::new()).await;
    stage.browser.new_tab().await;
    stage.sign_in_with(&token("other")).await;
    stage.browser.card().until("the other tenant", |shown| shown.phone == "+62 898-7654-3210").await;
    stage.browser.switch(&first).await;
    let shown = stage.browser.card().until("the other tenant", |shown| shown.phone == "+62 898-7654-3210").await;
    assert_eq!((&*shown.state, &*shown.stream), ("connected", "live"));
}
