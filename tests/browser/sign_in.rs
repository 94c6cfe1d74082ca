use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::json;
use tautan_test_support::{token, token_with};

use crate::page_test::{PageTest, TENANT};

/// Long enough that a stream's end opens the next one at once.
const OPEN_FOR: Duration = Duration::from_secs(5);

/// How long a token is taken after its `exp`, since clocks differ.
const LEEWAY_SECONDS: u64 = 30;

#[tokio::test(flavor = "multi_thread")]
async fn without_a_token_the_page_asks_to_sign_in_again() {
    let Some(stage) = PageTest::set(&[("TAUTAN_LOGIN_URL", "https://login.example/")], "id-ID").await else { return };
    let (browser, card) = (&stage.browser, stage.browser.card());
    browser.goto(&stage.page()).await;
    let shown = card.until("the signed-out view", |shown| shown.stream == "signed-out").await;
    assert_eq!((&*shown.title, &*shown.status), ("Masuk lagi", "Perlu Masuk"));
    assert!(shown.offers("login") && !shown.offers("connect"), "{shown:#?}");
    let script = "return document.querySelector('whatsapp-link').shadowRoot.querySelector('#login').href";
    assert_eq!(browser.run(script, vec![]).await, json!("https://login.example/"));

    stage.sign_in().await;
    assert_eq!(card.state("disconnected").await.reason, "never-linked");
    browser.delete_token().await;
    browser.reload().await;
    card.until("the signed-out view", |shown| shown.stream == "signed-out").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn token_that_ends_signs_the_open_page_out() {
    let Some(stage) = PageTest::set(&[], "id-ID").await else { return };
    let card = stage.browser.card();
    stage.sign_in_with(&token_accepted_for(6)).await;
    card.state("disconnected").await;
    let shown = card.until("the signed-out view", |shown| shown.stream == "signed-out").await;
    assert_eq!(shown.title, "Masuk lagi");
    assert!(shown.offers("retry") && !shown.offers("connect"), "{shown:#?}");

    // Signed in again in another tab: one press, and the page goes on.
    let first = stage.browser.tab().await;
    stage.browser.new_tab().await;
    stage.sign_in().await;
    stage.browser.switch(&first).await;
    if card.look().await.stream == "signed-out" {
        card.click("#retry").await;
    }
    card.state("disconnected").await;
}

/// To sign in again does not help while the other cookie is there, so the card says what does.
#[tokio::test(flavor = "multi_thread")]
async fn sign_ins_of_two_accounts_are_named() {
    let Some(stage) = PageTest::set(&[], "id-ID").await else { return };
    let (browser, card) = (&stage.browser, stage.browser.card());
    stage.sign_in().await;
    card.state("disconnected").await;
    browser.run(&format!("document.cookie = 'fibidy_auth={}; path=/api'", token("other")), vec![]).await;
    browser.reload().await;
    let shown = card.until("the signed-out view", |shown| shown.stream == "signed-out").await;
    assert_eq!((&*shown.title, &*shown.state), ("Masuk lagi", "signed-out"));
    assert!(shown.words.contains("Hapus dulu cookie situs ini"), "{shown:#?}");
    browser.run("document.cookie = 'fibidy_auth=; path=/api; max-age=0'", vec![]).await;
    card.click("#retry").await;
    card.state("disconnected").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn revoked_token_signs_the_open_page_out() {
    let Some(stage) = PageTest::set(&[("TAUTAN_ADMIN_LISTEN", "127.0.0.1:0")], "id-ID").await else { return };
    let card = stage.browser.card();
    stage.sign_in().await;
    card.state("disconnected").await;
    tokio::time::sleep(OPEN_FOR).await;
    stage.program.admin().end_streams(TENANT).await;
    let shown = card.until("the signed-out view", |shown| shown.stream == "signed-out").await;
    assert_eq!(shown.title, "Masuk lagi");
}

#[expect(clippy::disallowed_methods, reason = "the program under test reads the real clock too")]
pub fn token_accepted_for(seconds: u64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("now is after 1970").as_secs();
    token_with(json!({ "id": TENANT, "exp": now + seconds - LEEWAY_SECONDS }))
}
