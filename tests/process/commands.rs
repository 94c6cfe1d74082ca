//! The commands of the program: `tautan serve`, `token`, `check`, `healthcheck`.

use std::{fs, net::TcpListener};

use tautan_test_support::{Api, RedisServer, Settings, redis_is_installed};

use crate::{
    redis::on,
    stage::{Stage, TENANT},
    starts::{FAILED_START, KEY, OTHER_KEY, ends},
};

/// The token that it printed. `tautan-sim` has a line of its own on standard error.
fn token(settings: Settings, arguments: &[&str]) -> String {
    let output = ends(settings.run(arguments), 0, &[]);
    let lines = output.lines().filter(|line| !line.starts_with("tautan-sim: ")).collect::<Vec<_>>();
    assert_eq!(lines.len(), 1, "{output}");
    lines[0].to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn token_is_taken_by_the_service() {
    let stage = Stage::new().await;
    let program = stage.settings().run(&["serve"]).start();
    let token = token(stage.settings(), &["token", "--tenant", TENANT, "--ttl", "60s"]);
    let status = Api::with_token(program.base(), &token).status().await;
    assert_eq!(status["reason"], "never-linked");
    let same_tenant = program.api(TENANT).status().await;
    assert_eq!(status["tenantRef"], same_tenant["tenantRef"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn token_of_local_mode_needs_the_key_of_a_start() {
    let stage = Stage::new().await;
    let local = || stage.settings().with("JWT_SECRET", "");
    ends(local().run(&["token", "--tenant", "local"]), FAILED_START, &["sign-in.key"]);
    assert_eq!(fs::read_dir(stage.directory.path()).expect("it is there").count(), 0, "no key was made");
    let program = local().start();
    let token = token(local(), &["token", "--tenant", "local"]);
    assert_eq!(Api::with_token(program.base(), &token).status().await["reason"], "never-linked");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn token_is_not_made_without_a_secret() {
    let stage = Stage::new().await;
    let key = include_str!("../api/keys/p256.pub.pem");
    let public = stage.settings().with("JWT_SECRET", "").with("JWT_PUBLIC_KEY", key);
    ends(public.run(&["token", "--tenant", TENANT]), FAILED_START, &["no key to sign with"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn healthcheck_says_whether_the_service_answers() {
    let stage = Stage::new().await;
    let mut program = stage.settings().with("TAUTAN_LISTEN", "0.0.0.0:0").start();
    let listen = format!("0.0.0.0:{}", program.address().port());
    let healthcheck = || stage.settings().with("TAUTAN_LISTEN", &listen).run(&["healthcheck"]);
    ends(healthcheck(), 0, &[]);
    program.terminate();
    assert!(program.wait().success());
    ends(healthcheck(), FAILED_START, &["/healthz", "refused"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_looks_at_the_data_directory_and_changes_nothing() {
    let stage = Stage::new().await;
    ends(
        stage.settings().run(&["check"]),
        0,
        &["configuration: good", "holds no store", "whatsapp ws://", ": reachable"],
    );
    assert_eq!(fs::read_dir(stage.directory.path()).expect("it is there").count(), 0, "nothing was made");

    let program = stage.start();
    ends(stage.settings().run(&["check"]), 0, &["holds a store"]);
    assert_eq!(program.api(TENANT).status().await["reason"], "never-linked");
    drop(program);

    fs::remove_file(stage.directory.path().join("tautan.redb")).expect("it is there");
    ends(stage.settings().run(&["check"]), FAILED_START, &["tautan.redb is missing"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_says_that_whatsapp_cannot_be_reached() {
    let stage = Stage::new().await;
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("ws://{}/ws/chat", listener.local_addr().expect("it is bound"));
    drop(listener);
    ends(
        stage.settings().with("TAUTAN_WHATSAPP_URL", &url).run(&["check"]),
        FAILED_START,
        &["configuration: good", &url, "refused"],
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_says_what_redis_answers() {
    if !redis_is_installed() {
        return;
    }
    let stage = Stage::new().await;
    let mut server = RedisServer::start();
    ends(on(&stage, &server.url(), KEY).run(&["check"]), 0, &["redis: reachable, and the encryption key fits"]);
    // The first start saves a check value of its key.
    ends(on(&stage, &server.url(), OTHER_KEY).run(&["check"]), FAILED_START, &["redis: ", "encryption key"]);
    server.stop();
    ends(on(&stage, &server.url(), KEY).run(&["check"]), FAILED_START, &["redis: no answer within 3 s"]);
}
