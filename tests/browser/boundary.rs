use std::time::Duration;

use serde_json::json;

use crate::{
    double::{self, Asked, Double, Reply},
    screen,
    stage::Stage,
};

const STATUS: &str = r#"{"status":"connected","phoneNumber":"6281234567890","name":"Toko Sari","reason":null,"retryable":false,"until":null,"since":"2026-01-28T10:00:00Z","stale":false}"#;
const EVENTS: &str = "/api/whatsapp/events";

fn connected() -> Reply {
    Reply::stream(&format!("event: connection-status\ndata: {STATUS}\n\n"))
}

/// A page of its own whose service answers requests for the stream as told; the rest of the world is the real one.
async fn page(stage: &Stage, before: &str, stream: impl Fn(usize) -> Reply + Send + Sync + 'static) -> Double {
    let script = stage.program.base().to_owned();
    let html = double::host(&script, &format!("<script>{before}</script>"), "/");
    let double =
        Double::start(move |path, before| if path == EVENTS { stream(before) } else { Reply::html(&html) }).await;
    stage.browser.goto(&double.base()).await;
    double
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_leaves_a_card_that_says_so_with_a_retry() {
    let Some(stage) = Stage::set(&[], "id-ID").await else { return };
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
async fn an_exception_in_our_own_code_leaves_the_same_card_and_tells_the_host() {
    let Some(stage) = Stage::set(&[], "id-ID").await else { return };
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

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_the_browser_gave_up_is_rebuilt_with_growing_pauses_and_without_an_id() {
    let Some(stage) = Stage::set(&[], "id-ID").await else { return };
    // Each try is the EventSource's request and the question why it failed.
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
async fn too_many_streams_are_told_apart_and_waited_for_as_long_as_the_service_says() {
    let Some(stage) = Stage::set(&[], "id-ID").await else { return };
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
