use std::sync::Arc;

use serde_json::json;
use tautan::events::{ConnectingReason, EndReason};

use crate::{
    axe,
    browser::Browser,
    card::Shown,
    double::{self, Double, Reply},
    driver::Driver,
    page_test::PageTest,
    screen,
};

/// What only this stand-in shows here. `tests/process` forces both. Every other state is forced for real in this suite, by
/// the simulator, by what happens to the program or by what happens to its store, and has its pictures there.
const NOT_FORCED: [&str; 2] = ["other-account", "proxy-failed"];

/// Instead of a platform: WhatsApp did not name one.
const NO_PLATFORM: &str = "no-platform";

/// A page whose element gets one status, which the test chooses, from a stand-in of the service. The simulator cannot cause
/// all reasons.
async fn page_with_fixed_status(stage: &PageTest) -> Double {
    let script = stage.program.base().to_owned();
    Double::start(move |path, _| match path.strip_prefix("/fixed/") {
        Some(rest) => {
            let mut words = rest.split('/');
            let (status, reason) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
            let retryable = EndReason::ALL.iter().any(|it| it.as_str() == reason && it.retryable());
            let phone = (status == "connected" || status == "connecting" && !["starting", "scanned", "passkey-required"].contains(&reason)).then_some("6281234567890");
            let mut data = json!({ "status": status, "reason": reason, "retryable": retryable, "phoneNumber": phone, "name": null, "until": null, "since": "2026-01-28T10:00:00Z", "stale": false });
            // A connected card has no reason; here the field holds the platform.
            if status == "connected" && reason != NO_PLATFORM {
                data["platform"] = json!(reason);
            }
            Reply::stream(&format!("event: connection-status\ndata: {data}\n\n"))
        }
        None => Reply::html(&double::host(&script, "", "/fixed/disconnected/never-linked")),
    })
    .await
}

