use serde_json::{Value, json};
use tautan::events::{ConnectingReason, EndReason, PairRefusal};

use crate::page_test::PageTest;

#[tokio::test(flavor = "multi_thread")]
async fn language_is_the_browsers_until_switched() {
    let Some(stage) = PageTest::set(&[], "en-US").await else { return };
    stage.sign_in().await;
    let (browser, card) = (&stage.browser, stage.browser.card());
    let heading = "return document.documentElement.lang + ' ' + document.querySelector('h1').innerText";

    let shown = card.state("disconnected").await;
    assert_eq!((&*shown.status, &*shown.title), ("Not connected", "Connect your WhatsApp"));
    assert_eq!(browser.run(heading, vec![]).await, json!("en WhatsApp settings"));

    browser.click("#lang-id").await;
    card.until("Indonesian", |shown| shown.status == "Belum Terhubung").await;
    assert_eq!(browser.run(heading, vec![]).await, json!("id Pengaturan WhatsApp"));
    browser.reload().await;
    assert_eq!(card.state("disconnected").await.status, "Belum Terhubung", "the choice outlives a reload");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_reason_has_its_words_in_both_languages() {
    let Some(stage) = PageTest::open().await else { return };
    let script = "Promise.all(['id', 'en'].map((lang) => import(`/static/texts.${lang}.js`)))
        .then((both) => arguments[0](both.map((module) => module.default)))";
    let texts = stage.browser.run_async(script, vec![]).await;

    for (language, texts) in ["id", "en"].into_iter().zip(texts.as_array().expect("two tables")) {
        let sentences = |reason: &str| {
            let words = texts["states"][reason].as_array();
            words
                .unwrap_or_else(|| panic!("{reason} in {language} has no words"))
                .iter()
                .filter(|it| it.is_string())
                .count()
        };
        for reason in ConnectingReason::ALL {
            assert_eq!(sentences(reason.as_str()), 2, "{reason:?} in {language}");
        }
        for reason in EndReason::ALL {
            // What helps is a button where pressing it can help, else a sentence.
            let help = texts["help"][reason.as_str()].is_string();
            assert_eq!(
                (sentences(reason.as_str()), help),
                if reason.retryable() { (3, false) } else { (2, true) },
                "{reason:?} in {language}"
            );
        }
        for reason in PairRefusal::ALL {
            assert!(texts["pair"]["refused"][reason.as_str()].is_string(), "{reason:?} in {language}");
        }
        let table = texts["pair"]["refused"].as_object().expect("a table");
        assert_eq!(table.len(), PairRefusal::ALL.len(), "sentences of no use in {language}: {table:?}");
        assert_eq!(sentences("compare"), 3, "a title, what to do, and the button, in {language}");
    }
    assert_eq!(keys(&texts[0]), keys(&texts[1]));
}

/// The paths of all leaves.
fn keys(value: &Value) -> Vec<String> {
    match value {
        Value::Object(map) => map
            .iter()
            .flat_map(|(key, value)| keys(value).into_iter().map(move |rest| format!("{key}.{rest}")))
            .collect(),
        Value::Array(list) => vec![format!("{} entries", list.len())],
        _ => vec![String::new()],
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn words_that_could_not_come_are_asked_for_again() {
    let Some(stage) = PageTest::set(&[], "id-ID").await else { return };
    let browser = &stage.browser;
    browser.devtools("Network.enable", json!({})).await;
    browser.devtools("Network.setBlockedURLs", json!({ "urls": ["*/texts.*"] })).await;
    stage.sign_in().await;
    // Under another name: browsers remember that a module could not come.
    let asked = r"const look = () => performance.getEntriesByType('resource').some(({ name }) => /\/texts\.id\.js\?$/.test(name))
        ? arguments[0](true) : setTimeout(look, 20); look();";
    assert_eq!(browser.run_async(asked, vec![]).await, json!(true));
    browser.devtools("Network.setBlockedURLs", json!({ "urls": [] })).await;
    assert_eq!(browser.card().state("disconnected").await.status, "Belum Terhubung");
}
