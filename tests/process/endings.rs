//! How a link ends, as the page is told, and that "connect" helps where it promises to.

use std::time::{SystemTime, UNIX_EPOCH};

use redb::{Database, ReadableTable as _, TableDefinition};
use tautan_simulator::{Fault, Refusal};
use tautan_test_support::{Api, Event, within};

use crate::stage::{Stage, TENANT, link, scan};

fn assert_ended(event: &Event, reason: &str, retryable: bool) {
    assert_eq!(event.data["reason"], reason, "{event:?}");
    assert_eq!(event.data["retryable"], retryable, "{event:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unlinked_on_the_phone_is_told_and_the_next_connect_offers_a_code() {
    let stage = Stage::new().await;
    let program = stage.start();
    let api = program.api(TENANT);
    let mut stream = link(&api, &stage.phone).await;
    assert!(stage.phone.unlink(stage.device()));
    assert_ended(&stream.until_status("disconnected").await, "unlinked-by-phone", true);
    link(&api, &stage.phone).await;
    stage.proves_device().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_that_is_replaced_redials_once_and_then_gives_way() {
    let stage = Stage::new().await;
    let program = stage.start();
    let api = program.api(TENANT);
    let mut stream = link(&api, &stage.phone).await;
    assert!(stage.simulator.replace(stage.device()));
    assert_eq!(stream.until_status("connecting").await.data["reason"], "reconnecting");
    stream.until_status("connected").await;
    assert!(stage.simulator.replace(stage.device()));
    assert_ended(&stream.until_status("disconnected").await, "replaced", true);
    assert_eq!(stage.simulator.live_sockets(stage.device()), 0);
    // The device is still linked: no scan is needed.
    api.connect().await;
    stream.until_status("connected").await;
    stage.proves_device().await;
}

/// WhatsApp says no at the next login; the page says `reason`.
async fn refused(refusal: Refusal, reason: &str) -> Event {
    let stage = Stage::new().await;
    let program = stage.start();
    let api = program.api(TENANT);
    let mut stream = link(&api, &stage.phone).await;
    stage.phone.refuse(refusal);
    let ended = stream.until_status("disconnected").await;
    assert_ended(&ended, reason, false);
    stage.device();
    // What was wrong is over: the credentials were kept.
    stage.phone.accept();
    api.connect().await;
    stream.until_status("connected").await;
    ended
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[expect(clippy::disallowed_methods, reason = "the program under test reads the real clock too")]
async fn a_ban_is_told_with_its_end() {
    let ended = refused(Refusal::Banned { expire_seconds: Some(3600) }, "banned").await;
    let until: jiff::Timestamp = ended.text("until").parse().expect("a time");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    let left = until.as_second() - i64::try_from(now).expect("before the year 292 billion");
    assert!((3500..=3600).contains(&left), "{left} s");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_is_too_old_is_told_so() {
    refused(Refusal::Outdated, "client-outdated").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_locked_account_is_told_so() {
    refused(Refusal::Locked, "account-locked").await;
}

/// A pairing whose answer does not prove itself leaves no device, neither there nor here.
async fn corrupted(fault: Fault) {
    let stage = Stage::new().await;
    let program = stage.start();
    let api = program.api(TENANT);
    stage.simulator.faults().set_times(fault, 1);
    let mut stream = api.events().await;
    api.connect().await;
    let qr = stream.until_qr().await;
    let scanned = within("the scan", stage.phone.scan(qr.text("qrText"))).await;
    assert!(scanned.is_err(), "{scanned:?}");
    assert_eq!(stage.simulator.faults().consumed(fault), 1);
    assert_ended(&stream.until_status("disconnected").await, "pairing-failed", true);
    assert_eq!(stage.phone.devices(), []);
    link(&api, &stage.phone).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pairing_with_a_wrong_hmac_fails_and_the_next_one_works() {
    corrupted(Fault::CorruptHmac).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pairing_with_a_wrong_signature_fails_and_the_next_one_works() {
    corrupted(Fault::CorruptSignature).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn credentials_that_do_not_open_are_told_and_an_unlink_makes_room_for_a_new_link() {
    let stage = Stage::new().await;
    let mut program = stage.start();
    drop(link(&program.api(TENANT), &stage.phone).await);
    program.terminate();
    assert!(program.wait().success());
    damage_credentials(&stage);

    let program = stage.start();
    let api: Api = program.api(TENANT);
    let mut stream = api.events().await;
    assert_ended(&stream.until_status("disconnected").await, "credentials-unreadable", false);
    api.disconnect().await;
    let unlinked = stream.until("the unlink", |event| event.data["reason"] != "credentials-unreadable");
    assert!(unlinked.await.is_status("disconnected"));
    api.connect().await;
    scan(&mut stream, &stage.phone).await;
    stream.until_status("connected").await;
}

/// Changes the last byte of every credential, as a disk may.
fn damage_credentials(stage: &Stage) {
    const VAULT: TableDefinition<(&str, &str, &[u8]), &[u8]> = TableDefinition::new("vault");
    let database = Database::open(stage.directory.path().join("tautan.redb")).expect("nobody else has it");
    let transaction = database.begin_write().expect("it can be written");
    {
        let mut table = transaction.open_table(VAULT).expect("it is there");
        let rows: Vec<_> = table
            .iter()
            .expect("it can be read")
            .map(|row| row.expect("a row"))
            .map(|(key, value)| {
                let (tenant, table, row) = key.value();
                (tenant.to_owned(), table.to_owned(), row.to_vec(), value.value().to_vec())
            })
            .collect();
        assert!(rows.len() > 10, "there are credentials");
        for (tenant, name, row, mut value) in rows {
            *value.last_mut().expect("not empty") ^= 1;
            table.insert((tenant.as_str(), name.as_str(), row.as_slice()), value.as_slice()).expect("written");
        }
    }
    transaction.commit().expect("written");
}
