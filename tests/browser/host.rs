use serde_json::{Value, json};
use tautan_test_support::{token, within};

use crate::{
    double::{Double, Reply},
    page_test::{NUMBER, PageTest, TENANT},
    sign_in::token_accepted_for,
};

/// A dashboard of another origin with a policy as strict as it can be with the element in it, and with looks of its own.
async fn dashboard(attributes: &str) -> Double {
    let attributes = attributes.to_owned();
    Double::start(move |path, _| {
        let (page, service) = path.strip_prefix("/?service=").map_or(("", ""), |service| ("dashboard", service));
        if page.is_empty() {
            return Reply::refusal("404 Not Found", "not-found");
        }
        let html = format!(
            "<!doctype html><html lang='id'><title>Dasbor</title><link rel='icon' href='data:,'>\
             <style nonce='n'>whatsapp-link {{ --whatsapp-link-accent: rgb(106, 27, 154); --whatsapp-link-radius: 4px; }}\
             whatsapp-link::part(card) {{ border-style: dotted; }} whatsapp-link::part(title) {{ text-transform: uppercase; }}</style>\
             <whatsapp-link {attributes}></whatsapp-link>\
             <script nonce='n'>window.heard = [];\
             for (const name of ['connected', 'disconnected', 'connecting', 'qr-pending', 'error', 'token-expired', 'tenant-changed'])\
             document.addEventListener(name, (event) => {{ heard.push([name, event.detail]); if (name === 'token-expired') window.onexpiry?.(event); }}, true);</script>\
             <script type='module' src='{service}/static/whatsapp-link.js'></script></html>"
        );
        Reply::html(&html).with(&format!(
            "content-security-policy: default-src 'none'; script-src 'nonce-n' {service}; style-src 'nonce-n' {service}; \
             connect-src {service}; img-src data:; require-trusted-types-for 'script'; trusted-types 'none'"
        ))
    })
    .await
}

/// The service must allow an origin that is known only once the dashboard listens.
async fn open(attributes: &str, sign_in: impl Fn() -> String) -> Option<(PageTest, Double)> {
    let dashboard = dashboard(attributes).await;
    let stage = PageTest::set(&[("TAUTAN_ALLOWED_ORIGINS", &dashboard.base())], "id-ID").await?;
    stage.browser.set_token(stage.program.base(), &sign_in()).await;
    stage.browser.goto(&format!("{}/?service={}", dashboard.base(), stage.program.base())).await;
    Some((stage, dashboard))
}

