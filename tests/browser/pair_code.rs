//! Linking by a code that is typed on the phone, as the page offers it.

use serde_json::json;
use tautan_simulator::{CodeError, CodeRefusal};
use tautan_test_support::within;

use crate::{
    browser::Browser,
    card::Card,
    page_test::{NUMBER_SHOWN, PageTest},
    screen,
};

/// As people write the number of the stage's phone.
const TYPED: &str = "0812 3456-7890";

/// Asks for a code from the card of an account that is not linked.
async fn ask(card: &Card<'_>) {
    card.state("disconnected").await;
    card.click("summary").await;
    card.write("#number", TYPED).await;
    card.click("#pair").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pairing_code_is_shown_copied_and_links() {
    let Some(stage) = PageTest::open().await else { return };
    let (browser, card) = (&stage.browser, stage.browser.card());
    screen::narrow(browser).await;
    ask(&card).await;
    let shown = card.until("the code", |shown| !shown.pair.is_empty()).await;
    assert!(shown.qr && shown.mode == "qr_pending", "the QR goes on: {shown:#?}");
    let (head, tail) = shown.pair.split_once('-').expect("ABCD-1234");
    assert_eq!((head.len(), tail.len()), (4, 4), "{shown:#?}");
    assert!(shown.pairing.contains("Tautkan dengan nomor telepon"), "where to type it: {shown:#?}");
    let focus = "return document.activeElement.shadowRoot.activeElement.id";
    assert_eq!(browser.run(focus, vec![]).await, json!("pair-code"), "who asked for it is led there");
    screen::keep(browser, "17-pair-code").await;

    let permissions = json!({ "permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"] });
    browser.devtools("Browser.grantPermissions", permissions).await;
    card.click("#copy").await;
    card.until("that it is copied", |shown| shown.words.contains("Tersalin")).await;
    let clipboard = "navigator.clipboard.readText().then(arguments[0], arguments[0])";
    assert_eq!(browser.run_async(clipboard, vec![]).await, json!(shown.pair));

    browser.reload().await;
    let again = card.until("the same code", |again| !again.pair.is_empty()).await;
    assert_eq!(again.pair, shown.pair);
    within("the code", stage.phone.enter_code(&again.pair)).await.expect("a living code");
    let shown = card.state("connected").await;
    assert_eq!((&*shown.phone, &*shown.title), (NUMBER_SHOWN, "Berhasil Terhubung!"));
    assert_eq!(browser.complaints().await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn scanned_qr_wins_over_a_pairing_code() {
    let Some(stage) = PageTest::open().await else { return };
    let card = stage.browser.card();
    ask(&card).await;
    let shown = card.until("the code", |shown| !shown.pair.is_empty()).await;
    let on_screen = card.scannable("#qr").await.expect("a camera reads the code on the screen");
    within("the scan", stage.phone.scan(&on_screen)).await.expect("the phone takes the code");
    assert!(card.state("connected").await.pair.is_empty());
    assert_eq!(stage.phone.enter_code(&shown.pair).await, Err(CodeError::Expired), "the first wins");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_refusal_is_shown_with_its_sentence_and_action() {
    let Some(stage) = PageTest::open().await else { return };
    let (browser, card) = (&stage.browser, stage.browser.card());
    screen::narrow(browser).await;
    stage.simulator.refuse_codes(Some(CodeRefusal::RateLimited));
    ask(&card).await;
    let until_sentence =
        |sentence: &'static str| card.until(sentence, move |shown| shown.pairing.starts_with(sentence));
    let shown = until_sentence("Terlalu banyak kode").await;
    assert!(shown.offers("pair") && shown.qr && shown.pair.is_empty(), "{shown:#?}");
    screen::keep(browser, "18-pair-code-refused").await;

    // The number stands in the field still.
    for (refusal, sentence) in [
        (CodeRefusal::BadRequest, "WhatsApp tidak memberi kode untuk nomor ini"),
        (CodeRefusal::Internal, "WhatsApp tidak menjawab"),
    ] {
        stage.simulator.refuse_codes(Some(refusal));
        card.click("#pair").await;
        assert!(until_sentence(sentence).await.offers("pair"));
    }
    stage.simulator.refuse_codes(None);
    card.click("#pair").await;
    let shown = card.until("a code", |shown| !shown.pair.is_empty()).await;
    assert!(!shown.offers("pair"), "{shown:#?}");
    stage.simulator.refresh_codes(true);
    assert!(until_sentence("Kode tadi tidak berlaku lagi").await.offers("pair"));

    stage.simulator.refuse_codes(Some(CodeRefusal::NotAvailable));
    card.click("#pair").await;
    let shown = until_sentence("Akun ini tidak dapat ditautkan dengan nomor").await;
    assert!(!shown.offers("pair"), "asking again does not help: {shown:#?}");
    screen::keep(browser, "19-pair-code-not-available").await;
    let on_screen = card.scannable("#qr").await.expect("a camera reads the code on the screen");
    within("the scan", stage.phone.scan(&on_screen)).await.expect("the QR goes on");
    card.state("connected").await;
}

async fn unfold(browser: &Browser) {
    let open = "document.querySelector('whatsapp-link').shadowRoot.querySelector('details').open = true";
    browser.run(open, vec![]).await;
}

/// `0812…` is Indonesia's, and `(212) 555…` of New York would be Morocco's: a stranger's phone would ring.
#[tokio::test(flavor = "multi_thread")]
async fn number_without_its_country_is_asked_for() {
    let Some(stage) = PageTest::open().await else { return };
    let (browser, card) = (&stage.browser, stage.browser.card());
    for (language, status, asked, typed) in [
        (
            "en",
            "Not connected",
            "Begin with the country code",
            ["0812 3456-7890", "(212) 555-123-4567", "+0812 3456 7890"],
        ),
        ("ms", "Belum Terhubung", "+62 812 3456 7890", ["0812 3456-7890", "012-345 6789", "812 3456 7890"]),
        ("id", "Belum Terhubung", "+62 812 3456 7890", ["812 3456 7890", "447911123456", "+62"]),
    ] {
        let set = "document.querySelector('whatsapp-link').setAttribute('lang', arguments[0])";
        browser.run(set, vec![json!(language)]).await;
        card.until("the language", |shown| shown.status == status).await;
        unfold(browser).await;
        for number in typed {
            card.write("#number", number).await;
            card.click("#pair").await;
            let shown = card.look().await;
            assert!(shown.state == "disconnected" && shown.words.contains(asked), "{number} in {language}: {shown:#?}");
        }
    }
    for number in ["+62 812-3456-7890", "0062 812 3456 7890", "6281234567890", TYPED] {
        card.write("#number", number).await;
        card.click("#pair").await;
        let shown = card.until("a code", |shown| !shown.pair.is_empty()).await;
        assert!(shown.state == "qr_pending", "{number}: {shown:#?}");
        card.click("#cancel").await;
        card.reason("cancelled").await;
        unfold(browser).await;
    }
}
