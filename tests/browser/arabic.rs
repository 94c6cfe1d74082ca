//! Every state but the reasons (see `gallery`), written from right to left. The pictures `91-arabic-…` are in
//! `target/screens`: someone has to look at them.

use serde_json::{Value, json};

use crate::{
    browser::Browser,
    card::Shown,
    double::{self, Double, Reply},
    page_test::{NUMBER, PageTest, TENANT},
    screen,
};

const PAIR_REFUSALS: [&str; 5] = ["rate-limited", "not-available", "number-refused", "tries-used-up", "unanswered"];
/// Some Arabic letter.
const ARABIC: std::ops::RangeInclusive<char> = '\u{621}'..='\u{64a}';

fn event(name: &str, data: &Value) -> String {
    format!("event: {name}\ndata: {data}\n\n")
}

fn with(mut data: Value, fields: &Value) -> Value {
    let data_fields = data.as_object_mut().expect("an object");
    data_fields.extend(fields.as_object().expect("an object").clone());
    data
}

fn status(word: &str, fields: &Value) -> String {
    let data = json!({
        "status": word, "reason": null, "retryable": true, "phoneNumber": null, "name": null, "until": null,
        "since": "2026-01-28T10:00:00Z", "stale": false, "pairing": null,
    });
    event("connection-status", &with(data, fields))
}

/// The stream of this scene. `qr` is a code that the program has offered.
fn events(scene: &str, qr: &Value) -> String {
    let window = |name: &str| status("qr_pending", &json!({ "pairing": name }));
    let code = |seconds: f64| event("qr-code", &with(qr.clone(), &json!({ "expiresIn": seconds, "pairing": "one" })));
    let coded = || window("one") + &code(60.0);
    let pair = |seconds: f64| {
        let data = json!({ "code": "ABCD-1234", "phoneNumber": NUMBER, "expiresIn": seconds, "pairing": "one" });
        event("pair-code", &data)
    };
    let account = json!({ "phoneNumber": NUMBER, "name": "Toko Sari", "platform": "android" });
    let ended = |reason: &str, fields: Value| status("disconnected", &with(json!({ "reason": reason }), &fields));
    match scene {
        "code" => coded(),
        "expired" => window("one") + &code(0.1),
        "checking" => status("qr_pending", &json!({ "pairing": "one", "stale": true })) + &code(60.0),
        "pair-code" => coded() + &pair(160.0),
        "pair-code-expired" => coded() + &pair(0.1),
        "second-window" => window("zero") + &coded(),
        "passkey" | "compare" => {
            let status = status("connecting", &json!({ "reason": "passkey-required", "pairing": "one" }));
            let step = if scene == "compare" {
                json!({ "step": "compare", "code": "ABCD1234", "expiresIn": 120, "pairing": "one" })
            } else {
                json!({ "step": "assert", "options": {}, "expiresIn": 120, "pairing": "one" })
            };
            status + &event("passkey-required", &step)
        }
        "connected" => status("connected", &account),
        "just-now" => window("one") + &status("connected", &account),
        "stale" => status("connected", &with(account, &json!({ "stale": true }))),
        "banned-until" => ended("banned", json!({ "retryable": false, "until": "2099-01-28T10:00:00Z" })),
        "not-removed" => ended("unlinked-by-user", json!({ "remote": false })),
        "broken" => event("connection-status", &json!({ "status": "of a later version" })),
        _ if PAIR_REFUSALS.contains(&scene) => {
            let retryable = !["not-available"].contains(&scene);
            let refused = json!({ "phoneNumber": NUMBER, "reason": scene, "retryable": retryable });
            coded() + &event("pair-code-refused", &refused)
        }
        _ => ended("never-linked", json!({})),
    }
}

/// What the service answers in this scene.
fn answer(scene: &str, command: &str, qr: &Value) -> Reply {
    match (scene, command) {
        ("loading", "events") => Reply::stream(""),
        ("signed-out", "events") => Reply::refusal("401 Unauthorized", "expired-token"),
        ("lost", "events") => Reply::refusal("503 Service Unavailable", "store-unavailable"),
        ("too-many-streams", "events") => {
            Reply::refusal("429 Too Many Requests", "too-many-streams").with("retry-after: 60")
        }
        (_, "events") => Reply::stream(&events(scene, qr)),
        ("too-many-commands", _) => {
            Reply::refusal("429 Too Many Requests", "too-many-commands").with("retry-after: 37")
        }
        ("no-capacity", _) => Reply::refusal("503 Service Unavailable", "no-capacity").with("retry-after: 60"),
        _ => Reply::refusal("500 Internal Server Error", "internal"),
    }
}

struct Scenes<'a>(&'a Browser);

