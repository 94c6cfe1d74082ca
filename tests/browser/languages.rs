use serde_json::{Value, json};
use tautan::events::{ConnectingReason, EndReason, PairRefusal};

use crate::{
    page_test::{NAME, PageTest},
    screen,
};

const LANGUAGES: [&str; 6] = ["id", "en", "pt", "es", "hi", "ar"];

#[tokio::test(flavor = "multi_thread")]
async fn language_is_the_browsers_until_switched() {
    let Some(stage) = PageTest::set(&[], "en-US").await else { return };
    stage.sign_in().await;
    let (browser, card) = (&stage.browser, stage.browser.card());
    let heading = "return document.documentElement.lang + ' ' + document.querySelector('h1').innerText";

    let shown = card.state("disconnected").await;
    assert_eq!((&*shown.status, &*shown.title), ("Not connected", "Connect your WhatsApp"));
    assert_eq!(browser.run(heading, vec![]).await, json!("en WhatsApp settings"));

    browser.click("#lang option[value=id]").await;
    card.until("Indonesian", |shown| shown.status == "Belum Terhubung").await;
    assert_eq!(browser.run(heading, vec![]).await, json!("id Pengaturan WhatsApp"));
    browser.reload().await;
    assert_eq!(card.state("disconnected").await.status, "Belum Terhubung", "the choice outlives a reload");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_reason_has_a_sentence_in_every_language() {
    let Some(stage) = PageTest::open().await else { return };
    let script = "Promise.all(arguments[0].map((lang) => import(`/static/texts.${lang}.js`)))
        .then((all) => arguments[1](all.map((module) => module.default)))";
    let texts = stage.browser.run_async(script, vec![json!(LANGUAGES)]).await;
    let offered = "return [...document.querySelector('#lang').options].map(({ value }) => value)";
    assert_eq!(stage.browser.run(offered, vec![]).await, json!(LANGUAGES), "the page offers each");

    for (language, table) in LANGUAGES.into_iter().zip(texts.as_array().expect("a table for each")) {
        assert_eq!(keys(table), keys(&texts[0]), "sentences of {language}");
        assert_eq!(blanks(table), blanks(&texts[0]), "values in the sentences of {language}");
        let texts = table;
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
}

/// Sentences in which the page puts values, each with how many.
fn blanks(table: &Value) -> Vec<(String, usize)> {
    match table {
        Value::Object(map) => map
            .iter()
            .flat_map(|(key, value)| {
                blanks(value).into_iter().map(move |(rest, count)| (format!("{key}.{rest}"), count))
            })
            .collect(),
        Value::String(sentence) => {
            let count = sentence.matches("{}").count();
            if count == 0 { Vec::new() } else { vec![(String::new(), count)] }
        }
        _ => Vec::new(),
    }
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
async fn failed_language_file_is_requested_again() {
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

/// Numbers and codes are read from left to right in every language.
#[tokio::test(flavor = "multi_thread")]
async fn arabic_page_is_written_from_right_to_left() {
    let Some(stage) = PageTest::set(&[], "ar-EG").await else { return };
    stage.sign_in().await;
    let (browser, card) = (&stage.browser, stage.browser.card());
    assert_eq!(card.state("disconnected").await.title, "اربط WhatsApp");
    let directions = "const { lang, dir } = document.documentElement;
        const card = document.querySelector('whatsapp-link').shadowRoot.querySelector('.card');
        return [lang, dir, card.lang, getComputedStyle(card).direction]";
    assert_eq!(browser.run(directions, vec![]).await, json!(["ar", "rtl", "ar", "rtl"]));
    screen::keep(browser, "91-arabic-page-never-linked").await;
    card.click("#connect").await;
    card.code().await;
    screen::keep(browser, "91-arabic-page-code").await;
    stage.scan_offered().await;
    card.state("connected").await;
    screen::keep(browser, "91-arabic-page-connected").await;
    let isolated = "const card = document.querySelector('whatsapp-link').shadowRoot;
        const [phone, name] = ['#phone bdi', '#name bdi'].map((place) => card.querySelector(place));
        return [phone.textContent, getComputedStyle(phone).direction, name?.textContent]";
    assert_eq!(browser.run(isolated, vec![]).await, json!(["+62 812-3456-7890", "ltr", NAME]));
    // Another language of the same page turns it round.
    browser.click("#lang option[value=en]").await;
    card.until("English", |shown| shown.status == "Connected").await;
    assert_eq!(browser.run(directions, vec![]).await, json!(["en", "ltr", "en", "ltr"]));
}
