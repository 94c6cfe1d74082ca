use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use tautan_simulator::{Phone, ScanError, Simulator};
use tokio_util::task::TaskTracker;
use whatsapp_rust::passkey::Assertion;
use whatsapp_rust::prelude::Event;
use whatsapp_rust::wacore::store::InMemoryBackend;

use crate::DEADLINE;
use crate::library::Library;

type Scanning = tokio::task::JoinHandle<Result<tautan_simulator::DeviceId, ScanError>>;

/// A client whose code was scanned by an account that asks for a passkey, and what it was asked.
async fn asked(sim: &Simulator, phone: &Phone) -> (Library, Scanning, Value) {
    let mut library = Library::start(sim, &Arc::new(InMemoryBackend::new())).await;
    let qr_text = library.qr_text().await;
    let scanning = TaskTracker::new().spawn({
        let phone = phone.clone();
        async move { phone.scan(&qr_text).await }
    });
    let options = library.event("passkey", |event| match event {
        Event::PairPasskeyRequest(request) => Some(request.request_options_json.clone()),
        _ => None,
    });
    let options = serde_json::from_str(&options.await).unwrap();
    (library, scanning, options)
}

fn packed(assertion: &Value) -> Assertion {
    let credential_id = URL_SAFE_NO_PAD.decode(assertion["rawId"].as_str().unwrap()).unwrap();
    Assertion { assertion_json: assertion.to_string().into_bytes(), credential_id }
}

#[tokio::test]
async fn passkey_of_the_account_and_equal_codes_link() {
    let sim = Simulator::start().await.unwrap();
    let phone = sim.phone("6281234567890", "Toko Sari");
    let passkey = phone.asks_for_passkey();
    let (mut library, scanning, options) = asked(&sim, &phone).await;
    assert!(phone.devices().is_empty(), "the scan alone links nothing");
    library.client().send_passkey_response(packed(&passkey.assertion(&options))).await.unwrap();
    let code = library.event("code", |event| match event {
        Event::PairPasskeyConfirmation(confirmation) => Some(confirmation.code.clone()),
        _ => None,
    });
    let code = code.await;
    sim.wait_until(DEADLINE, |_| phone.passkey_code().is_some()).await.unwrap();
    assert_eq!(phone.passkey_code(), Some(code));
    library.client().send_passkey_confirmation().await.unwrap();
    let device = scanning.await.unwrap().unwrap();
    library.connected().await;
    assert_eq!(phone.devices(), [device]);
}

#[tokio::test]
async fn another_accounts_passkey_links_nothing() {
    let sim = Simulator::start().await.unwrap();
    let phone = sim.phone("6281234567890", "Toko Sari");
    phone.asks_for_passkey();
    let foreign = sim.phone("6289876543210", "Budi").asks_for_passkey();
    let (library, scanning, options) = asked(&sim, &phone).await;
    library.client().send_passkey_response(packed(&foreign.assertion(&options))).await.unwrap_err();
    assert_eq!(scanning.await.unwrap(), Err(ScanError::PasskeyRefused));
    assert!(phone.devices().is_empty());
}

#[tokio::test]
async fn answer_to_another_challenge_links_nothing() {
    let sim = Simulator::start().await.unwrap();
    let phone = sim.phone("6281234567890", "Toko Sari");
    let passkey = phone.asks_for_passkey();
    let (library, scanning, mut options) = asked(&sim, &phone).await;
    options["challenge"] = Value::from(URL_SAFE_NO_PAD.encode([7; 32]));
    library.client().send_passkey_response(packed(&passkey.assertion(&options))).await.unwrap_err();
    assert_eq!(scanning.await.unwrap(), Err(ScanError::PasskeyRefused));
}
