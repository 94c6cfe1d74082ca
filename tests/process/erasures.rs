//! `tautan erase`: what it removes, and when it refuses.

use std::{
    fs,
    time::{Duration, Instant},
};

use tautan_simulator::{DeviceId, Fault};
use tautan_test_support::{Program, RedisServer, Settings, redis_is_installed};

use crate::{
    redis::on,
    stage::{NUMBER, Stage, TENANT, link},
    starts::{BAD_CONFIGURATION, FAILED_START, KEY, ends},
};

const ERASED: &str = "erased: nothing of the tenant is stored any more";
const STILL_LISTED: &str = "remove the device on the phone";
const UNKNOWN: &str = "nothing of the tenant was stored";

fn erases(settings: Settings, input: &str, code: i32, expected: &str) {
    ends(settings.to_erase(input), code, &[expected]);
}

fn end(mut program: Program) {
    program.terminate();
    assert!(program.wait().success());
}

fn stands_in_file(stage: &Stage, text: &str) -> bool {
    let file = fs::read(stage.directory.path().join("tautan.redb")).expect("it is there");
    file.windows(text.len()).any(|window| window == text.as_bytes())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn erase_unlinks_and_removes_all_that_stands_in_the_file() {
    let stage = Stage::new().await;
    let program = stage.start();
    drop(link(&program.api(TENANT), &stage.phone).await);
    program.api("neighbour").connect().await;
    erases(stage.settings(), TENANT, FAILED_START, "another process uses the data directory");
    assert_eq!(program.api(TENANT).status().await["status"], "connected", "it was refused and did nothing");
    end(program);
    assert!(stands_in_file(&stage, TENANT));

    erases(stage.settings(), &format!("{TENANT}\n"), 0, ERASED);
    assert_eq!(stage.phone.devices(), [] as [DeviceId; 0], "WhatsApp received the unlink");
    assert!(!stands_in_file(&stage, TENANT));
    assert!(stands_in_file(&stage, "neighbour"));
    erases(stage.settings(), TENANT, 0, UNKNOWN);

    let program = stage.start();
    assert_eq!(program.api(TENANT).status().await["reason"], "never-linked");
    program.api("neighbour").events().await.until_qr().await;
    drop(link(&program.api(TENANT), &stage.phone).await);
    stage.proves_device().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn erase_reports_that_whatsapp_was_not_reached() {
    let stage = Stage::new().await;
    let program = stage.start();
    drop(link(&program.api(TENANT), &stage.phone).await);
    end(program);
    stage.simulator.unreachable(true);
    erases(stage.settings(), TENANT, 0, STILL_LISTED);
    assert!(!stands_in_file(&stage, TENANT));
    stage.device();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn erase_refuses_what_is_no_tenant() {
    let stage = Stage::new().await;
    end(stage.start());
    for (input, expected) in
        [("", "standard input is empty"), ("\n", "standard input is empty"), ("two words", "no tenant")]
    {
        erases(stage.settings(), input, BAD_CONFIGURATION, expected);
    }
    erases(stage.settings().with("TAUTAN_FORGET_AFTER", "1h"), TENANT, BAD_CONFIGURATION, "TAUTAN_FORGET_AFTER");
    let empty = tempfile::tempdir().expect("a directory");
    let elsewhere = Settings::new(empty.path(), &stage.simulator.url());
    erases(elsewhere, TENANT, FAILED_START, "there is no store in");
    assert_eq!(fs::read_dir(empty.path()).expect("it is there").count(), 0, "and none was made");
}

/// The session runs in the service, which keeps running.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn erase_on_redis_ends_the_session_where_it_runs() {
    if !redis_is_installed() {
        return;
    }
    let (stage, server) = (Stage::new().await, RedisServer::start());
    let document = include_str!("../../docs/redis.md");
    let rule = document.lines().find_map(|line| line.strip_prefix("ACL SETUSER ")).expect("the document has it");
    let rule = rule.replace("PASSWORD", "hunter2");
    server.ask(&[&["ACL", "SETUSER"], &rule.split(' ').collect::<Vec<_>>()[..]].concat());
    let url = server.url().replace("redis://", "redis://tautan:hunter2@");
    let settings = || on(&stage, &url, KEY);
    let program = settings().start();
    let api = program.api(TENANT);
    let mut stream = link(&api, &stage.phone).await;
    erases(settings(), TENANT, 0, ERASED);
    assert_eq!(stage.phone.devices(), [] as [DeviceId; 0], "WhatsApp received the unlink");
    let ended = stream.until_status("disconnected").await;
    assert_eq!((ended.text("reason"), ended.data.get("remote")), ("unlinked-by-user", None));
    stream.until("the erasure", |event| event.data["reason"] == "never-linked").await;
    assert_eq!(api.status().await["reason"], "never-linked");
    let keys = String::from_utf8(server.ask(&["KEYS", "*"])).expect("names");
    assert!(!keys.contains(TENANT) && !keys.contains(NUMBER), "{keys}");
    erases(settings(), TENANT, 0, UNKNOWN);
    erases(on(&stage, "redis://127.0.0.1:1/", KEY), TENANT, FAILED_START, "the store cannot be reached");

    api.connect().await;
    crate::stage::scan(&mut stream, &stage.phone).await;
    stream.until_status("connected").await;
    stage.proves_device().await;
    // Without a service the session ends in the command itself.
    end(program);
    erases(settings(), TENANT, 0, ERASED);
    assert_eq!(stage.phone.devices(), [] as [DeviceId; 0], "WhatsApp received the unlink");
    let keys = String::from_utf8(server.ask(&["KEYS", "*"])).expect("names");
    assert!(!keys.contains(TENANT), "{keys}");
}

/// The service waits 10 s for a WhatsApp that does not answer the unlink. The command waits a twentieth of its 60 s.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn erase_gives_up_on_a_session_that_does_not_end() {
    if !redis_is_installed() {
        return;
    }
    let (stage, server) = (Stage::new().await, RedisServer::start());
    let settings = || on(&stage, &server.url(), KEY);
    let program = settings().start();
    let api = program.api(TENANT);
    let mut stream = link(&api, &stage.phone).await;
    stage.simulator.faults().set(Fault::SilentSession);
    let began = Instant::now();
    erases(settings().with("SIM_PATIENCE", "0.05"), TENANT, FAILED_START, "has not ended within 3s, try again");
    assert!(began.elapsed() < Duration::from_secs(9), "it waited until the session ended: {:?}", began.elapsed());
    let status = api.status().await;
    assert_eq!(status["status"], "connected", "nothing was removed: {status}");
    stream.until_status("disconnected").await;
    erases(settings(), TENANT, 0, STILL_LISTED);
}
