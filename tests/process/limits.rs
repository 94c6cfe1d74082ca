//! How often users may send each request to WhatsApp with the default limits.

use tautan_test_support::within;

use crate::stage::{NUMBER, Stage, TENANT};

/// Three tenants ask for codes for one number. The fourth would ring on its phone once more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fourth_code_for_a_number_is_refused_and_the_qr_links() {
    let stage = Stage::new().await;
    let program = stage.settings().with("TAUTAN_LIMIT_NUMBER_CODES", "").start();
    let mut open = Vec::new();
    for tenant in ["a", "b", "c"] {
        let api = program.api(tenant);
        let mut stream = api.events().await;
        api.connect_by_code(NUMBER).await;
        stream.until_pair_code().await;
        open.push(stream);
    }
    let api = program.api(TENANT);
    let mut stream = api.events().await;
    api.connect_by_code(NUMBER).await;
    let qr = stream.until_qr().await;
    let refused = stream.until("the refusal", |event| event.name == "pair-code-refused").await;
    assert_eq!((refused.text("phoneNumber"), refused.text("reason")), (NUMBER, "rate-limited"));
    assert_eq!(stage.simulator.codes_requested(), 3, "WhatsApp was not asked");
    within("the scan", stage.phone.scan(qr.text("qrText"))).await.expect("a living code");
    stream.until_status("connected").await;
}
