//! Another user has signed in, simulated by a service that does what the real one does rarely.

use serde_json::json;

use crate::{
    double::{self, Double, Reply},
    page_test::{NUMBER_SHOWN, PageTest},
};

const OTHER_SHOWN: &str = "+62 898-7654-3210";

fn connected(tenant: &str, number: &str) -> Reply {
    status(tenant, json!({ "status": "connected", "phoneNumber": number }))
}

fn never_linked(tenant: &str) -> Reply {
    status(tenant, json!({ "status": "disconnected", "reason": "never-linked" }))
}

fn status(tenant: &str, fields: serde_json::Value) -> Reply {
    let mut status = json!({
        "phoneNumber": null, "name": null, "reason": null, "retryable": false, "until": null,
        "since": "2026-01-28T10:00:00.123Z", "stale": false, "pairing": null, "tenantRef": tenant,
    });
    status.as_object_mut().expect("an object").extend(fields.as_object().expect("an object").clone());
    Reply::stream(&format!("event: connection-status\ndata: {status}\n\n"))
}

/// A page whose service refuses each command, since the page is another tenant's.
async fn page(stage: &PageTest, stream: impl Fn(usize) -> Reply + Send + Sync + 'static) -> Double {
    let hear = "<script>
        window.heard = [];
        for (const name of ['tenant-changed', 'disconnected']) document.addEventListener(name, () => heard.push(name));
    </script>";
    let html = double::host(stage.program.base(), hear, "/");
    let double = Double::start(move |path, before| match path {
        "/api/whatsapp/events" => stream(before),
        "/api/whatsapp/disconnect" => Reply::refusal("409 Conflict", "tenant-changed"),
        _ => Reply::html(&html),
    })
    .await;
    stage.browser.goto(&double.base()).await;
    double
}

/// A dashboard that switches the account itself names the new one before the stream says whose it is.
#[tokio::test(flavor = "multi_thread")]
async fn tenant_name_set_before_the_change_event_stays() {
    let Some(stage) = PageTest::set(&[], "id-ID").await else { return };
    let _page = page(&stage, |before| match before {
        0 => connected("a", "6281234567890"),
        1 => connected("b", "6289876543210"),
        _ => connected("a", "6281234567890"),
    })
    .await;
    let (browser, card) = (&stage.browser, stage.browser.card());
    card.until("the first tenant", |shown| shown.phone == NUMBER_SHOWN).await;
    let switch = "
        const link = document.querySelector('whatsapp-link');
        link.setAttribute('tenant-name', 'Warung Budi');
        link.reconnect();
    ";
    browser.run(switch, vec![]).await;
    let shown = card.until("the other tenant", |shown| shown.phone == OTHER_SHOWN).await;
    assert!(shown.words.contains("untuk Warung Budi"), "{shown:#?}");
    // The name that stood there while this tenant was shown is not the next one's.
    browser.run("document.querySelector('whatsapp-link').reconnect()", vec![]).await;
    let shown = card.until("the first tenant", |shown| shown.phone == NUMBER_SHOWN).await;
    assert!(!shown.words.contains("Warung Budi"), "{shown:#?}");
}

/// The host must learn of the second tenant's status, although it is the first one's.
#[tokio::test(flavor = "multi_thread")]
async fn equal_status_of_another_tenant_is_news() {
    let Some(stage) = PageTest::set(&[], "id-ID").await else { return };
    let _page = page(&stage, |before| never_linked(if before == 0 { "a" } else { "b" })).await;
    stage.browser.card().state("disconnected").await;
    stage.browser.run("document.querySelector('whatsapp-link').reconnect()", vec![]).await;
    let all = "const look = () => heard.length === 3 ? arguments[0](heard) : setTimeout(look, 20); look();";
    let heard = stage.browser.run_async(all, vec![]).await;
    assert_eq!(heard, json!(["disconnected", "tenant-changed", "disconnected"]));
}

/// Shows a first tenant. The next streams are refused, and those after them are another tenant's.
async fn page_refused_between_two_tenants(stage: &PageTest) -> Double {
    let page = page(stage, |before| match before {
        0 => connected("a", "6281234567890"),
        1..=4 => Reply::refusal("429 Too Many Requests", "too-many-streams").with("retry-after: 1"),
        _ => connected("b", "6289876543210"),
    })
    .await;
    stage.browser.card().until("the first tenant", |shown| shown.phone == NUMBER_SHOWN).await;
    page
}

async fn hides_the_account_until_the_other(stage: &PageTest) {
    let (browser, card) = (&stage.browser, stage.browser.card());
    let shown = card.until("the refusal", |shown| shown.notice.contains("Terlalu banyak tab")).await;
    assert_eq!((&*shown.state, &*shown.phone), ("loading", ""), "{shown:#?}");
    card.until("the other tenant", |shown| shown.phone == OTHER_SHOWN).await;
    assert_eq!(browser.run("return heard", vec![]).await, json!(["tenant-changed"]));
}

/// The number of the user before must not stay on the screen until a stream opens: it may be refused for minutes.
#[tokio::test(flavor = "multi_thread")]
async fn refused_command_hides_the_account_before_a_stream_opens() {
    let Some(stage) = PageTest::set(&[], "id-ID").await else { return };
    let _page = page_refused_between_two_tenants(&stage).await;
    let card = stage.browser.card();
    card.click("#disconnect").await;
    card.click("#confirm").await;
    hides_the_account_until_the_other(&stage).await;
}

/// Another tab signed in as another user, and the stream of this page is refused for minutes.
#[tokio::test(flavor = "multi_thread")]
async fn word_of_another_tab_hides_the_account_before_a_stream_opens() {
    let Some(stage) = PageTest::set(&[], "id-ID").await else { return };
    let _page = page_refused_between_two_tenants(&stage).await;
    let word = "new BroadcastChannel(new URL('/api/whatsapp/', location).href).postMessage('b')";
    stage.browser.run(word, vec![]).await;
    hides_the_account_until_the_other(&stage).await;
}
