//! Starts that must fail: the exit code names the kind of mistake, the message the variable, and neither repeats a
//! secret.

use std::net::TcpListener;

use tautan_test_support::Settings;

use crate::stage::{Stage, TENANT};

pub const BAD_CONFIGURATION: i32 = 64;
pub const FAILED_START: i32 = 1;
pub const KEY: &str = "q83vEjRWeJq83vEjRWeJq83vEjRWeJq83vEjRWeJq80=";
pub const OTHER_KEY: &str = "EjRWeJq83vEjRWeJq83vEjRWeJq83vEjRWeJq83vEjQ=";

/// Runs it to its end, compares its exit code, and returns its output: in it are these parts and no secret.
#[track_caller]
pub fn ends(settings: Settings, code: i32, expected: &[&str]) -> String {
    let (ended, output) = settings.spawn().ended();
    assert_eq!(ended, Some(code), "{output}");
    for part in expected {
        assert!(output.contains(part), "{part:?} in {output}");
    }
    for secret in [tautan_test_support::SECRET, KEY, OTHER_KEY] {
        assert!(!output.contains(secret), "a secret in {output}");
    }
    output
}

/// As [`ends`], for a start that must fail.
#[track_caller]
pub fn fails(settings: Settings, code: i32, expected: &[&str]) -> String {
    ends(settings, code, &[&["tautan cannot start"], expected].concat())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_configuration_mistakes_are_printed_without_secrets() {
    let stage = Stage::new().await;
    let wrong = stage.settings().with("TAUTAN_LISTN", "127.0.0.1:0").with("JWT_SECRET", "hunter2");
    let wrong = wrong.with("TAUTAN_ENCRYPTION_KEY", "aHVudGVyMw==").with("TAUTAN_HEARTBEAT", "soon");
    let wrong = wrong.with("JWT_PUBLIC_KEY", "hunter4").with("JWT_JWKS", "/nowhere/jwks.json");
    let expected = [
        "TAUTAN_LISTN: ",
        "JWT_SECRET: ",
        "JWT_PUBLIC_KEY: ",
        "JWT_JWKS: /nowhere/jwks.json: ",
        "TAUTAN_ENCRYPTION_KEY: ",
        "TAUTAN_HEARTBEAT: ",
    ];
    let output = fails(wrong, BAD_CONFIGURATION, &expected);
    assert!(!output.contains("hunter") && !output.contains("aHVudGVyMw"), "{output}");
    let left = std::fs::read_dir(stage.directory.path()).expect("it is there").count();
    assert_eq!(left, 0, "nothing was touched");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_of_the_previous_secret_are_accepted_with_a_key_pair() {
    let stage = Stage::new().await;
    let pair = stage.settings().with("JWT_SECRET", "").with("JWT_PUBLIC_KEY", include_str!("../api/keys/p256.pub.pem"));
    let program = pair.with("JWT_SECRET_PREVIOUS", tautan_test_support::SECRET).start();
    assert_eq!(program.api(TENANT).status().await["reason"], "never-linked");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_without_a_key_serves_only_loopback() {
    let stage = Stage::new().await;
    let open = stage.settings().with("JWT_SECRET", "").with("TAUTAN_LISTEN", "0.0.0.0:0");
    fails(open, BAD_CONFIGURATION, &["TAUTAN_LISTEN", "JWT_SECRET"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn empty_key_or_redis_url_refuses_the_start() {
    let stage = Stage::new().await;
    // White space, since this stage takes an empty value for "leave the variable out".
    fails(stage.settings().with("JWT_SECRET", " "), BAD_CONFIGURATION, &["JWT_SECRET: is empty"]);
    for name in ["JWT_SECRET_FILE", "JWT_PUBLIC_KEY", "JWT_PUBLIC_KEY_FILE", "JWT_JWKS", "JWT_JWKS_FILE"] {
        let settings = stage.settings().with("JWT_SECRET", "").with(name, " ");
        fails(settings, BAD_CONFIGURATION, &[&format!("{name}: is empty")]);
    }
    fails(stage.settings().with("REDIS_URL", " "), BAD_CONFIGURATION, &["REDIS_URL: is empty"]);
    fails(stage.settings().with("REDIS_URL_FILE", " "), BAD_CONFIGURATION, &["REDIS_URL_FILE: is empty"]);
    let left = std::fs::read_dir(stage.directory.path()).expect("it is there").count();
    assert_eq!(left, 0, "no local mode was begun");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn build_without_certificate_check_does_not_reach_whatsapp() {
    let stage = Stage::new().await;
    let real = stage.settings().with("TAUTAN_WHATSAPP_URL", "wss://web.whatsapp.com/ws/chat");
    fails(real, FAILED_START, &["TAUTAN_WHATSAPP_URL", "loopback"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unusable_data_directory_is_named() {
    let stage = Stage::new().await;
    let file = stage.directory.path().join("file");
    std::fs::write(&file, "").expect("written");
    // Inside a file there are no directories, not even for root, whom permissions do not stop.
    let data = file.join("data").display().to_string();
    fails(stage.settings().with("TAUTAN_DATA_DIR", &data), FAILED_START, &["TAUTAN_DATA_DIR", &data]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn taken_port_is_named() {
    let stage = Stage::new().await;
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("bound").to_string();
    fails(stage.settings().with("TAUTAN_LISTEN", &address), FAILED_START, &["TAUTAN_LISTEN", &address]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn second_process_on_one_data_directory_is_refused() {
    let stage = Stage::new().await;
    let first = stage.start();
    let path = stage.directory.path().display().to_string();
    fails(stage.settings(), FAILED_START, &["TAUTAN_DATA_DIR", &path, "another process"]);
    assert_eq!(first.api(TENANT).status().await["reason"], "never-linked");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn store_does_not_open_with_another_key() {
    let stage = Stage::new().await;
    let with = |key: &str| stage.settings().with("TAUTAN_ENCRYPTION_KEY", key);
    let mut program = with(KEY).start();
    program.api(TENANT).connect().await;
    program.terminate();
    assert!(program.wait().success());
    let path = stage.directory.path().display().to_string();
    fails(with(OTHER_KEY), FAILED_START, &[&path, "another encryption key"]);
    let program = with(KEY).start();
    program.api(TENANT).events().await.until_qr().await;
}
