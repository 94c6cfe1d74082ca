use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::Value;
use tautan_test_support::DEADLINE;

use crate::browser::Browser;

/// Chromium's own EventSource, opened by a script of the test's in the page, and everything it dispatches.
const LISTEN: &str = "
    window.heard = [];
    window.listener = new EventSource('/api/whatsapp/events');
    for (const name of ['connection-status', 'qr-code', 'pair-code', 'passkey-required', 'token-expired'])
        listener.addEventListener(name, ({ lastEventId, data }) => heard.push({ name, id: lastEventId, data: JSON.parse(data) }));
";

#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Heard {
    pub name: String,
    /// The browser's last event id after this event.
    pub id: String,
    pub data: Value,
}

pub struct Listener<'a> {
    browser: &'a Browser,
}

impl<'a> Listener<'a> {
    pub async fn open(browser: &'a Browser) -> Self {
        browser.run(LISTEN, Vec::new()).await;
        Self { browser }
    }

    /// The one that was opened in this page before.
    pub fn again(browser: &'a Browser) -> Self {
        Self { browser }
    }

    pub async fn heard(&self) -> Vec<Heard> {
        serde_json::from_value(self.browser.run("return heard", Vec::new()).await).expect("what the script keeps")
    }

    pub async fn until(&self, what: &str, wanted: impl Fn(&[Heard]) -> bool) -> Vec<Heard> {
        let until = Instant::now() + DEADLINE;
        loop {
            let heard = self.heard().await;
            if wanted(&heard) {
                return heard;
            }
            assert!(Instant::now() < until, "EventSource did not dispatch {what}: {heard:#?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub async fn until_last(&self, status: &str) -> Vec<Heard> {
        let last = |heard: &[Heard]| heard.last().is_some_and(|event| event.data["status"] == status);
        self.until(status, last).await
    }
}

/// Journal with epoch, and sequence, of the ids, without those that merely repeat the browser's last one.
pub fn ids(heard: &[Heard]) -> Vec<(String, u64)> {
    let mut ids: Vec<(String, u64)> =
        heard.iter().filter(|event| !event.id.is_empty()).map(|event| id(&event.id)).collect();
    ids.dedup();
    ids
}

fn id(text: &str) -> (String, u64) {
    let (epoch, sequence) = text.rsplit_once('-').unwrap_or_else(|| panic!("an id in {text:?}"));
    (epoch.to_owned(), sequence.parse().expect("a number"))
}
