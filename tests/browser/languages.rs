use serde_json::{Value, json};
use tautan::events::{ConnectingReason, EndReason};

use crate::stage::Stage;

#[tokio::test(flavor = "multi_thread")]
async fn the_language_is_the_browsers_until_the_switch_says_otherwise() {
    let Some(stage) = Stage::set(&[], "en-US").await else { return };
    stage.sign_in().await;
    let (browser, card) = (&stage.browser, stage.browser.card());
    let heading = "return document.documentElement.lang + ' ' + document.querySelector('h1').innerText";

    let shown = card.state("disconnected").await;
    assert_eq!((&*shown.status, &*shown.title), ("Not connected", "Start receiving messages here"));
    assert_eq!(browser.run(heading, vec![]).await, json!("en WhatsApp settings"));

    browser.click("#lang-id").await;
    card.until("Indonesian", |shown| shown.status == "Belum Terhubung").await;
    assert_eq!(browser.run(heading, vec![]).await, json!("id Pengaturan WhatsApp"));
    browser.reload().await;
    assert_eq!(card.state("disconnected").await.status, "Belum Terhubung", "the choice outlives a reload");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_reason_has_its_words_in_both_languages() {
    let Some(stage) = Stage::open().await else { return };
    let script = "import('/static/texts.js').then(({ texts }) => arguments[0](texts))";
    let texts = stage.browser.run_async(script, vec![]).await;

    let reasons: Vec<&str> =
        ConnectingReason::ALL.iter().map(|it| it.as_str()).chain(EndReason::ALL.iter().map(|it| it.as_str())).collect();
    for language in ["id", "en"] {
        let known = texts[language]["reasons"].as_object().expect("a table of reasons");
        for reason in &reasons {
            let words = known.get(*reason).unwrap_or_else(|| panic!("{reason} in {language}"));
            assert!(words["title"].is_string() && words["text"].is_string(), "{reason} in {language}: {words}");
        }
        assert_eq!(known.len(), reasons.len(), "{language} has words for a reason that does not exist");
        for reason in EndReason::ALL {
            let words = &known[reason.as_str()];
            assert!(words["action"].is_string(), "{reason:?} in {language} has no label for its button");
            assert!(reason.retryable() || words["help"].is_string(), "{reason:?} in {language} says no way out");
        }
    }
    assert_eq!(keys(&texts["id"]), keys(&texts["en"]));
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
