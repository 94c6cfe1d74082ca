use serde_json::{Value, json};
use tautan_test_support::{token, within};

use crate::{
    double::{Double, Reply},
    sign_in::token_accepted_for,
    stage::{NUMBER, Stage, TENANT},
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
             for (const name of ['connected', 'disconnected', 'connecting', 'qr-pending', 'error', 'token-expired'])\
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
async fn open(attributes: &str, sign_in: impl Fn() -> String) -> Option<(Stage, Double)> {
    let dashboard = dashboard(attributes).await;
    let stage = Stage::set(&[("TAUTAN_ALLOWED_ORIGINS", &dashboard.base())], "id-ID").await?;
    stage.browser.set_token(stage.program.base(), &sign_in()).await;
    stage.browser.goto(&format!("{}/?service={}", dashboard.base(), stage.program.base())).await;
    Some((stage, dashboard))
}

async fn heard(stage: &Stage, name: &str) -> Vec<Value> {
    let all = stage.browser.run("return heard", vec![]).await;
    let all = all.as_array().expect("a list").iter();
    all.filter(|event| event[0] == name).map(|event| event[1].clone()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dashboard_of_another_origin_embeds_the_element_and_hears_of_each_state() {
    let Some((stage, _dashboard)) = open("lang='en' theme='dark' tenant-name='Toko <b>Sari'", || token(TENANT)).await
    else {
        return;
    };
    let card = stage.browser.card();
    let shown = card.state("disconnected").await;
    assert_eq!(shown.status, "Not connected");
    assert!(shown.words.to_lowercase().contains("whatsapp connection for toko <b>sari"), "{shown:#?}");

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
async fn a_host_page_sets_looks_language_and_theme() {
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
async fn a_host_that_renews_the_sign_in_itself_cancels_the_event_and_reconnects() {
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
async fn a_host_that_reconnects_inside_its_handler_goes_on_without_a_word() {
    let Some((stage, _dashboard)) = open("", || token_accepted_for(6)).await else { return };
    let (browser, card) = (&stage.browser, stage.browser.card());
    card.state("disconnected").await;
    let renew = "
        window.onexpiry = (event) => {
            event.preventDefault();
            event.target.reconnect();
        };
        const root = document.querySelector('whatsapp-link').shadowRoot;
        window.seen = [];
        const note = () => seen.push([root.querySelector('#card').dataset.state, root.querySelector('#notice').textContent]);
        new MutationObserver(note).observe(root, { subtree: true, childList: true, attributes: true, characterData: true });
    ";
    browser.run(renew, vec![]).await;
    // The sign-in that the host has renewed by the time that the old one ends.
    browser.set_token(stage.program.base(), &token(TENANT)).await;
    let second = "const look = () => streams[1]?.readyState === 1 ? arguments[0](streams.length) : setTimeout(look, 20); look();";
    assert_eq!(browser.run_async(second, vec![]).await, json!(2));
    card.state("disconnected").await;
    assert_eq!(heard(&stage, "token-expired").await.len(), 1);
    let seen = browser.run("return [...new Set(seen.map(String))]", vec![]).await;
    assert_eq!(seen, json!(["disconnected,"]), "no sign-in was asked for and no trouble was told");
    device_links(&stage).await;
}

/// The stream that was opened last is the one that the card follows.
async fn device_links(stage: &Stage) {
    stage.link().await;
    stage.browser.card().state("connected").await;
}
