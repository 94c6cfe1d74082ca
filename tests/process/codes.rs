//! Linking by a code that is typed on the phone, beside the QR.

use std::time::Duration;

use tautan_simulator::{CodeError, CodeRefusal, ScanError};
use tautan_test_support::{Api, Event, EventStream, Program, within};

use crate::stage::{NAME, NUMBER, Stage, TENANT, link};

/// A stream that has received a QR code and then a pairing code. The program ends with its handle, so each
/// test holds on to it.
struct Asked {
    stage: Stage,
    _program: Program,
    api: Api,
    stream: EventStream,
    qr: Event,
}

async fn asked(refusal: Option<CodeRefusal>) -> Asked {
    let stage = Stage::new().await;
    stage.simulator.refuse_codes(refusal);
    let program = stage.start();
    let api = program.api(TENANT);
    let mut stream = api.events().await;
    api.connect_by_code(NUMBER).await;
    let qr = stream.until_qr().await;
    Asked { stage, _program: program, api, stream, qr }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pairing_code_typed_on_the_phone_links_the_account() {
    let Asked { stage, _program, mut stream, qr, .. } = asked(None).await;
    let pair = stream.until_pair_code().await;
    let (head, tail) = pair.text("code").split_once('-').expect("ABCD-1234");
    assert_eq!((head.len(), tail.len()), (4, 4), "{pair:?}");
    assert_eq!(pair.text("phoneNumber"), NUMBER);
    let left = pair.data["expiresIn"].as_u64().expect("seconds");
    assert!((150..=180).contains(&left), "{left}");

    within("the code", stage.phone.enter_code(pair.text("code"))).await.expect("a living code");
    assert_eq!(stream.until_status("connecting").await.data["reason"], "scanned");
    let connected = stream.until_status("connected").await;
    assert_eq!((connected.text("phoneNumber"), connected.text("name")), (NUMBER, NAME));
    stage.proves_device().await;
    assert_eq!(stage.phone.scan(qr.text("qrText")).await, Err(ScanError::Expired), "the first wins");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn qr_scanned_beside_a_code_links_and_ends_the_code() {
    let Asked { stage, _program, mut stream, qr, .. } = asked(None).await;
    let pair = stream.until_pair_code().await;
    within("the scan", stage.phone.scan(qr.text("qrText"))).await.expect("a living code");
    stream.until_status("connected").await;
    assert_eq!(stage.phone.enter_code(pair.text("code")).await, Err(CodeError::Expired));
    stage.device();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mistyped_code_links_nothing_and_the_shown_one_still_does() {
    let Asked { stage, _program, mut stream, .. } = asked(None).await;
    let pair = stream.until_pair_code().await;
    let other = if pair.text("code").ends_with('7') { "8" } else { "7" };
    let mistyped = format!("{}{other}", &pair.text("code")[..8]);
    assert_eq!(stage.phone.enter_code(&mistyped).await, Err(CodeError::Wrong));
    within("the code", stage.phone.enter_code(pair.text("code"))).await.expect("it lives on");
    stream.until_status("connected").await;
    stage.proves_device().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refused_code_has_its_reason_and_the_qr_still_links() {
    for (refusal, reason, retryable) in [
        (CodeRefusal::RateLimited, "rate-limited", true),
        (CodeRefusal::NotAvailable, "not-available", false),
        (CodeRefusal::BadRequest, "number-refused", true),
        (CodeRefusal::Forbidden, "number-refused", true),
        (CodeRefusal::Internal, "unanswered", true),
    ] {
        let Asked { stage, _program, mut stream, qr, .. } = asked(Some(refusal)).await;
        let refused = stream.until("the refusal", |event| event.name == "pair-code-refused").await;
        assert_eq!(refused.text("phoneNumber"), NUMBER);
        assert_eq!((refused.text("reason"), &refused.data["retryable"]), (reason, &retryable.into()));
        within("the scan", stage.phone.scan(qr.text("qrText"))).await.expect("a living code");
        stream.until_status("connected").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn second_request_after_a_refusal_gives_a_code() {
    let Asked { stage, _program, api, mut stream, .. } = asked(Some(CodeRefusal::RateLimited)).await;
    stream.until("the refusal", |event| event.name == "pair-code-refused").await;
    // A new reader receives it as well.
    let mut late = api.events().await;
    late.until("the refusal", |event| event.name == "pair-code-refused").await;
    stage.simulator.refuse_codes(None);
    api.connect_by_code(NUMBER).await;
    let pair = stream.until_pair_code().await;
    api.connect_by_code(NUMBER).await;
    within("the code", stage.phone.enter_code(pair.text("code"))).await.expect("it was not replaced");
    stream.until_status("connected").await;
    assert_eq!(stage.simulator.codes_requested(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_number_gets_a_code_of_its_own() {
    const OTHER: &str = "6289876543210";
    let Asked { stage, _program, api, mut stream, .. } = asked(None).await;
    let first = stream.until_pair_code().await;
    let other = stage.simulator.phone(OTHER, "Budi");
    api.connect_by_code(OTHER).await;
    let second = stream.until_pair_code().await;
    assert_eq!(second.text("phoneNumber"), OTHER);
    assert_ne!(first.text("code"), second.text("code"));
    within("the code", other.enter_code(second.text("code"))).await.expect("a living code");
    assert_eq!(stream.until_status("connected").await.text("phoneNumber"), OTHER);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn withdrawn_code_is_replaced_a_limited_number_of_times() {
    let Asked { stage, _program, api, mut stream, .. } = asked(None).await;
    let first = stream.until_pair_code().await;
    stage.simulator.refresh_codes(false);
    let second = stream.until_pair_code().await;
    assert_ne!(first.text("code"), second.text("code"));
    assert_eq!(stage.phone.enter_code(first.text("code")).await, Err(CodeError::Wrong));
    stage.simulator.refresh_codes(true);
    let refused = stream.until("the refusal", |event| event.name == "pair-code-refused").await;
    assert_eq!(refused.text("reason"), "tries-used-up");
    api.connect_by_code(NUMBER).await;
    let third = stream.until_pair_code().await;
    within("the code", stage.phone.enter_code(third.text("code"))).await.expect("a living code");
    stream.until_status("connected").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn code_typed_after_the_last_qr_expired_still_links() {
    let stage = Stage::new().await;
    // QR codes for 4.8 s in all.
    let program = stage.settings().with("SIM_QR_PACE", "0.03").start();
    let api = program.api(TENANT);
    let mut stream = api.events().await;
    api.connect_by_code(NUMBER).await;
    let pair = stream.until_pair_code().await;
    // The expected result is that nothing happens when the last code expires: there is no event to wait for.
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(stage.simulator.refs_handed_out(), 6, "no other window was opened");
    within("the code", stage.phone.enter_code(pair.text("code"))).await.expect("it was not cut off");
    stream.until_status("connected").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_the_time_of_a_code_is_up_the_next_window_has_another() {
    let stage = Stage::new().await;
    // QR codes for 8 s in all, a pairing code for 9 s.
    let program = stage.settings().with("SIM_QR_PACE", "0.05").start();
    let api = program.api(TENANT);
    let mut stream = api.events().await;
    api.connect_by_code(NUMBER).await;
    let first = stream.until_pair_code().await;
    assert_eq!(stage.simulator.refs_handed_out(), 6);
    stage.simulator.expire_codes();
    let second = stream.until_pair_code().await;
    assert_eq!(stage.simulator.refs_handed_out(), 2 * 6, "a window of its own");
    assert_ne!(first.text("code"), second.text("code"));
    within("the code", stage.phone.enter_code(second.text("code"))).await.expect("a living code");
    stream.until_status("connected").await;
    api.disconnect().await;
    stream.until_status("disconnected").await;
    link(&api, &stage.phone).await;
}
