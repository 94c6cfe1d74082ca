use std::sync::Arc;

use fantoccini::{Client, ClientBuilder, Locator, elements::Element, wd::WindowHandle};
use serde_json::{Map, Value, json};
use tautan_test_support::within;
use tempfile::TempDir;

use crate::{card::Card, driver::Driver};

pub const COOKIE: &str = "fibidy_auth";
pub const PAGE: &str = "/dashboard/settings/whatsapp";

/// Runs in each document before the page's own scripts: it notes what moves without being asked to, and every stream.
const WATCH: &str = "
    window.shifts = [];
    window.shiftObserver = new PerformanceObserver((list) => noteShifts(list.getEntries()));
    window.noteShifts = (entries) => shifts.push(...entries.filter((entry) => !entry.hadRecentInput)
        .map(({ value, sources }) => [value, ...sources.map(({ node }) => node?.outerHTML?.slice(0, 120))]));
    shiftObserver.observe({ type: 'layout-shift', buffered: true });
    window.streams = [];
    const Real = EventSource;
    window.EventSource = class extends Real {
        constructor(...given) { super(...given); streams.push(this); }
    };
";

/// A Chromium with a profile of its own.
pub struct Browser {
    client: Client,
    id: String,
    driver: Arc<Driver>,
    _profile: TempDir,
}

impl Browser {
    pub async fn start(driver: Arc<Driver>, languages: &str) -> Self {
        let profile = TempDir::new().expect("a directory for the profile");
        let switches = [
            "--headless".to_owned(),
            // Root, as in most containers, gets no sandbox; the only page it opens is ours.
            "--no-sandbox".to_owned(),
            "--disable-gpu".to_owned(),
            "--disable-dev-shm-usage".to_owned(),
            "--no-first-run".to_owned(),
            "--disable-background-networking".to_owned(),
            "--disable-component-update".to_owned(),
            "--disable-sync".to_owned(),
            "--window-size=1100,900".to_owned(),
            format!("--accept-lang={languages}"),
            format!("--user-data-dir={}", profile.path().display()),
        ];
        let mut wanted = Map::new();
        wanted.insert(
            "goog:chromeOptions".into(),
            json!({ "args": switches, "binary": driver.chromium, "excludeSwitches": ["disable-back-forward-cache"] }),
        );
        wanted.insert("goog:loggingPrefs".into(), json!({ "browser": "ALL" }));
        let mut builder = ClientBuilder::new(hyper_util::client::legacy::connect::HttpConnector::new());
        let client =
            within("a browser", builder.capabilities(wanted).connect(&driver.url())).await.expect("Chromium starts");
        let id = client.session_id().await.expect("the driver answers").expect("a session");
        let browser = Self { client, id, driver, _profile: profile };
        browser.watch().await;
        browser
    }

    async fn watch(&self) {
        self.devtools("Page.addScriptToEvaluateOnNewDocument", json!({ "source": format!("{{{WATCH}}}") })).await;
    }

    pub async fn goto(&self, url: &str) {
        within(url, self.client.goto(url)).await.expect("the page loads");
    }

    pub async fn reload(&self) {
        within("the page", self.client.refresh()).await.expect("the page loads");
    }

    /// As the product's login would: HttpOnly, so that the page's own script cannot read it.
    pub async fn set_token(&self, base: &str, token: &str) {
        let cookie = json!({ "name": COOKIE, "value": token, "url": base, "path": "/", "httpOnly": true });
        self.devtools("Network.setCookie", cookie).await;
    }

    pub async fn delete_token(&self) {
        self.client.delete_cookie(COOKIE).await.expect("the cookie goes");
    }

    pub fn card(&self) -> Card<'_> {
        Card::new(self)
    }

    /// In the page around the card.
    pub async fn click(&self, selector: &str) {
        self.find(selector).await.click().await.unwrap_or_else(|error| panic!("{selector} cannot be clicked: {error}"));
    }

    pub async fn find(&self, selector: &str) -> Element {
        let found = self.client.find(Locator::Css(selector)).await;
        found.unwrap_or_else(|error| panic!("{selector} is not on the page: {error}"))
    }

    pub async fn run(&self, script: &str, arguments: Vec<Value>) -> Value {
        within("a script", self.client.execute(script, arguments)).await.expect("the script runs")
    }

    /// The script's last argument is the function that takes its answer.
    pub async fn run_async(&self, script: &str, arguments: Vec<Value>) -> Value {
        within("a script", self.client.execute_async(script, arguments)).await.expect("the script runs")
    }

    pub async fn tab(&self) -> WindowHandle {
        self.client.window().await.expect("a window")
    }

    pub async fn new_tab(&self) -> WindowHandle {
        let handle = self.client.new_window(true).await.expect("a tab opens").handle;
        self.switch(&handle).await;
        self.watch().await;
        handle
    }

    pub async fn switch(&self, tab: &WindowHandle) {
        self.client.switch_to_window(tab.clone()).await.expect("the tab is there");
    }

    /// A command of Chromium's own protocol, which WebDriver has no word for.
    pub async fn devtools(&self, command: &str, parameters: Value) -> Value {
        self.ask("goog/cdp/execute", json!({ "cmd": command, "params": parameters })).await
    }

    /// The console since the last call: errors of scripts, failed loads, and what the content security policy refused.
    pub async fn complaints(&self) -> Vec<String> {
        let log = self.ask("se/log", json!({ "type": "browser" })).await;
        let lines = log.as_array().expect("a list of lines").iter();
        lines
            .filter(|line| line["level"] == "SEVERE" || line["level"] == "WARNING")
            .map(|line| format!("{}: {}", line["source"], line["message"]))
            .collect()
    }

    /// What has moved on the page without being asked to, since the last call.
    pub async fn shifts(&self) -> Value {
        let script = "requestAnimationFrame(() => setTimeout(() => {
            noteShifts(shiftObserver.takeRecords());
            arguments[0](shifts.splice(0));
        }))";
        self.run_async(script, Vec::new()).await
    }

    async fn ask(&self, path: &str, body: Value) -> Value {
        let url = format!("{}/session/{}/{path}", self.driver.url(), self.id);
        let answer =
            within(path, reqwest::Client::new().post(url).json(&body).send()).await.expect("the driver answers");
        let mut answer: Value = answer.json().await.expect("JSON");
        let value = answer["value"].take();
        assert!(value.get("error").is_none(), "{path} {body}: {value}");
        value
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        self.driver.ask_and_wait("DELETE", &format!("/session/{}", self.id));
    }
}
