//! The stream as SSE clients for browsers see it that others wrote, on a dashboard of another origin that may use the
//! service. Those of other runtimes are tried in `tests/process`.

use std::{
    path::{Path, PathBuf},
    sync::OnceLock,
    time::{Duration, Instant},
};

use tautan_test_support::{DEADLINE, Event, Network, Way, ids, npm_packages, token, within};

use crate::{
    browser::Browser,
    double::{Double, Reply},
    page_test::{PageTest, TENANT},
};

/// `None`: node or npm is missing, and the test has said so.
fn packages() -> Option<&'static Path> {
    static FOLDER: OnceLock<Option<PathBuf>> = OnceLock::new();
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"));
    FOLDER.get_or_init(|| npm_packages(&source(), &target.join("clients-npm"))).as_deref()
}

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients")
}

/// Serves a page of `tests/clients` and what npm has installed, where the packages import each other without `.js`.
async fn dashboard(page: &str) -> Option<Double> {
    let packages = packages()?.join("node_modules");
    let page = std::fs::read_to_string(source().join(page)).expect("the page is there");
    let double = Double::start(move |path, _| {
        if path.starts_with("/?") {
            return Reply::html(&page);
        }
        let file = packages.join(path.trim_start_matches('/'));
        match std::fs::read_to_string(&file).or_else(|_| std::fs::read_to_string(file.with_added_extension("js"))) {
            Ok(script) => Reply::script(&script),
            Err(_) => Reply::refusal("404 Not Found", "not-found"),
        }
    });
    Some(double.await)
}

/// Events that the client has dispatched, up to the first status with this word.
async fn until_status(browser: &Browser, status: &str) -> Vec<Event> {
    let give_up = Instant::now() + DEADLINE;
    let mut seen: Vec<Event> = Vec::new();
    while !seen.last().is_some_and(|event| event.is_status(status)) {
        assert!(Instant::now() < give_up, "no {status} after {seen:#?}");
        let next = browser.run("return seen.shift() ?? null", Vec::new()).await;
        if next.is_null() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        } else {
            seen.push(Event::dispatched(&next));
        }
    }
    seen
}

/// The present, live events, and after a cut everything that happened meanwhile.
async fn sees_all(page: &str) {
    let Some(dashboard) = dashboard(page).await else { return };
    let Some(stage) = PageTest::set(&[("TAUTAN_ALLOWED_ORIGINS", &dashboard.base())], "id-ID").await else { return };
    let browser = &stage.browser;
    let address = stage.program.base().trim_start_matches("http://").parse().expect("an address");
    let network = Network::to(address).await.expect("a free port");
    let service = format!("http://{}", network.address());
    browser.set_token(&service, &token(TENANT)).await;
    let url = format!("{}/?url={service}/api/whatsapp/events&token={}", dashboard.base(), token(TENANT));
    browser.goto(&url).await;

    let present = until_status(browser, "disconnected").await;
    assert_eq!(present[0].name, "heartbeat", "{present:?}");
    assert_eq!(present[present.len() - 1].data["reason"], "never-linked");
    let device = stage.link().await;
    let live = until_status(browser, "connected").await;
    assert!(live.iter().any(|event| event.name == "qr-code"), "{live:?}");

    let mut watching = stage.program.api(TENANT).events_after(ids(&live).last().copied()).await;
    network.set(Way::Cut);
    assert!(stage.simulator.cut(device));
    let mut missed = Vec::new();
    while missed.last().is_none_or(|event: &Event| !event.is_status("connected")) {
        missed.push(within("an event", watching.next()).await.expect("the stream goes on"));
    }
    network.set(Way::Open);
    let caught_up = until_status(browser, "connected").await;
    assert!(missed.iter().any(|event| event.data["reason"] == "reconnecting"), "{missed:?}");
    assert_eq!(ids(&caught_up), ids(&missed), "{caught_up:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn event_source_polyfill_sees_all_from_another_origin() {
    sees_all("event-source-polyfill.html").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fetch_event_source_sees_all_from_another_origin() {
    sees_all("fetch-event-source.html").await;
}