impl Scenes<'_> {
    async fn show(&self, scene: &str, wanted: impl Fn(&Shown) -> bool) {
        let base = format!("/scenes/{scene}");
        let script = "document.querySelector('whatsapp-link').setAttribute('base', arguments[0])";
        self.0.run(script, vec![json!(base)]).await;
        self.keep(scene, wanted).await;
    }

    async fn keep(&self, name: &str, wanted: impl Fn(&Shown) -> bool) {
        // The language's file may come after the state.
        let is_arabic = |shown: &Shown| shown.title.chars().any(|letter| ARABIC.contains(&letter));
        self.0.card().until(name, |shown| wanted(shown) && is_arabic(shown)).await;
        screen::keep_narrow(self.0, &format!("91-arabic-{name}")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_state_is_shown_in_arabic() {
    let Some(stage) = PageTest::set(&[], "ar").await else { return };
    let api = stage.program.api(TENANT);
    let mut stream = api.events().await;
    api.connect().await;
    let (qr, script) = (stream.until_qr().await.data, stage.program.base().to_owned());
    let service =
        Double::start(move |path, _| match path.strip_prefix("/scenes/").and_then(|rest| rest.split_once('/')) {
            Some((scene, path)) => answer(scene, path.trim_start_matches("api/whatsapp/"), &qr),
            None => Reply::html(&double::host(&script, "", "/scenes/loading")),
        })
        .await;
    let (browser, card, scenes) = (&stage.browser, stage.browser.card(), Scenes(&stage.browser));
    browser.goto(&service.base()).await;
    let arabic = "Object.assign(document.documentElement, { lang: 'ar', dir: 'rtl' });
        document.querySelector('whatsapp-link').setAttribute('tenant-name', 'Toko Sari (Jakarta)');
        document.querySelector('whatsapp-link').setAttribute('login-url', '/login')";
    browser.run(arabic, vec![]).await;
    scenes.keep("loading", |shown| shown.state == "loading").await;

    let is_live = |shown: &Shown| shown.stream == "live";
    scenes.show("never-linked", |shown| is_live(shown) && shown.reason == "never-linked").await;
    card.click("summary").await;
    scenes.keep("number", |shown| shown.words.contains("+966")).await;
    card.write("#number", "0812 3456").await;
    card.click("#pair").await;
    scenes.keep("number-invalid", |shown| shown.words.contains("برمز البلد")).await;
    for limit in ["too-many-commands", "no-capacity", "internal"] {
        scenes.show(limit, |shown| is_live(shown) && shown.reason == "never-linked" && shown.problem.is_empty()).await;
        card.click("#connect").await;
        scenes.keep(&format!("problem-{limit}"), |shown| !shown.problem.is_empty()).await;
        // A status with another reason ends the sentence.
        scenes.show("not-removed", |shown| is_live(shown) && shown.reason == "unlinked-by-user").await;
    }

    scenes.show("code", |shown| is_live(shown) && shown.mode == "qr_pending" && shown.qr).await;
    scenes.show("pair-code", |shown| !shown.pair.is_empty()).await;
    scenes.show("pair-code-expired", |shown| shown.pair.is_empty() && !shown.pairing.is_empty()).await;
    for refusal in PAIR_REFUSALS {
        let before = card.look().await.words;
        scenes.show(refusal, |shown| is_live(shown) && shown.qr && shown.words != before).await;
    }
    scenes.show("expired", |shown| shown.mode == "expired").await;
    scenes.show("checking", |shown| shown.mode == "checking").await;
    scenes.show("second-window", |shown| shown.mode == "qr_pending" && shown.words.contains("هل رفض الهاتف")).await;
    // The phone took the code: what helps against a refusal goes away.
    let is_taken = |shown: &Shown| !shown.countdown.is_empty() && !shown.words.contains("هل رفض الهاتف");
    scenes.show("passkey", |shown| shown.mode == "passkey-required" && is_taken(shown)).await;
    scenes.show("compare", |shown| shown.mode == "compare" && !shown.compare.is_empty() && is_taken(shown)).await;
    scenes.show("just-now", |shown| is_live(shown) && shown.title.contains("بنجاح")).await;
    scenes.show("banned-until", |shown| is_live(shown) && shown.reason == "banned").await;
    scenes
        .show("connected", |shown| is_live(shown) && shown.state == "connected" && !shown.title.contains("بنجاح"))
        .await;
    card.click("#disconnect").await;
    scenes.keep("question", |shown| shown.dialog).await;
    card.click("#keep").await;
    scenes.show("stale", |shown| shown.stale).await;
    scenes.show("lost", |shown| shown.stream == "lost" && !shown.notice.is_empty()).await;
    scenes.show("too-many-streams", |shown| shown.notice.contains("علامات")).await;
    // Neither is a status, which could be out of date.
    scenes.show("signed-out", |shown| shown.stream == "signed-out" && shown.status == "يلزم تسجيل الدخول").await;
    scenes.show("stale", |shown| shown.stale).await;
    scenes.show("broken", |shown| shown.state == "broken" && shown.status == "غير معروفة").await;
}