async fn show_status(browser: &Browser, status: &str, reason: &str) -> Shown {
    let base = format!("/fixed/{status}/{reason}");
    browser.run("document.querySelector('whatsapp-link').setAttribute('base', arguments[0])", vec![json!(base)]).await;
    browser.card().reason(reason).await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_reason_has_a_title_a_sentence_and_an_action() {
    let Some(stage) = PageTest::set(&[], "id-ID").await else { return };
    let (browser, page) = (&stage.browser, page_with_fixed_status(&stage).await);
    browser.goto(&page.base()).await;
    let connecting = ConnectingReason::ALL.iter().map(|reason| ("connecting", reason.as_str(), "disconnect"));
    let ended = EndReason::ALL.iter().map(|reason| ("disconnected", reason.as_str(), "connect"));
    let mut titles = Vec::new();
    for (number, (status, reason, action)) in connecting.chain(ended).enumerate() {
        let shown = show_status(browser, status, reason).await;
        let action = match reason {
            "starting" | "passkey-required" => "cancel",
            "credentials-unreadable" => "disconnect",
            _ => action,
        };
        assert!(!shown.title.is_empty() && !shown.text.is_empty(), "{shown:#?}");
        assert!(shown.offers(action) || reason == "scanned", "{reason}: {shown:#?}");
        assert_eq!(browser.shifts().await, json!([]), "{reason}: this moved by itself");
        titles.push(shown.title);
        if NOT_FORCED.contains(&reason) {
            screen::keep(browser, &format!("{:02}-reason-{reason}", 20 + number)).await;
        }
    }
    titles.sort();
    titles.dedup();
    assert!(
        titles.len() > ConnectingReason::ALL.len() + EndReason::ALL.len() - 3,
        "one sentence for many reasons: {titles:#?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_reason_gets_a_general_sentence() {
    let Some(stage) = PageTest::set(&[], "id-ID").await else { return };
    let (browser, page) = (&stage.browser, page_with_fixed_status(&stage).await);
    browser.goto(&page.base()).await;
    let shown = show_status(browser, "disconnected", "moon-phase").await;
    assert_eq!(&*shown.title, "Sesi Terputus");
    assert!(shown.offers("connect"));
    let shown = show_status(browser, "connecting", "moon-phase").await;
    assert_eq!(&*shown.title, "Menghubungkan…");
}

#[tokio::test(flavor = "multi_thread")]
async fn platform_has_its_common_name_or_that_of_whatsapp() {
    let Some(stage) = PageTest::set(&[], "id-ID").await else { return };
    let (browser, page) = (&stage.browser, page_with_fixed_status(&stage).await);
    browser.goto(&page.base()).await;
    for (word, named) in [
        ("android", "Android"),
        ("iphone", "iPhone"),
        ("smba", "Android, WhatsApp Business"),
        ("smbi", "iPhone, WhatsApp Business"),
        ("toaster", "toaster"),
    ] {
        let shown = show_status(browser, "connected", word).await;
        assert_eq!(shown.platform, named);
        assert!(shown.words.contains("Ponsel"), "{shown:#?}");
    }
    let shown = show_status(browser, "connected", NO_PLATFORM).await;
    assert!(shown.platform.is_empty() && !shown.words.contains("Ponsel"), "no empty line: {shown:#?}");
}

/// The pictures are in `target/screens`: someone has to look at a card that is written from right to left.
#[tokio::test(flavor = "multi_thread")]
async fn every_reason_is_shown_in_arabic() {
    let Some(stage) = PageTest::set(&[], "ar").await else { return };
    let (browser, page) = (&stage.browser, page_with_fixed_status(&stage).await);
    browser.goto(&page.base()).await;
    browser.run("document.querySelector('whatsapp-link').setAttribute('lang', 'ar')", vec![]).await;
    let connecting = ConnectingReason::ALL.iter().map(|reason| ("connecting", reason.as_str()));
    let ended = EndReason::ALL.iter().map(|reason| ("disconnected", reason.as_str()));
    for (status, reason) in connecting.chain(ended) {
        let shown = show_status(browser, status, reason).await;
        let other = shown.title.replace("WhatsApp", "").replace("QR", "");
        assert!(!other.is_empty() && !other.chars().any(|c| c.is_ascii_alphabetic()), "{reason}: {shown:#?}");
        screen::keep_narrow(browser, &format!("90-arabic-{reason}")).await;
    }
}

/// A phone that refuses a code tells its user, and not the server.
#[tokio::test(flavor = "multi_thread")]
async fn card_says_what_helps_when_the_phone_refuses_codes() {
    const REFUSED: &str = "Ponsel menolak kode?";
    let Some(stage) = PageTest::set(&[], "id-ID").await else { return };
    let browser = &stage.browser;
    let script = stage.program.base().to_owned();
    let service = Double::start(move |path, _| match path.strip_prefix("/window/") {
        Some(rest) => {
            let window = rest.split('/').next().unwrap_or_default();
            let status = json!({ "status": "qr_pending", "reason": null, "stale": false, "pairing": window });
            let code = json!({ "qrCode": "data:,", "qrText": "x", "expiresIn": 60, "attempt": 1, "maxAttempts": 6, "pairing": window });
            Reply::stream(&format!("event: connection-status\ndata: {status}\n\nevent: qr-code\ndata: {code}\n\n"))
        }
        None => Reply::html(&double::host(&script, "", "/window/one")),
    })
    .await;
    browser.goto(&service.base()).await;
    let card = browser.card();
    let shown = card.until("a window of codes", |shown| shown.mode == "qr_pending").await;
    assert!(!shown.words.contains(REFUSED), "the first window: {shown:#?}");
    browser.run("document.querySelector('whatsapp-link').setAttribute('base', '/window/two')", vec![]).await;
    card.until("what helps", |shown| shown.words.contains(REFUSED)).await;

    let page = page_with_fixed_status(&stage).await;
    browser.goto(&page.base()).await;
    assert!(show_status(browser, "disconnected", "qr-expired").await.words.contains(REFUSED));
    assert!(!show_status(browser, "disconnected", "cancelled").await.words.contains(REFUSED));
}

/// What never complains proves nothing.
#[tokio::test(flavor = "multi_thread")]
async fn axe_does_complain_about_a_button_without_a_name() {
    let Some(driver) = Driver::shared() else { return };
    let browser = Browser::start(Arc::clone(&driver), "id-ID").await;
    let page = Double::start(|_, _| {
        Reply::html("<!doctype html><html lang='id'><title>x</title><main><h1>x</h1><button></button></main></html>")
    })
    .await;
    browser.goto(&page.base()).await;
    let Some(found) = axe::complaints(&browser).await else { return };
    assert!(found.to_string().contains("button-name"), "{found}");
}
