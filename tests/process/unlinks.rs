//! Unlinks that are interrupted, or asked for twice.

use std::time::Duration;

use tautan_simulator::Fault;
use tautan_test_support::{CREDENTIALS, with_store};

use crate::stage::{Stage, TENANT, link};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn repeated_unlink_with_silent_whatsapp_is_one_unlink() {
    let stage = Stage::new().await;
    let mut program = stage.start();
    let api = program.api(TENANT);
    let mut stream = link(&api, &stage.phone).await;
    let (sockets, refs) = (stage.simulator.sockets_opened(), stage.simulator.refs_handed_out());
    stage.simulator.faults().set(Fault::SilentSession);
    api.disconnect().await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    api.disconnect().await;
    let ended = stream.until_status("disconnected").await;
    assert_eq!((ended.text("reason"), &ended.data["remote"]), ("unlinked-by-user", &false.into()));
    assert!(stage.simulator.faults().consumed(Fault::SilentSession) > 0);

    // A session that the second request restarted would have connected by now.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(stage.credentials_after(&mut program), 0);
    assert_eq!((stage.simulator.sockets_opened(), stage.simulator.refs_handed_out()), (sockets, refs));
    while let Some(event) = stream.next().await {
        assert_ne!(event.name, "connection-status", "{event:?}");
    }

    stage.simulator.faults().clear(Fault::SilentSession);
    assert!(stage.phone.unlink(stage.device()));
    let program = stage.start();
    link(&program.api(TENANT), &stage.phone).await;
    stage.proves_device().await;
}

/// The state after a process died between erasing the credentials and publishing that the phone removed the device.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unlink_erased_but_not_published_is_published_at_start() {
    let stage = Stage::new().await;
    let mut program = stage.start();
    link(&program.api(TENANT), &stage.phone).await;
    assert!(stage.credentials_after(&mut program) > 10);
    assert!(stage.phone.unlink(stage.device()));
    with_store(stage.directory.path(), |store| {
        let transaction = store.begin_write().expect("it can be written");
        transaction.delete_table(CREDENTIALS).expect("it is there");
        transaction.commit().expect("written");
    });

    let program = stage.start();
    let api = program.api(TENANT);
    let ended = api.events().await.until_status("disconnected").await;
    assert_eq!((ended.text("reason"), &ended.data["retryable"]), ("unlinked-by-phone", &true.into()));
    link(&api, &stage.phone).await;
    stage.proves_device().await;
}
