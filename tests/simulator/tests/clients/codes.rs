use std::sync::Arc;

use tautan_simulator::{CodeError, CodeRefusal, Phone, ScanError, Simulator};
use whatsapp_rust::pair_code::{PairCodeOptions, PairCodeRejection};
use whatsapp_rust::prelude::Event;
use whatsapp_rust::wacore::store::InMemoryBackend;

use crate::library::Library;

const NUMBER: &str = "6281234567890";

/// The simulator ends with its last handle, so each test holds on to it.
struct Asking {
    sim: Simulator,
    phone: Phone,
    library: Library,
    qr_text: String,
}

/// A client that shows a QR text.
async fn asking() -> Asking {
    let sim = Simulator::start().await.unwrap();
    let phone = sim.phone(NUMBER, "Toko Sari");
    let mut library = Library::start(&sim, &Arc::new(InMemoryBackend::new())).await;
    let qr_text = library.qr_text().await;
    Asking { sim, phone, library, qr_text }
}

async fn code(library: &Library, number: &str) -> String {
    let options = PairCodeOptions { phone_number: number.to_owned(), ..PairCodeOptions::default() };
    library.client().pair_with_code(options).await.expect("a code")
}

/// Another that is as well formed.
fn wrong(code: &str) -> String {
    let other = if code.ends_with('7') { '8' } else { '7' };
    format!("{}{other}", &code[..7])
}

#[tokio::test]
async fn code_entered_on_the_phone_links_the_client() {
    let Asking { sim, phone, mut library, qr_text } = asking().await;
    let code = code(&library, NUMBER).await;
    let device = phone.enter_code(&format!("{}-{}", &code[..4], &code[4..].to_lowercase())).await.unwrap();
    library.connected().await;
    assert_eq!(phone.devices(), [device]);
    assert_eq!(phone.scan(&qr_text).await, Err(ScanError::Expired), "the first wins");
    assert_eq!(phone.enter_code(&code).await, Err(CodeError::Expired), "once");
    phone.send_text(device, "halo").await.unwrap();
    assert_eq!(library.text().await, "halo");
    assert_eq!(sim.codes_requested(), 1);
}

#[tokio::test]
async fn qr_text_beside_a_code_links_too() {
    let Asking { sim: _sim, phone, mut library, qr_text } = asking().await;
    let code = code(&library, NUMBER).await;
    let device = phone.scan(&qr_text).await.unwrap();
    library.connected().await;
    assert_eq!(phone.enter_code(&code).await, Err(CodeError::Expired));
    assert_eq!(phone.devices(), [device]);
}

#[tokio::test]
async fn wrong_code_links_nothing_and_the_right_one_still_does() {
    let Asking { sim: _sim, phone, mut library, .. } = asking().await;
    let code = code(&library, NUMBER).await;
    assert_eq!(phone.enter_code("0000-0000").await, Err(CodeError::Malformed));
    assert_eq!(phone.enter_code(&wrong(&code)).await, Err(CodeError::Wrong));
    assert!(phone.devices().is_empty());
    phone.enter_code(&code).await.unwrap();
    library.connected().await;
}

#[tokio::test]
async fn code_is_valid_only_for_its_number() {
    let Asking { sim, library, .. } = asking().await;
    let code = code(&library, NUMBER).await;
    let other = sim.phone("6289876543210", "Budi");
    assert_eq!(other.enter_code(&code).await, Err(CodeError::NotAsked));
}

#[tokio::test]
async fn expired_code_is_refused() {
    let Asking { sim, phone, library, .. } = asking().await;
    let code = code(&library, NUMBER).await;
    sim.expire_codes();
    assert_eq!(phone.enter_code(&code).await, Err(CodeError::Expired));
}

#[tokio::test]
async fn withdrawn_code_is_reported_and_another_can_be_requested() {
    let Asking { sim, phone, mut library, .. } = asking().await;
    for by_hand in [false, true] {
        let withdrawn = code(&library, NUMBER).await;
        sim.refresh_codes(by_hand);
        let received = library.event("refresh", |event| match event {
            Event::PairingCodeRefresh(refresh) => Some(refresh.force_manual),
            _ => None,
        });
        assert_eq!(received.await, by_hand);
        assert_eq!(phone.enter_code(&withdrawn).await, Err(CodeError::Expired));
    }
    phone.enter_code(&code(&library, NUMBER).await).await.unwrap();
    library.connected().await;
}

#[tokio::test]
async fn each_refusal_reaches_the_client_as_what_it_is() {
    let Asking { sim, phone, mut library, .. } = asking().await;
    for (refusal, rejection) in [
        (CodeRefusal::BadRequest, PairCodeRejection::BadRequest),
        (CodeRefusal::Forbidden, PairCodeRejection::Forbidden),
        (CodeRefusal::RateLimited, PairCodeRejection::RateOverlimit),
        (CodeRefusal::NotAvailable, PairCodeRejection::FeatureNotAvailable),
        (CodeRefusal::Internal, PairCodeRejection::InternalServerError),
    ] {
        sim.refuse_codes(Some(refusal));
        let options = PairCodeOptions { phone_number: NUMBER.to_owned(), ..PairCodeOptions::default() };
        let refused = library.client().pair_with_code(options).await.expect_err("no code");
        assert_eq!(refused.rejection(), Some(rejection));
        let received = library.event("refusal", |event| match event {
            Event::PairingCodeError(error) => Some(error.rejection),
            _ => None,
        });
        assert_eq!(received.await, Some(rejection));
    }
    assert_eq!(phone.enter_code("ABCD-1234").await, Err(CodeError::NotAsked));
    sim.refuse_codes(None);
    phone.enter_code(&code(&library, NUMBER).await).await.unwrap();
    library.connected().await;
}

#[tokio::test]
async fn number_without_an_account_gets_no_code() {
    let Asking { sim: _sim, library, .. } = asking().await;
    let options = PairCodeOptions { phone_number: "6280000000000".to_owned(), ..PairCodeOptions::default() };
    let refused = library.client().pair_with_code(options).await.expect_err("no code");
    assert_eq!(refused.rejection(), Some(PairCodeRejection::BadRequest));
}
