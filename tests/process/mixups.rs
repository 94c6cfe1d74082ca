//! WhatsApp logs a linked device in as another account, which must never be shown as this tenant's.

use tautan_simulator::Fault;
use tautan_test_support::{Event, EventStream};

use crate::stage::{NUMBER, Stage, TENANT, link};

async fn is_refused(stream: &mut EventStream) {
    let claims = |event: &Event| event.is_status("connected") || event.is_status("disconnected");
    let received = stream.until("a connection or an end", claims).await;
    assert_eq!(received.data["reason"], "credentials-unreadable", "{received:?}");
    assert_eq!(received.data["retryable"], false, "{received:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn login_as_another_account_is_refused_and_changes_nothing() {
    let stage = Stage::new().await;
    let mut program = stage.start();
    let api = program.api(TENANT);
    let mut stream = link(&api, &stage.phone).await;
    stage.simulator.faults().set(Fault::OtherAccount);
    assert!(stage.simulator.cut(stage.device()));
    is_refused(&mut stream).await;
    api.connect().await;
    is_refused(&mut stream).await;
    assert!(stage.credentials_after(&mut program) > 10);

    // The next process knows whose they are, too.
    let program = stage.start();
    let api = program.api(TENANT);
    let mut stream = api.events().await;
    stream.until_status("disconnected").await;
    api.connect().await;
    is_refused(&mut stream).await;
    assert_eq!(stage.simulator.faults().consumed(Fault::OtherAccount), 3);

    stage.simulator.faults().clear(Fault::OtherAccount);
    api.connect().await;
    assert_eq!(stream.until_status("connected").await.text("phoneNumber"), NUMBER);
    stage.proves_device().await;
}
