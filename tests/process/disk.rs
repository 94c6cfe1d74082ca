//! The disk of the embedded store goes bad under a running program: the store file is deleted or replaced, writes fail,
//! commits hang.

use std::{
    fs::{self, File},
    path::PathBuf,
    time::{Duration, Instant},
};

use reqwest::{Method, StatusCode};
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use serde_json::{Value, json};
use tautan_test_support::{Program, Settings, within};
use tokio::time::sleep;

use crate::{
    stage::{Stage, TENANT, link},
    starts::{FAILED_START, fails},
};

const CRASHED: i32 = 70;
/// Longer than a step of the store may take, shorter than two of them.
const ANSWER_MAX: Duration = Duration::from_secs(8);

fn store(stage: &Stage) -> PathBuf {
    stage.directory.path().join("tautan.redb")
}

fn marker(stage: &Stage) -> PathBuf {
    stage.directory.path().join("tautan.marker")
}

fn begin_empty(stage: &Stage) -> PathBuf {
    stage.directory.path().join("begin-empty")
}

/// A write beyond a limit fails, as on a full disk; the signal that comes with it would end the program.
pub fn limitable(stage: &Stage) -> Settings {
    stage.settings().run_by(&["sh", "-c", "trap '' XFSZ; exec \"$0\""])
}

/// Files of the program may grow up to `bytes`.
pub fn limit_files(program: &Program, bytes: Option<u64>) {
    let pid = Pid::from_raw(program.pid().cast_signed()).expect("a process");
    prlimit(Some(pid), Resource::Fsize, Rlimit { current: bytes, maximum: None }).expect("it runs");
}

async fn ready(program: &Program) -> (u16, Value) {
    let answer = reqwest::get(format!("{}/readyz", program.base())).await.expect("it listens");
    (answer.status().as_u16(), answer.json().await.expect("JSON"))
}

