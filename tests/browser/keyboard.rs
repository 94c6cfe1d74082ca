use serde_json::{Value, json};

use crate::{browser::Browser, page_test::PageTest};

async fn press(browser: &Browser, key: &str, code: u32) {
    for kind in ["rawKeyDown", "char", "keyUp"] {
        let text = if key == "Enter" { "\r" } else { "" };
        let event = json!({ "type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code, "text": text });
        browser.devtools("Input.dispatchKeyEvent", event).await;
    }
}

const FOCUS: &str = "
    const outer = document.activeElement;
    const inner = outer?.shadowRoot?.activeElement;
    const node = inner ?? outer;
    return [node?.id || node?.className.trim() || node?.tagName, parseFloat(getComputedStyle(node).outlineWidth) >= 2 && getComputedStyle(node).outlineStyle !== 'none'];
";

/// Presses Tab until this element has the focus; each stop on the way must be visible.
async fn tab_to(browser: &Browser, id: &str) {
    for _ in 0..12 {
        press(browser, "Tab", 9).await;
        let focus = browser.run(FOCUS, vec![]).await;
        if focus[0] == id {
            assert_eq!(focus[1], json!(true), "the focus on {id} cannot be seen");
            return;
        }
    }
    panic!("{id} cannot be reached with Tab");
}

#[tokio::test(flavor = "multi_thread")]
async fn whole_flow_works_by_keyboard() {
    let Some(stage) = PageTest::open().await else { return };
    let (browser, card) = (&stage.browser, stage.browser.card());
    card.state("disconnected").await;
    tab_to(browser, "connect").await;
    press(browser, "Enter", 13).await;
    card.code().await;
    assert_eq!(browser.run(FOCUS, vec![]).await[0], "title", "the new view has the focus, not the top of the page");
    stage.scan_offered().await;
    card.state("connected").await;
    tab_to(browser, "disconnect").await;
    press(browser, "Enter", 13).await;
    card.until("the question", |shown| shown.dialog).await;
    assert_eq!(browser.run(FOCUS, vec![]).await[0], "keep", "Enter by mistake keeps the account");
    press(browser, "Escape", 27).await;
    card.until("no question", |shown| !shown.dialog).await;
    assert_eq!(browser.run(FOCUS, vec![]).await[0], "disconnect", "the focus is back where it was");
    press(browser, "Enter", 13).await;
    card.until("the question", |shown| shown.dialog).await;
    tab_to(browser, "confirm").await;
    press(browser, "Enter", 13).await;
    card.reason("unlinked-by-user").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn screen_reader_announces_states_and_no_seconds() {
    let Some(stage) = PageTest::set(&[("SIM_QR_PACE", "0.1")], "id-ID").await else { return };
    let (browser, card) = (&stage.browser, stage.browser.card());
    stage.sign_in().await;
    card.state("disconnected").await;
    let listen = "
        const root = document.querySelector('whatsapp-link').shadowRoot;
        window.spoken = [];
        const live = [...root.querySelectorAll('[aria-live], [role=status], [role=alert]')];
        for (const node of live) new MutationObserver(() => spoken.push(node.textContent)).observe(node, { childList: true, characterData: true, subtree: true });
        return live.length;
    ";
    assert_ne!(browser.run(listen, vec![]).await, json!(0));
    card.click("#connect").await;
    let first = card.code().await.seconds();
    card.until("three seconds less", |shown| shown.mode == "qr_pending" && shown.seconds() + 3 <= first).await;
    stage.scan_offered().await;
    card.state("connected").await;
    let spoken = browser.run_async(
        "const look = () => spoken.some((it) => it.startsWith('Berhasil')) ? arguments[0](spoken) : setTimeout(look, 20); look();",
        vec![],
    );
    let spoken = spoken.await;
    let spoken: Vec<&str> =
        spoken.as_array().expect("a list").iter().filter_map(Value::as_str).filter(|it| !it.is_empty()).collect();
    assert!(spoken.iter().any(|it| it.starts_with("Scan QR code ini")), "{spoken:?}");
    assert!(spoken.len() <= 4 && spoken.iter().all(|it| !it.contains(|c: char| c.is_ascii_digit())), "{spoken:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn reduced_motion_shows_no_animation() {
    let Some(stage) = PageTest::set(&[], "id-ID").await else { return };
    let (browser, card) = (&stage.browser, stage.browser.card());
    stage.simulator.faults().set(tautan_simulator::Fault::SilentLogin);
    stage.sign_in().await;
    card.state("disconnected").await;
    card.click("#connect").await;
    card.until("the sketch", |shown| shown.mode == "starting").await;
    let moving = "return document.querySelector('whatsapp-link').shadowRoot.getAnimations().length";
    assert_ne!(browser.run(moving, vec![]).await, json!(0));
    let less = json!([{ "name": "prefers-reduced-motion", "value": "reduce" }]);
    browser.devtools("Emulation.setEmulatedMedia", json!({ "features": less })).await;
    assert_eq!(browser.run(moving, vec![]).await, json!(0));
}
