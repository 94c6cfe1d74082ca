//! How a link ends: which status the page receives, what is left on the disk, and that the next "connect" works.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::json;
use tautan_simulator::{Fault, Refusal};
use tautan_test_support::{Api, Event, EventStream, Program, damage_credentials, within};

use crate::stage::{PLATFORM, Stage, TENANT, link};

/// A linked tenant with his page open.
struct Linked {
    stage: Stage,
    program: Program,
    api: Api,
    stream: EventStream,
}

async fn linked() -> Linked {
    let stage = Stage::new().await;
    let program = stage.start();
    let api = program.api(TENANT);
    let stream = link(&api, &stage.phone).await;
    Linked { stage, program, api, stream }
}

fn assert_ended(event: &Event, reason: &str, retryable: bool) {
    assert_eq!(event.data["reason"], reason, "{event:?}");
    assert_eq!(event.data["retryable"], retryable, "{event:?}");
}

/// Nothing is left on the disk, and the next "connect" offers a code that links.
pub async fn is_forgotten(stage: &Stage, mut program: Program) {
    assert_eq!(stage.credentials_after(&mut program), 0);
    let program = stage.start();
    link(&program.api(TENANT), &stage.phone).await;
    stage.proves_device().await;
}

/// The credentials are on the disk, nothing is dialled by itself, and the next "connect" needs no scan.
async fn is_kept(stage: &Stage, mut program: Program) {
    assert!(stage.credentials_after(&mut program) > 10);
    stage.until_disconnected().await;
    let sockets = stage.simulator.sockets_opened();
    let program = stage.start();
    let api = program.api(TENANT);
    let mut stream = api.events().await;
    stream.until_status("disconnected").await;
    assert_eq!(stage.simulator.sockets_opened(), sockets, "an ended session is not begun anew by a start");
    api.connect().await;
    let connected = stream.until_status("connected").await;
    assert_eq!(connected.data["platform"], PLATFORM, "what was said when it was linked: {connected:?}");
    stage.proves_device().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unlink_by_the_user_reaches_whatsapp_and_erases() {
    let Linked { stage, program, api, mut stream } = linked().await;
    api.disconnect().await;
    let ended = stream.until_status("disconnected").await;
    assert_ended(&ended, "unlinked-by-user", true);
    assert_eq!(ended.data.get("remote"), None);
    assert_eq!(stage.phone.devices(), []);
    is_forgotten(&stage, program).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unlink_while_whatsapp_is_away_erases_and_reports_it() {
    let Linked { stage, program, api, mut stream } = linked().await;
    stage.simulator.unreachable(true);
    stream.until_status("connecting").await;
    api.disconnect().await;
    let ended = stream.until_status("disconnected").await;
    assert_ended(&ended, "unlinked-by-user", true);
    assert_eq!(ended.data["remote"], json!(false), "the phone still lists the device");
    stage.device();
    stage.simulator.unreachable(false);
    assert!(stage.phone.unlink(stage.device()));
    is_forgotten(&stage, program).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancelled_pairing_leaves_nothing() {
    let stage = Stage::new().await;
    let program = stage.start();
    let api = program.api(TENANT);
    let mut stream = api.events().await;
    api.connect().await;
    stream.until_qr().await;
    api.disconnect().await;
    assert_ended(&stream.until_status("disconnected").await, "cancelled", true);
    is_forgotten(&stage, program).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unlink_on_the_phone_is_published_and_erases() {
    let Linked { stage, program, mut stream, .. } = linked().await;
    assert!(stage.phone.unlink(stage.device()));
    assert_ended(&stream.until_status("disconnected").await, "unlinked-by-phone", true);
    is_forgotten(&stage, program).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unlink_on_the_phone_while_down_is_published_at_start() {
    let Linked { stage, mut program, .. } = linked().await;
    assert!(stage.credentials_after(&mut program) > 10);
    assert!(stage.phone.unlink(stage.device()));
    let program = stage.start();
    let mut stream = program.api(TENANT).events().await;
    assert_ended(&stream.until_status("disconnected").await, "unlinked-by-phone", true);
    is_forgotten(&stage, program).await;
}

/// WhatsApp ends the stream with this code, which means that the device is not linked any more.
async fn removed(code: u16) {
    let Linked { stage, program, mut stream, .. } = linked().await;
    let device = stage.device();
    assert!(stage.simulator.end(device, code));
    assert_ended(&stream.until_status("disconnected").await, "unlinked-by-phone", true);
    assert!(stage.phone.unlink(device));
    is_forgotten(&stage, program).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stream_error_401_is_an_unlink() {
    removed(401).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stream_error_516_is_an_unlink() {
    removed(516).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replaced_link_reconnects_once_and_then_ends() {
    let Linked { stage, program, mut stream, .. } = linked().await;
    assert!(stage.simulator.replace(stage.device()));
    assert_eq!(stream.until_status("connecting").await.data["reason"], "reconnecting");
    stream.until_status("connected").await;
    assert!(stage.simulator.replace(stage.device()));
    assert_ended(&stream.until_status("disconnected").await, "replaced", true);
    assert_eq!(stage.simulator.live_sockets(stage.device()), 0);
    is_kept(&stage, program).await;
}

/// WhatsApp refuses the next login; the page shows `reason`. The credentials are kept for a later login.
async fn refused(refusal: Refusal, reason: &str) -> Event {
    let Linked { stage, program, mut stream, .. } = linked().await;
    stage.phone.refuse(refusal);
    let ended = stream.until_status("disconnected").await;
    assert_ended(&ended, reason, false);
    stage.device();
    stage.phone.accept();
    is_kept(&stage, program).await;
    ended
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[expect(clippy::disallowed_methods, reason = "the program under test reads the real clock too")]
async fn ban_is_published_with_its_end() {
    let ended = refused(Refusal::Banned { expire_seconds: Some(3600) }, "banned").await;
    let until: jiff::Timestamp = ended.text("until").parse().expect("a time");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    let left = until.as_second() - i64::try_from(now).expect("before the year 292 billion");
    assert!((3500..=3600).contains(&left), "{left} s");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ban_without_an_end_is_published_without_one() {
    let ended = refused(Refusal::Banned { expire_seconds: None }, "banned").await;
    assert_eq!(ended.data["until"], json!(null));
}

/// A "connect" that comes too early must not require another scan.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn credentials_stay_when_a_link_is_retried_too_early() {
    let Linked { stage, program, api, mut stream } = linked().await;
    stage.phone.refuse(Refusal::Banned { expire_seconds: Some(3600) });
    stream.until_status("disconnected").await;
    api.connect().await;
    assert_ended(&stream.until_status("disconnected").await, "banned", false);
    stage.phone.accept();
    is_kept(&stage, program).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ended_link_with_credentials_can_be_unlinked() {
    let Linked { stage, program, api, mut stream } = linked().await;
    stage.phone.refuse(Refusal::Locked);
    stream.until_status("disconnected").await;
    stage.phone.accept();
    api.disconnect().await;
    let unlinked = stream.until("the unlink", |event| event.data["reason"] == "unlinked-by-user").await;
    assert_eq!(unlinked.data.get("remote"), None, "{unlinked:?}");
    assert_eq!(stage.phone.devices(), []);
    is_forgotten(&stage, program).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn outdated_client_is_published() {
    refused(Refusal::Outdated, "client-outdated").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn locked_account_is_published() {
    refused(Refusal::Locked, "account-locked").await;
}

/// At every login a task of the link panics.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn link_that_crashes_three_times_ends_and_keeps_credentials() {
    let (stage, folder) = (Stage::new().await, tempfile::tempdir().expect("a directory"));
    let program = stage.settings().with("SIM_STUBS", folder.path().to_str().expect("a name in UTF-8")).start();
    let mut stream = link(&program.api(TENANT), &stage.phone).await;
    for crash in 1..=3 {
        // The stanza lies ready only while no connection stands: a living link, which sends "unavailable" for two seconds
        // after its login, would crash on it at once, and a third crash is published without a "connecting" before it.
        stage.simulator.unreachable(true);
        stream.until_status("connecting").await;
        std::fs::write(folder.path().join("bad-stanza"), "").expect("written");
        stage.simulator.unreachable(false);
        let next = stream.until("what follows", |event| !event.is_status("connecting")).await;
        assert_eq!(next.is_status("disconnected"), crash == 3, "{crash}: {next:?}");
        if crash == 3 {
            assert_ended(&next, "internal", true);
        }
    }
    is_kept(&stage, program).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn outdated_client_is_published_before_any_code() {
    let stage = Stage::new().await;
    let program = stage.start();
    let api = program.api(TENANT);
    let mut stream = api.events().await;
    stage.simulator.refuse(Some(Refusal::Outdated));
    stream.until_status("disconnected").await;
    api.connect().await;
    assert_ended(&stream.until_status("disconnected").await, "client-outdated", false);
    stage.simulator.refuse(None);
    is_forgotten(&stage, program).await;
}

/// A pairing with an invalid signature leaves no device, neither on the phone nor in the store.
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
    is_forgotten(&stage, program).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pairing_with_a_wrong_hmac_fails_and_leaves_nothing() {
    corrupted(Fault::CorruptHmac).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pairing_with_a_wrong_signature_fails_and_leaves_nothing() {
    corrupted(Fault::CorruptSignature).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unreadable_credentials_stay_until_an_unlink() {
    let Linked { stage, mut program, .. } = linked().await;
    let rows = stage.credentials_after(&mut program);
    damage_credentials(stage.directory.path());

    let mut program = stage.start();
    let mut stream = program.api(TENANT).events().await;
    assert_ended(&stream.until_status("disconnected").await, "credentials-unreadable", false);
    assert_eq!(stage.credentials_after(&mut program), rows, "the right key may come back");

    // It can be read again, and the session resumes without a click.
    damage_credentials(stage.directory.path());
    let mut program = stage.start();
    program.api(TENANT).events().await.until_status("connected").await;
    program.terminate();
    assert!(program.wait().success());
    damage_credentials(stage.directory.path());

    let program = stage.start();
    let api = program.api(TENANT);
    let mut stream = api.events().await;
    api.disconnect().await;
    let unlinked = stream.until("the unlink", |event| event.data["reason"] == "unlinked-by-user");
    assert_eq!(unlinked.await.data["remote"], json!(false), "they could not be used to tell WhatsApp");
    assert!(stage.phone.unlink(stage.device()));
    is_forgotten(&stage, program).await;
}