async fn until_ready_is(program: &Program, store: &str) {
    within(store, async {
        while ready(program).await != (200, json!({ "store": store })) {
            sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
}

async fn post_connect(program: &Program) -> StatusCode {
    program.api(TENANT).ask(Method::POST, "connect").send().await.expect("an answer").status()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deleted_store_file_ends_this_run_and_refuses_the_next() {
    let stage = Stage::new().await;
    let mut program = stage.start();
    drop(link(&program.api(TENANT), &stage.phone).await);
    fs::remove_file(store(&stage)).expect("it is there");
    // No request comes: the program notices by itself.
    let (code, output) = program.ended();
    assert_eq!(code, Some(CRASHED), "{output}");
    assert!(output.contains("store file is gone"), "{output}");
    // A supervisor starts it again and again.
    let (file, step) = (store(&stage).display().to_string(), format!("touch {}", begin_empty(&stage).display()));
    for _ in 0..2 {
        fails(stage.settings(), FAILED_START, &["TAUTAN_DATA_DIR", &file, "missing", &step]);
        assert!(!store(&stage).exists());
    }
    File::create(begin_empty(&stage)).expect("written");
    let mut program = stage.start();
    assert_eq!(program.api(TENANT).status().await["reason"], "never-linked");
    assert!(!begin_empty(&stage).exists(), "it counts once");
    program.kill();
    fs::remove_file(store(&stage)).expect("it is there");
    fails(stage.settings(), FAILED_START, &[&step]);
}

/// The writer reopens the file after a failed write. That created an empty store, in which every tenant was never
/// linked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reopening_after_a_failed_write_creates_no_store_file() {
    let stage = Stage::new().await;
    let mut program = limitable(&stage).start();
    limit_files(&program, Some(1));
    assert_eq!(post_connect(&program).await, StatusCode::SERVICE_UNAVAILABLE);
    fs::remove_file(store(&stage)).expect("it is there");
    limit_files(&program, None);
    sleep(Duration::from_secs(2)).await;
    // The program may be gone by now.
    let _ = program.api(TENANT).ask(Method::POST, "connect").send().await;
    let (code, output) = program.ended();
    assert_eq!(code, Some(CRASHED), "{output}");
    assert!(!store(&stage).exists());
    fails(stage.settings(), FAILED_START, &["missing"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replaced_store_file_ends_the_program() {
    let (stage, other) = (Stage::new().await, Stage::new().await);
    other.start().kill();
    let mut program = stage.start();
    // An operator who puts a backup back replaces the file like this.
    fs::copy(store(&other), stage.directory.path().join("backup")).expect("copied");
    fs::rename(stage.directory.path().join("backup"), store(&stage)).expect("renamed");
    let (code, output) = program.ended();
    assert_eq!(code, Some(CRASHED), "{output}");
    assert!(output.contains("another file is in the place of the store file"), "{output}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn data_directory_of_an_older_version_starts_and_gets_a_marker() {
    let stage = Stage::new().await;
    let mut program = stage.start();
    program.api(TENANT).connect().await;
    program.terminate();
    assert!(program.wait().success());
    fs::remove_file(marker(&stage)).expect("the first start made it");
    let mut program = stage.start();
    assert_ne!(program.api(TENANT).status().await["reason"], "never-linked");
    program.terminate();
    assert!(program.wait().success());
    assert!(marker(&stage).exists());
}

/// Every file of the service shows that a store was here, also one of an older version.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn key_file_without_a_store_file_refuses_the_start() {
    for name in ["tautan.marker", "encryption.key", "sign-in.key"] {
        let stage = Stage::new().await;
        fs::write(stage.directory.path().join(name), "x").expect("written");
        fails(stage.settings(), FAILED_START, &["TAUTAN_DATA_DIR", name, "missing", "begin-empty"]);
        assert!(!store(&stage).exists());
    }
    let stage = Stage::new().await;
    fs::create_dir(stage.directory.path().join("lost+found")).expect("made");
    fs::write(stage.directory.path().join("notes"), "not ours").expect("written");
    assert_eq!(stage.start().api(TENANT).status().await["reason"], "never-linked");
}

/// A new key would decrypt no row of the store, and would replace the key in a backup.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn missing_key_file_is_not_created_beside_a_store() {
    let stage = Stage::new().await;
    stage.start().kill();
    let key = stage.directory.path().join("encryption.key");
    fs::remove_file(&key).expect("the first start made it");
    fails(stage.settings(), FAILED_START, &["TAUTAN_ENCRYPTION_KEY", key.to_str().expect("UTF-8"), "is missing"]);
    assert!(!key.exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn empty_store_file_refuses_the_start() {
    let stage = Stage::new().await;
    fs::write(store(&stage), "").expect("written");
    fails(stage.settings(), FAILED_START, &["TAUTAN_DATA_DIR", "empty"]);
    assert_eq!(fs::metadata(store(&stage)).expect("it is there").len(), 0, "not made a store");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn first_start_that_was_killed_is_made_again() {
    let stage = Stage::new().await;
    let mut program = stage.settings().with("SIM_KILL", "commit-before:1").spawn();
    assert_eq!(program.ended().0, None);
    assert!(begin_empty(&stage).exists() && store(&stage).exists() && !marker(&stage).exists());
    // Killed a little earlier it would have left the key alone.
    fs::remove_file(store(&stage)).expect("it is there");
    assert_eq!(stage.start().api(TENANT).status().await["reason"], "never-linked");
    assert!(!begin_empty(&stage).exists() && marker(&stage).exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readiness_says_read_only_while_writes_fail() {
    let stage = Stage::new().await;
    let mut program = limitable(&stage).start();
    assert_eq!(ready(&program).await, (200, json!({ "store": "ok" })));
    limit_files(&program, Some(1));
    assert_eq!(post_connect(&program).await, StatusCode::SERVICE_UNAVAILABLE);
    until_ready_is(&program, "read-only").await;
    sleep(Duration::from_secs(3)).await;
    assert_eq!(ready(&program).await, (200, json!({ "store": "read-only" })), "opening the file again is no write");
    limit_files(&program, None);
    // No request comes: the program tries by itself.
    until_ready_is(&program, "ok").await;
    assert_eq!(post_connect(&program).await, StatusCode::ACCEPTED);
    program.terminate();
    let (code, output) = program.ended();
    assert_eq!(code, Some(0), "{output}");
    for line in ["store file cannot be written", "store file can be written again"] {
        assert_eq!(output.matches(line).count(), 1, "once an episode: {output}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn command_is_refused_in_time_while_the_disk_hangs() {
    let stage = Stage::new().await;
    let hang = tempfile::tempdir().expect("a directory");
    let hang = hang.path().join("hang");
    let program = stage.settings().with("SIM_COMMIT_HANG", hang.to_str().expect("UTF-8")).start();
    File::create(&hang).expect("written");
    let asked = Instant::now();
    assert_eq!(post_connect(&program).await, StatusCode::SERVICE_UNAVAILABLE);
    assert!(asked.elapsed() < ANSWER_MAX, "{:?}", asked.elapsed());
    until_ready_is(&program, "read-only").await;
    assert_eq!(program.api(TENANT).status().await["status"], "disconnected", "what is known is still answered");
    fs::remove_file(&hang).expect("it is there");
    until_ready_is(&program, "ok").await;
    assert_eq!(post_connect(&program).await, StatusCode::ACCEPTED);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn second_sigterm_ends_the_program_while_the_disk_hangs() {
    let stage = Stage::new().await;
    let hang = tempfile::tempdir().expect("a directory");
    let hang = hang.path().join("hang");
    let mut program = stage.settings().with("SIM_COMMIT_HANG", hang.to_str().expect("UTF-8")).start();
    File::create(&hang).expect("written");
    assert_eq!(post_connect(&program).await, StatusCode::SERVICE_UNAVAILABLE);
    program.terminate();
    program.wait_for_line("draining");
    // Signals within a second are one.
    sleep(Duration::from_millis(1_200)).await;
    program.terminate();
    let asked = Instant::now();
    let (code, output) = program.ended();
    assert_eq!(code, Some(CRASHED), "{output}");
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
}