async fn heard(stage: &PageTest, name: &str) -> Vec<Value> {
    let all = stage.browser.run("return heard", vec![]).await;
    let all = all.as_array().expect("a list").iter();
    all.filter(|event| event[0] == name).map(|event| event[1].clone()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn dashboard_of_another_origin_receives_each_state() {
    let Some((stage, _dashboard)) = open("lang='en' theme='dark' tenant-name='Toko <b>Sari'", || token(TENANT)).await
    else {
        return;
    };
    let card = stage.browser.card();
    let shown = card.state("disconnected").await;
    assert_eq!(shown.status, "Not connected");
    let title = "whatsapp connection for toko <b>sari";
    assert!(shown.words.to_lowercase().contains(title), "{shown:#?}");

    card.click("#connect").await;
    let qr = card.code().await;
    assert!(qr.offers("cancel"));
    let code = card.scannable("#qr").await.expect("a code on the screen");
    let device = within("the scan", stage.phone.scan(&code)).await.expect("the phone takes the code");
    card.state("connected").await;
    assert_eq!(heard(&stage, "disconnected").await[0]["reason"], "never-linked");
    assert_eq!(heard(&stage, "qr-pending").await.len(), 1);
    let connected = heard(&stage, "connected").await;
    assert_eq!((connected.len(), &connected[0]["phoneNumber"]), (1, &json!(NUMBER)));
    assert!(stage.phone.unlink(device));
    card.reason("unlinked-by-phone").await;
    assert_eq!(heard(&stage, "disconnected").await.last().expect("an event")["reason"], "unlinked-by-phone");
    assert!(heard(&stage, "error").await.is_empty());
    assert_eq!(stage.browser.complaints().await, [""; 0], "the console and the dashboard's policy");
}

#[tokio::test(flavor = "multi_thread")]
async fn host_page_sets_looks_language_and_theme() {
    let Some((stage, _dashboard)) = open("theme='dark'", || token(TENANT)).await else { return };
    let (browser, card) = (&stage.browser, stage.browser.card());
    assert_eq!(card.state("disconnected").await.status, "Belum Terhubung", "the language of the page around it");
    let looks = "
        const link = document.querySelector('whatsapp-link');
        const style = (part) => getComputedStyle(link.shadowRoot.querySelector(`[part~=${part}]`));
        return [style('primary').backgroundColor, style('card').borderRadius, style('card').borderTopStyle, style('title').textTransform,
            style('card').backgroundColor];
    ";
    let dark = json!(["rgb(106, 27, 154)", "4px", "dotted", "uppercase", "rgb(20, 29, 25)"]);
    assert_eq!(browser.run(looks, vec![]).await, dark);
    let promised = "
        const parts = new Set([...document.querySelector('whatsapp-link').shadowRoot.querySelectorAll('[part]')].flatMap((node) => [...node.part]));
        return arguments[0].filter((name) => !parts.has(name));
    ";
    let names = json!([
        "card", "title", "status", "body", "picture", "text", "steps", "button", "primary", "problem", "notice"
    ]);
    assert_eq!(browser.run(promised, vec![names]).await, json!([]));

    let set = "document.querySelector('whatsapp-link').setAttribute(arguments[0], arguments[1])";
    browser.run(set, vec![json!("theme"), json!("light")]).await;
    assert_eq!(browser.run(looks, vec![]).await[4], "rgb(255, 255, 255)");
    browser.run(set, vec![json!("lang"), json!("en-GB")]).await;
    card.until("English", |shown| shown.status == "Not connected").await;
    card.click("#connect").await;
    card.code().await;
    let names = json!(["box", "qr", "countdown", "steps", "cancel", "pair"]);
    assert_eq!(browser.run(promised, vec![names]).await, json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn host_that_renews_the_sign_in_reconnects() {
    let Some((stage, _dashboard)) = open("", || token_accepted_for(6)).await else { return };
    let (browser, card) = (&stage.browser, stage.browser.card());
    browser.run("window.onexpiry = (event) => event.preventDefault()", vec![]).await;
    card.state("disconnected").await;
    card.until("the wait for the host", |shown| shown.stream == "lost" && !shown.notice.is_empty()).await;
    assert_eq!(heard(&stage, "token-expired").await.len(), 1);
    assert!(!card.look().await.words.contains("Masuk lagi"), "the host said that it sees to it");

    browser.set_token(stage.program.base(), &token(TENANT)).await;
    browser.run("document.querySelector('whatsapp-link').reconnect()", vec![]).await;
    card.state("disconnected").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn host_may_reconnect_inside_its_handler() {
    let Some((stage, _dashboard)) = open("", || token_accepted_for(6)).await else { return };
    let (browser, card) = (&stage.browser, stage.browser.card());
    card.state("disconnected").await;
    let renew = "
        window.onexpiry = (event) => {
            event.preventDefault();
            document.cookie = 'fibidy_auth=' + arguments[0] + '; path=/';
            event.target.reconnect();
        };
        const root = document.querySelector('whatsapp-link').shadowRoot;
        window.seen = [];
        const note = () => seen.push([root.querySelector('#card').dataset.state, root.querySelector('#notice').textContent]);
        new MutationObserver(note).observe(root, { subtree: true, childList: true, attributes: true, characterData: true });
    ";
    browser.run(renew, vec![json!(token(TENANT))]).await;
    // A script cannot write over a cookie that it cannot read.
    browser.delete_token().await;
    // The second one is refused, which proves that the sign-in has ended.
    assert_eq!(streams_when_open(&stage, 2).await, json!(3));
    card.state("disconnected").await;
    assert_eq!(heard(&stage, "token-expired").await.len(), 1);
    let seen = browser.run("return [...new Set(seen.map(String))]", vec![]).await;
    assert_eq!(seen, json!(["disconnected,"]), "no sign-in was requested and no error was reported");
    device_links(&stage).await;
}

/// Waits for a stream that is open; how many there were by then.
async fn streams_when_open(stage: &PageTest, number: u32) -> Value {
    let open = "const look = () => streams[arguments[0]]?.readyState === 1 ? arguments[1](streams.length) : setTimeout(look, 20); look();";
    stage.browser.run_async(open, vec![json!(number)]).await
}

/// A sign-in that was renewed in another tab, or by the dashboard, is taken without a word.
#[tokio::test(flavor = "multi_thread")]
async fn renewed_sign_in_is_used_when_the_old_token_ends() {
    let Some((stage, _dashboard)) = open("", || token_accepted_for(6)).await else { return };
    let card = stage.browser.card();
    card.state("disconnected").await;
    stage.browser.set_token(stage.program.base(), &token(TENANT)).await;
    assert_eq!(streams_when_open(&stage, 1).await, json!(2));
    assert_eq!(heard(&stage, "token-expired").await.len(), 0);
    assert_eq!(card.look().await.notice, "");
    device_links(&stage).await;
}

/// `connected` of the new tenant is news, although the one before was connected too.
#[tokio::test(flavor = "multi_thread")]
async fn element_forgets_the_tenant_whose_sign_in_is_gone() {
    let Some((stage, _dashboard)) = open("lang='id' tenant-name='Toko Sari'", || token(TENANT)).await else { return };
    let (browser, card) = (&stage.browser, stage.browser.card());
    stage.link().await;
    card.state("connected").await;
    stage.link_as("other", "6289876543210").await;
    browser.set_token(stage.program.base(), &token("other")).await;

    card.click("#disconnect").await;
    card.click("#confirm").await;
    let shown = card.until("the other tenant", |shown| shown.phone == "+62 898-7654-3210").await;
    assert_eq!(shown.state, "connected", "it was not unlinked");
    assert!(!shown.words.contains("Toko Sari"), "the name that the host gave was the other's: {shown:#?}");
    for tenant in [TENANT, "other"] {
        assert_eq!(stage.program.api(tenant).status().await["status"], "connected", "{tenant}");
    }
    let numbers: Vec<Value> = heard(&stage, "connected").await.iter().map(|it| it["phoneNumber"].clone()).collect();
    assert_eq!(numbers, [NUMBER, "6289876543210"]);
    assert_eq!(heard(&stage, "tenant-changed").await.len(), 1);
    assert_eq!(heard(&stage, "error").await, [json!({ "code": "tenant-changed" })]);
}

/// The stream that was opened last is the one that the card follows.
async fn device_links(stage: &PageTest) {
    stage.link().await;
    stage.browser.card().state("connected").await;
}
