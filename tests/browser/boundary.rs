use std::time::Duration;

use serde_json::json;

use crate::{
    double::{self, Asked, Double, Reply},
    page_test::PageTest,
    screen,
};

const STATUS: &str = r#"{"status":"connected","phoneNumber":"6281234567890","name":"Toko Sari","reason":null,"retryable":false,"until":null,"since":"2026-01-28T10:00:00Z","stale":false}"#;
const EVENTS: &str = "/api/whatsapp/events";

fn connected() -> Reply {
    Reply::stream(&format!("event: connection-status\ndata: {STATUS}\n\n"))
}

/// A page whose service answers requests for the stream as the test says; all other requests reach the real service.
async fn page(stage: &PageTest, before: &str, stream: impl Fn(usize) -> Reply + Send + Sync + 'static) -> Double {
    let script = stage.program.base().to_owned();
    let html = double::host(&script, &format!("<script>{before}</script>"), "/");
    let double =
        Double::start(move |path, before| if path == EVENTS { stream(before) } else { Reply::html(&html) }).await;
    stage.browser.goto(&double.base()).await;
    double
}

#[tokio::test(flavor = "multi_thread")]
async fn unreadable_answer_shows_a_card_with_a_retry() {
    let Some(stage) = PageTest::set(&[], "id-ID").await else { return };
    let card = stage.browser.card();
    let unreadable = ["{\"status\":\"conn", "{\"status\":\"levitating\"}", "null", "[]", "\"connected\"", "{}"];
    let _page = page(&stage, "", move |before| match unreadable.get(before) {
        Some(data) => Reply::stream(&format!("event: connection-status\ndata: {data}\n\n")),
        None => connected(),
    })
    .await;
    for data in unreadable {
        let shown = card.until(data, |shown| shown.state == "broken" && shown.offers("retry")).await;
        assert_eq!((&*shown.title, &*shown.status), ("Status tidak dapat ditampilkan", "Tidak Diketahui"));
        if data == unreadable[0] {
            screen::keep(&stage.browser, "33-broken").await;
        }
        card.click("#retry").await;
        card.until("the next answer", |shown| *shown != Default::default()).await;
    }
    card.state("connected").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn exception_in_the_element_shows_a_card_and_an_event() {
    let Some(stage) = PageTest::set(&[], "id-ID").await else { return };
    let card = stage.browser.card();
    let sabotage = "
        window.heard = [];
        document.addEventListener('DOMContentLoaded', () =>
            document.querySelector('whatsapp-link').addEventListener('error', ({ detail }) => heard.push(detail.code)));
        const healthy = Date.prototype.toLocaleString;
        Date.prototype.toLocaleString = () => { throw new RangeError('a broken browser') };
        window.heal = () => { Date.prototype.toLocaleString = healthy };
    ";
    let _page = page(&stage, sabotage, |_| connected()).await;
    card.until("the boundary", |shown| shown.state == "broken" && shown.offers("retry")).await;
    assert_eq!(stage.browser.run("return [...new Set(heard)]", vec![]).await, json!(["broken"]));
    stage.browser.run("heal()", vec![]).await;
    card.click("#retry").await;
    card.state("connected").await;
}

/// An instance of an earlier version sends no heartbeats: none can be missed.
#[tokio::test(flavor = "multi_thread")]
async fn stream_that_never_had_a_heartbeat_is_left_alone() {
    let Some(stage) = PageTest::set(&[], "id-ID").await else { return };
    let page = page(&stage, "", |_| connected()).await;
    let card = stage.browser.card();
    card.state("connected").await;
    stage.browser.run("const real = Date.now; Date.now = () => real() + 600_000", vec![]).await;
    // The element looks four times a second.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(card.state("connected").await.stream, "live");
    assert_eq!(page.asked(EVENTS).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn abandoned_stream_is_reopened_with_growing_pauses() {
    let Some(stage) = PageTest::set(&[], "id-ID").await else { return };
    // Each try is two requests: one by the EventSource, and one that asks why it failed.
    let page = page(&stage, "", |before| match before {
        0 => Reply::stream(&format!("id: 1-1\nevent: connection-status\ndata: {STATUS}\n\n")).with("x-first: 1"),
        1..=4 => Reply::refusal("500 Internal Server Error", "internal"),
        _ => connected(),
    })
    .await;
    let card = stage.browser.card();
    card.state("connected").await;
    stage.browser.run("document.querySelector('whatsapp-link').reconnect()", vec![]).await;
    let lost = card.until("the loss", |shown| !shown.notice.is_empty()).await;
    assert!(lost.phone.is_empty() || lost.state == "connected", "the last state stays: {lost:#?}");
    card.until("the way back", |shown| shown.stream == "live" && shown.notice.is_empty()).await;

    let asked = page.asked(EVENTS);
    let tries: Vec<&Asked> = asked.iter().filter(|it| it.head.contains("text/event-stream")).collect();
    let pauses: Vec<Duration> = tries.windows(2).map(|pair| pair[1].at - pair[0].at).skip(1).collect();
    assert_eq!(pauses.len(), 2, "{asked:#?}");
    for (pause, seconds) in pauses.iter().zip([1.0, 2.0]) {
        let range = Duration::from_secs_f64(seconds)..Duration::from_secs_f64(seconds * 1.5 + 0.9);
        assert!(range.contains(pause), "{pauses:?}");
    }
    assert!(
        tries[1..].iter().all(|it| !it.head.to_lowercase().contains("last-event-id")),
        "it begins with the present"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_stream_waits_as_long_as_retry_after_says() {
    let Some(stage) = PageTest::set(&[], "id-ID").await else { return };
    let page = page(&stage, "", |before| match before {
        0 | 1 => Reply::refusal("429 Too Many Requests", "too-many-streams").with("retry-after: 2"),
        _ => connected(),
    })
    .await;
    let card = stage.browser.card();
    let shown = card.until("the notice", |shown| shown.notice.contains("Terlalu banyak tab")).await;
    assert_eq!(shown.state, "loading");
    card.state("connected").await;
    let asked = page.asked(EVENTS);
    let pause = asked.last().expect("requests").at - asked[1].at;
    assert!(pause >= Duration::from_secs(2) && pause < Duration::from_secs(5), "{pause:?}");
}

/// Two clocks that disagree about a token's end: each stream opens, and is over at once.
#[tokio::test(flavor = "multi_thread")]
async fn token_that_ends_at_once_is_not_retried_in_a_loop() {
    let Some(stage) = PageTest::set(&[], "id-ID").await else { return };
    let page = page(&stage, "", |_| {
        let events =
            format!("retry: 1000\n\nevent: connection-status\ndata: {STATUS}\n\nevent: token-expired\ndata: {{}}\n\n");
        Reply::stream(&events).that_ends()
    })
    .await;
    let card = stage.browser.card();
    card.until("the status", |shown| shown.state == "connected").await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    let tries = page.asked(EVENTS).len();
    assert!((2..=6).contains(&tries), "{tries} requests in four seconds");
    let shown = card.look().await;
    assert!(shown.stream != "signed-out", "no 401 has said so: {shown:#?}");
}

fn event(name: &str, data: &str) -> String {
    format!("event: {name}\ndata: {data}\n\n")
}

/// The code that the phone shows now counts, whatever the card has shown before under the same title.
#[tokio::test(flavor = "multi_thread")]
async fn code_to_compare_follows_the_newest_one() {
    let Some(stage) = PageTest::set(&[], "id-ID").await else { return };
    let status = r#"{"status":"connecting","reason":"passkey-required","since":"2026-01-28T10:00:00.123Z","stale":false,"pairing":"a"}"#;
    let code = |code: &str| {
        event("passkey-required", &format!(r#"{{"step":"compare","code":"{code}","expiresIn":60,"pairing":"a"}}"#))
    };
    let events = event("connection-status", status) + &code("1111-1111") + &code("2222-2222");
    let _page = page(&stage, "", move |_| Reply::stream(&events)).await;
    let shown = stage.browser.card().until("a code", |shown| !shown.compare.is_empty()).await;
    assert_eq!((&*shown.mode, &*shown.compare), ("compare", "2222-2222"));
}

/// Cancelled and begun anew within one moment, which this page has missed.
#[tokio::test(flavor = "multi_thread")]
async fn codes_die_with_their_pairing_though_no_time_differs() {
    let Some(stage) = PageTest::set(&[], "id-ID").await else { return };
    let status = |status: &str, reason: &str, pairing: &str| {
        let data = format!(
            r#"{{"status":"{status}","reason":{reason},"since":"2026-01-28T10:00:00.123Z","stale":false,"pairing":"{pairing}"}}"#
        );
        event("connection-status", &data)
    };
    let old = status("qr_pending", "null", "a")
        + &event("qr-code", r#"{"qrCode":"data:,old","attempt":1,"maxAttempts":6,"expiresIn":60,"pairing":"a"}"#)
        + &event("pair-code", r#"{"code":"ABCD-1234","phoneNumber":"6281234567890","expiresIn":160,"pairing":"a"}"#);
    let events = old + &status("qr_pending", "null", "b");
    let _page = page(&stage, "", move |_| Reply::stream(&events)).await;
    let shown = stage.browser.card().until("the new window", |shown| shown.state == "qr_pending").await;
    assert_eq!((&*shown.mode, &*shown.pair, shown.qr), ("starting", "", false), "{shown:#?}");
}

/// The tabs of one service know each other by its address, and six streams block it.
#[tokio::test(flavor = "multi_thread")]
async fn tab_gives_way_to_one_that_spells_the_base_otherwise() {
    let Some(stage) = PageTest::set(&[], "id-ID").await else { return };
    let pages = ["/", "."].map(|base| double::host(stage.program.base(), "", base));
    let double = Double::start(move |path, _| match path {
        EVENTS => connected(),
        "/dot" => Reply::html(&pages[1]),
        _ => Reply::html(&pages[0]),
    })
    .await;
    let (browser, card) = (&stage.browser, stage.browser.card());
    browser.goto(&double.base()).await;
    card.state("connected").await;
    let note =
        "setInterval(() => document.hidden && streams.every(({ readyState }) => readyState === EventSource.CLOSED)
        && localStorage.setItem('quiet', 'yes'), 20)";
    browser.run(note, vec![]).await;
    browser.new_tab().await;
    browser.goto(&format!("{}/dot", double.base())).await;
    card.state("connected").await;
    let quiet = "const look = () => localStorage.getItem('quiet') ? arguments[0](true) : setTimeout(look, 20); look();";
    assert_eq!(browser.run_async(quiet, vec![]).await, json!(true));
}
