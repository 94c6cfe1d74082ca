use std::time::{Duration, Instant};

use fantoccini::{Locator, elements::Element};
use serde::Deserialize;
use tautan_test_support::DEADLINE;

use crate::{browser::Browser, camera};

const LOOK_EVERY: Duration = Duration::from_millis(15);

/// Reads the card as a person sees it: what is hidden is not there.
const LOOK: &str = r"
    const root = document.querySelector('whatsapp-link')?.shadowRoot;
    const card = root?.querySelector('.card');
    if (!card?.dataset.state) return null;
    const visible = (node) => Boolean(node) && node.checkVisibility({ opacityProperty: true, visibilityProperty: true });
    const words = (selector) => [...root.querySelectorAll(selector)].filter(visible).map((node) => node.innerText).join('\n');
    const { state, reason, stream } = card.dataset;
    return {
        state, reason, stream,
        stale: card.hasAttribute('data-stale'),
        status: words('#status'),
        notice: words('#notice'),
        problem: words('#problem'),
        title: words('.body .title:not(dialog *)'),
        text: words('.body .title:not(dialog *) + .text'),
        phone: words('#phone'),
        platform: words('#platform'),
        countdown: words('#countdown'),
        pair: words('#pair-code'),
        pairing: words('.scan .pair > p'),
        compare: words('.veil code'),
        mode: root.querySelector('.scan')?.className.split(' ').at(-1) ?? '',
        qr: visible(root.querySelector('#qr')),
        dialog: visible(root.querySelector('dialog[open]')),
        buttons: [...root.querySelectorAll('.body .button:not(dialog *)')].filter(visible).map((node) => node.id),
        words: visible(card) ? card.innerText : '',
    };
";

/// What the card shows at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Shown {
    pub state: String,
    pub reason: String,
    pub stream: String,
    pub stale: bool,
    pub status: String,
    pub notice: String,
    pub problem: String,
    pub title: String,
    pub text: String,
    pub phone: String,
    pub platform: String,
    pub countdown: String,
    /// The code to type on the phone.
    pub pair: String,
    /// What is said about it, or why there is none.
    pub pairing: String,
    /// The code to compare with the phone's.
    pub compare: String,
    /// Of the view with the QR code: `starting`, `qr_pending`, `expired`, `checking`, `scanned`, `passkey-required` or
    /// `compare`.
    pub mode: String,
    pub qr: bool,
    pub dialog: bool,
    pub buttons: Vec<String>,
    pub words: String,
}

impl Shown {
    pub fn seconds(&self) -> u32 {
        let digits: String = self.countdown.chars().filter(char::is_ascii_digit).collect();
        digits.parse().unwrap_or_else(|_| panic!("seconds in {:?}", self.countdown))
    }

    pub fn offers(&self, button: &str) -> bool {
        self.buttons.iter().any(|id| id == button)
    }
}

/// The card on the page.
pub struct Card<'a> {
    browser: &'a Browser,
}

impl<'a> Card<'a> {
    pub fn new(browser: &'a Browser) -> Self {
        Self { browser }
    }

    pub async fn look(&self) -> Shown {
        let seen = self.browser.run(LOOK, Vec::new()).await;
        serde_json::from_value::<Option<Shown>>(seen).expect("what the script returns").unwrap_or_default()
    }

    pub async fn until(&self, what: &str, wanted: impl Fn(&Shown) -> bool) -> Shown {
        let until = Instant::now() + DEADLINE;
        loop {
            let shown = self.look().await;
            if !shown.words.is_empty() && wanted(&shown) {
                return shown;
            }
            assert!(Instant::now() < until, "the card does not show {what}: {shown:#?}");
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Shows this state, received from a live stream.
    pub async fn state(&self, state: &str) -> Shown {
        self.until(state, |shown| shown.state == state && shown.stream == "live" && !shown.stale).await
    }

    pub async fn reason(&self, reason: &str) -> Shown {
        self.until(reason, |shown| shown.reason == reason && shown.stream == "live" && !shown.stale).await
    }

    /// A code that can be scanned is on the screen.
    pub async fn code(&self) -> Shown {
        self.until("a QR code", |shown| shown.mode == "qr_pending" && shown.qr).await
    }

    pub async fn click(&self, selector: &str) {
        self.find(selector).await.click().await.unwrap_or_else(|error| panic!("{selector} cannot be clicked: {error}"));
    }

    pub async fn write(&self, selector: &str, text: &str) {
        let field = self.find(selector).await;
        field.clear().await.and(field.send_keys(text).await).unwrap_or_else(|error| panic!("{selector}: {error}"));
    }

    /// What a camera before the screen reads of this element.
    pub async fn scannable(&self, selector: &str) -> Option<String> {
        camera::read(&self.find(selector).await.screenshot().await.expect("a picture of it"))
    }

    async fn find(&self, selector: &str) -> Element {
        let root = self.browser.find("whatsapp-link").await.shadow_root().await.expect("an open shadow root");
        let found = root.find(Locator::Css(selector)).await;
        found.unwrap_or_else(|error| panic!("{selector} is not on the card: {error}"))
    }
}
