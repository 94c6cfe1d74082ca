//! WhatsApp gives six codes at a time. Whether more follow depends on an open stream.

use std::collections::BTreeSet;

use tautan_test_support::within;

use crate::{
    endings::is_forgotten,
    stage::{Stage, TENANT},
};

/// A window of 160 s takes 4.8 s. Of its codes only the first lives for the second that it takes to be shown, and for most
/// of another.
const PACE: &str = "0.03";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pairing_without_streams_opens_one_window() {
    let stage = Stage::new().await;
    let mut program = stage.settings().with("SIM_QR_PACE", PACE).start();
    let api = program.api(TENANT);
    api.connect().await;
    program.wait_for_line("session ended");
    let status = api.status().await;
    assert_eq!((&status["status"], &status["reason"]), (&"disconnected".into(), &"qr-expired".into()));
    assert_eq!(status["retryable"], true);
    assert_eq!(stage.simulator.refs_handed_out(), 6, "one window was opened");
    is_forgotten(&stage, program).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pairing_with_a_stream_opens_more_windows_and_then_ends() {
    let stage = Stage::new().await;
    let program = stage.settings().with("SIM_QR_PACE", PACE).start();
    let api = program.api(TENANT);
    let mut stream = api.events().await;
    api.connect().await;
    let mut first_codes = BTreeSet::new();
    let ended = within("the end of the last window", async {
        loop {
            let event = stream.next().await.expect("the stream stays");
            if event.name == "qr-code" && event.data["attempt"] == 1 {
                first_codes.insert(event.text("qrText").to_owned());
            }
            if event.data["reason"] == "qr-expired" {
                return event;
            }
        }
    });
    assert_eq!(ended.await.data["retryable"], true);
    assert_eq!(first_codes.len(), 3);
    assert_eq!(stage.simulator.refs_handed_out(), 3 * 6);
    is_forgotten(&stage, program).await;
}
