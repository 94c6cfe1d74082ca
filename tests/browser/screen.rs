use std::path::PathBuf;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Value, json};

use crate::{axe, browser::Browser};

/// The narrowest phone that is still sold, and a desktop.
const WIDTHS: [u32; 2] = [320, 1100];
const SCHEMES: [&str; 2] = ["light", "dark"];

/// Keeps pictures of the whole page in `target/screens`, light and dark, narrow and wide, for people to look at. What a
/// machine can see is asserted: nothing hangs over the edge.
pub async fn keep(browser: &Browser, name: &str) {
    assert_eq!(browser.complaints().await, [""; 0], "{name}: the console");
    pictures(browser, name).await;
}

/// The same while the service is down: the browser writes only that into the console.
pub async fn keep_without_service(browser: &Browser, name: &str) {
    let mut complaints = browser.complaints().await;
    complaints
        .retain(|line| !line.contains("net::ERR_CONNECTION_REFUSED") && !line.contains("net::ERR_INCOMPLETE_CHUNKED"));
    assert_eq!(complaints, [""; 0], "{name}: the console");
    pictures(browser, name).await;
}

async fn pictures(browser: &Browser, name: &str) {
    let folder = folder();
    assert_eq!(browser.shifts().await, json!([]), "{name}: this moved by itself");
    for width in WIDTHS {
        let metrics = json!({ "width": width, "height": 820, "deviceScaleFactor": 1, "mobile": true });
        browser.devtools("Emulation.setDeviceMetricsOverride", metrics).await;
        let over = browser.run(OVERHANG, vec![json!(width)]).await;
        assert_eq!(over, json!([]), "{name} at {width} px: these are wider than the screen");
        for scheme in SCHEMES {
            let feature = json!({ "name": "prefers-color-scheme", "value": scheme });
            browser.devtools("Emulation.setEmulatedMedia", json!({ "features": [feature] })).await;
            browser.run_async(SETTLED, Vec::new()).await;
            let picture = browser.devtools("Page.captureScreenshot", json!({ "captureBeyondViewport": true })).await;
            let png = BASE64_STANDARD.decode(picture["data"].as_str().expect("base64")).expect("base64");
            std::fs::write(folder.join(format!("{name}-{width}-{scheme}.png")), png).expect("the picture is written");
            axe::finds_nothing(browser, &format!("{name} at {width} px, {scheme}")).await;
        }
    }
    twice_as_large(browser, name).await;
    browser.devtools("Emulation.clearDeviceMetricsOverride", Value::Object(Default::default())).await;
    browser.devtools("Emulation.setEmulatedMedia", json!({ "features": [] })).await;
    // Elements moved because the screen changed, and axe has tried styles that the page's policy refuses.
    browser.shifts().await;
    browser.complaints().await;
}

/// A narrow screen, on which each change of state has the most to push aside.
pub async fn narrow(browser: &Browser) {
    let metrics = json!({ "width": WIDTHS[0], "height": 820, "deviceScaleFactor": 1, "mobile": true });
    browser.devtools("Emulation.setDeviceMetricsOverride", metrics).await;
    browser.shifts().await;
}

/// One picture, of the narrowest phone: for states that [`keep`] has looked at in another language.
pub async fn keep_narrow(browser: &Browser, name: &str) {
    narrow(browser).await;
    let over = browser.run(OVERHANG, vec![json!(WIDTHS[0])]).await;
    assert_eq!(over, json!([]), "{name}: these are wider than the screen");
    browser.run_async(SETTLED, Vec::new()).await;
    let picture = browser.devtools("Page.captureScreenshot", json!({ "captureBeyondViewport": true })).await;
    let png = BASE64_STANDARD.decode(picture["data"].as_str().expect("base64")).expect("base64");
    std::fs::write(folder().join(format!("{name}.png")), png).expect("the picture is written");
}

/// Text at 200 %, as WCAG 1.4.4 asks: on a small laptop's screen nothing hangs over.
async fn twice_as_large(browser: &Browser, name: &str) {
    let width = 800;
    let metrics = json!({ "width": width, "height": 820, "deviceScaleFactor": 1, "mobile": false });
    browser.devtools("Emulation.setDeviceMetricsOverride", metrics).await;
    browser.run("document.documentElement.style.fontSize = '200%'", Vec::new()).await;
    let over = browser.run(OVERHANG, vec![json!(width)]).await;
    browser.run("document.documentElement.style.fontSize = ''", Vec::new()).await;
    assert_eq!(over, json!([]), "{name} with text at 200 %: these are wider than the screen");
}

/// Measured against the screen: `innerWidth` grows with what hangs over.
const OVERHANG: &str = "
    const root = document.querySelector('whatsapp-link').shadowRoot;
    const over = ({ left, right }) => right > arguments[0] + 0.5 || left < -0.5;
    const shown = [...root.querySelectorAll('*:not(.unseen)'), ...document.body.querySelectorAll('*')].filter((node) => node.checkVisibility());
    return shown.filter((node) => over(node.getBoundingClientRect())).map((node) => node.outerHTML.slice(0, 120));
";

/// The change of colours is a transition of its own, which no visitor would see half done.
const SETTLED: &str = "
    const root = document.querySelector('whatsapp-link').shadowRoot;
    const passing = [...document.getAnimations(), ...root.getAnimations()].filter((it) => it instanceof CSSTransition);
    Promise.allSettled(passing.map((it) => it.finished)).then(arguments[0]);
";

fn folder() -> PathBuf {
    // The tests' own executable lies in <target>/<profile>/deps.
    let executable = std::env::current_exe().expect("this process has an executable");
    let folder = executable.ancestors().nth(3).expect("it lies in the target directory").join("screens");
    std::fs::create_dir_all(&folder).expect("the folder is made");
    folder
}
