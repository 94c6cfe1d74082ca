use std::sync::Arc;
use std::time::Duration;

use tautan_simulator::{Fault, Pattern, ScanError, Simulator};
use whatsapp_rust::prelude::Event;
use whatsapp_rust::wacore::store::InMemoryBackend;

use crate::DEADLINE;
use crate::library::{Library, linked};

#[tokio::test]
async fn scan_connects_the_client_in_under_a_second() {
    let linked = linked().await;
    println!("scan -> connected: {:?}", linked.scan_to_connected);
    assert!(linked.scan_to_connected < Duration::from_secs(1));
    assert_eq!(linked.phone.devices(), [linked.device]);
    assert_eq!(linked.sim.logins(linked.device), 1);
    assert_eq!(linked.sim.live_sockets(linked.device), 1);
    assert_eq!(linked.sim.sockets_opened(), 2, "one to register, one to log in");
    assert_eq!(linked.sim.refs_handed_out(), 6);
    assert_eq!(linked.sim.handshakes(linked.device), [Pattern::Xx]);
}

#[tokio::test]
async fn each_sender_gets_a_one_time_key_of_its_own() {
    let linked = linked().await;
    let device = linked.device;
    linked.sim.wait_until(DEADLINE, |sim| sim.one_time_keys(device) == 812).await.unwrap();
    linked.sim.phone("6289876543210", "Budi").send_text(device, "halo").await.unwrap();
    linked.sim.phone("6289876543211", "Tono").send_text(device, "halo").await.unwrap();
    assert_eq!(linked.sim.one_time_keys(device), 810);
}

#[tokio::test]
async fn camera_with_deep_links_links_too() {
    let sim = Simulator::start().await.unwrap();
    let mut library = Library::start(&sim, &Arc::new(InMemoryBackend::new())).await;
    let text = format!("https://wa.me/settings/linked_devices#{}", library.qr_text().await);
    sim.phone("6281234567890", "Toko Sari").scan(&text).await.unwrap();
    library.connected().await;
}

async fn refused_pairing(fault: Fault, reason: &str) {
    let sim = Simulator::start().await.unwrap();
    let phone = sim.phone("6281234567890", "Toko Sari");
    sim.faults().set_times(fault, 1);
    let mut library = Library::start(&sim, &Arc::new(InMemoryBackend::new())).await;
    let qr_text = library.qr_text().await;
    assert_eq!(phone.scan(&qr_text).await, Err(ScanError::Refused(reason.to_owned())));
    library.event("pair error", |event| matches!(event, Event::PairError(_)).then_some(())).await;
    assert!(phone.devices().is_empty());
    assert_eq!(sim.faults().consumed(fault), 1);
}

#[tokio::test]
async fn corrupted_hmac_is_a_pair_error_and_lists_no_device() {
    refused_pairing(Fault::CorruptHmac, "hmac-mismatch").await;
}

#[tokio::test]
async fn corrupted_signature_is_a_pair_error_and_lists_no_device() {
    refused_pairing(Fault::CorruptSignature, "signature-mismatch").await;
}

#[tokio::test]
async fn qr_text_ends_with_its_connection() {
    let sim = Simulator::start().await.unwrap();
    let phone = sim.phone("6281234567890", "Toko Sari");
    let mut library = Library::start(&sim, &Arc::new(InMemoryBackend::new())).await;
    let dead = library.qr_text().await;
    sim.cut_all();
    let alive = library.qr_text().await;
    assert_eq!(phone.scan(&dead).await, Err(ScanError::Expired));
    assert_eq!(sim.refs_handed_out(), 12, "each connection gets fresh refs");
    let device = phone.scan(&alive).await.unwrap();
    assert_eq!(phone.scan(&alive).await, Err(ScanError::Spent));
    library.connected().await;
    assert_eq!(phone.devices(), [device]);
}

#[tokio::test]
async fn tampered_qr_text_links_nothing() {
    let sim = Simulator::start().await.unwrap();
    let phone = sim.phone("6281234567890", "Toko Sari");
    let mut library = Library::start(&sim, &Arc::new(InMemoryBackend::new())).await;
    let qr_text = library.qr_text().await;
    let mut fields: Vec<&str> = qr_text.split(',').collect();
    fields.swap(1, 2);
    assert_eq!(phone.scan(&fields.join(",")).await, Err(ScanError::WrongKeys));
    assert_eq!(phone.scan("2@nobody,AAAA,AAAA,AAAA,9").await, Err(ScanError::Malformed));
    fields[0] = "2@nobody";
    assert_eq!(phone.scan(&fields.join(",")).await, Err(ScanError::Unknown));
    assert!(phone.devices().is_empty());
}

#[tokio::test]
async fn device_without_a_login_stays_on_the_phones_list() {
    let sim = Simulator::start().await.unwrap();
    let phone = sim.phone("6281234567890", "Toko Sari");
    sim.faults().set(Fault::SilentPairing);
    let mut library = Library::start(&sim, &Arc::new(InMemoryBackend::new())).await;
    let device = phone.scan(&library.qr_text().await).await.unwrap();
    drop(library);
    assert_eq!(phone.devices(), [device]);
    assert_eq!(sim.logins(device), 0);
}

#[tokio::test]
async fn silent_server_shows_no_qr_text_until_it_answers() {
    for fault in [Fault::SilentSocket, Fault::SilentLogin] {
        let sim = Simulator::start().await.unwrap();
        sim.faults().set_times(fault, 1);
        let mut library = Library::start(&sim, &Arc::new(InMemoryBackend::new())).await;
        sim.wait_until(DEADLINE, |sim| sim.faults().consumed(fault) == 1).await.unwrap();
        assert_eq!(sim.refs_handed_out(), 0);
        sim.cut_all();
        library.qr_text().await;
        assert_eq!(sim.sockets_opened(), 2);
    }
}

#[tokio::test]
async fn nothing_runs_on_after_a_shutdown() {
    let linked = linked().await;
    let address = linked.sim.address();
    linked.sim.shutdown().await;
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}
