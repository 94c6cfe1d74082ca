//! Starts with Redis: refusals, warnings, and the service over TLS with few rights.

use tautan_test_support::{
    Certificates, Program, RedisNode, RedisServer, SERVICE, Settings, redis_is_installed, stranger,
};

use crate::{
    stage::{NUMBER, Stage, TENANT, link},
    starts::{BAD_CONFIGURATION, FAILED_START, KEY, OTHER_KEY, fails},
};

const CAREFUL: &[&str] = &["appendonly yes", "maxmemory-policy noeviction"];

pub fn on(stage: &Stage, url: &str, key: &str) -> Settings {
    stage.settings().with("REDIS_URL", url).with("TAUTAN_ENCRYPTION_KEY", key)
}

fn end(mut program: Program) -> String {
    program.terminate();
    let (code, output) = program.ended();
    assert_eq!(code, Some(0), "{output}");
    output
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_data_does_not_open_with_another_key() {
    if !redis_is_installed() {
        return;
    }
    let stage = Stage::new().await;
    let server = RedisServer::start();
    let program = on(&stage, &server.url(), KEY).start();
    program.api(TENANT).connect().await;
    end(program);
    let output =
        fails(on(&stage, &server.url(), OTHER_KEY), FAILED_START, &["TAUTAN_ENCRYPTION_KEY", "another encryption key"]);
    assert!(!output.contains("127.0.0.1"), "{output}");
    let program = on(&stage, &server.url(), KEY).start();
    program.api(TENANT).events().await.until_qr().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unusable_redis_refuses_the_start_with_a_reason() {
    if !redis_is_installed() {
        return;
    }
    let stage = Stage::new().await;
    let refused = |url: &str, why: &str| {
        let output = fails(on(&stage, url, KEY), FAILED_START, &["REDIS_URL", why]);
        assert!(!output.contains("127.0.0.1") && !output.contains("hunter"), "{output}");
    };
    let closed = RedisNode::start(&["requirepass hunter2"]);
    refused(&format!("redis://:hunter3@127.0.0.1:{}", closed.port), "refuses the user or the password");
    refused(&RedisNode::start(&["cluster-enabled yes"]).url(), "cluster");
    refused(&format!("redis://:hunter2@127.0.0.1:{}", stranger()), "is no Redis");
    let cluster = on(&stage, "redis+cluster://:hunter2@127.0.0.1:1", KEY);
    let output = fails(cluster, BAD_CONFIGURATION, &["REDIS_URL", "cluster"]);
    assert!(!output.contains("hunter2"), "{output}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unreachable_redis_does_not_prevent_the_start() {
    if !redis_is_installed() {
        return;
    }
    let stage = Stage::new().await;
    let server = RedisServer::start();
    end(on(&stage, &server.url(), KEY).start());
    server.pause();
    let program = on(&stage, &server.url(), KEY).start();
    let mut wrong = on(&stage, &server.url(), OTHER_KEY).start();
    assert!(program.output().iter().any(|line| line.contains("starting all the same")));
    assert_eq!(program.api(TENANT).status().await["stale"], true, "the status cannot be known");
    let refused = program.api(TENANT).ask(reqwest::Method::POST, "connect").send().await.unwrap();
    assert_eq!((refused.status().as_u16(), &refused.headers()["retry-after"]), (503, &"2".try_into().unwrap()));
    server.resume();
    wrong.wait_for_line("was sealed with another encryption key");
    let mut stream = program.api(TENANT).events().await;
    stream.until("the store's truth", |event| event.data["stale"] == false).await;
    program.api(TENANT).connect().await;
    stream.until_qr().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_that_can_lose_data_is_warned_of() {
    if !redis_is_installed() {
        return;
    }
    let stage = Stage::new().await;
    let received = async |node: &RedisNode| -> Vec<&'static str> {
        let program = on(&stage, &node.url(), KEY).start();
        // Another connection to the same server is not logged again.
        node.ask(&["CLIENT", "KILL", "TYPE", "normal"]);
        program.api(TENANT).events().await.until("the truth", |event| event.data["stale"] == false).await;
        let output = end(program);
        let dangers = ["append-only file", "evicts keys", "that none of them has"];
        dangers.into_iter().filter(|danger| output.matches(danger).count() == 1).collect()
    };
    let careful = RedisNode::start(CAREFUL);
    assert!(received(&careful).await.is_empty());
    let careless = RedisNode::start(&["appendonly no", "maxmemory 100mb", "maxmemory-policy allkeys-lru"]);
    assert_eq!(received(&careless).await, ["append-only file", "evicts keys"]);
    let _replica = RedisNode::start(&[&format!("replicaof 127.0.0.1 {}", careful.port)]);
    while !careful.ask(&["INFO", "replication"]).contains("connected_slaves:1") {
        tokio::task::yield_now().await;
    }
    assert_eq!(received(&careful).await, ["that none of them has"]);
    careful.ask(&["CONFIG", "SET", "min-replicas-to-write", "1"]);
    assert!(received(&careful).await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn log_says_when_the_previous_key_can_be_removed() {
    if !redis_is_installed() {
        return;
    }
    let stage = Stage::new().await;
    let server = RedisServer::start();
    let program = on(&stage, &server.url(), KEY).start();
    drop(link(&program.api(TENANT), &stage.phone).await);
    end(program);
    let rotating = on(&stage, &server.url(), OTHER_KEY).with("TAUTAN_ENCRYPTION_KEY_PREVIOUS", KEY);
    let mut program = rotating.start();
    program.wait_for_line("nothing is sealed with the previous key any more");
    end(program);
    fails(on(&stage, &server.url(), KEY), FAILED_START, &["TAUTAN_ENCRYPTION_KEY"]);
    let program = on(&stage, &server.url(), OTHER_KEY).start();
    program.api(TENANT).events().await.until_status("connected").await;
    stage.proves_device().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sentinel_and_its_master_are_reached_over_tls() {
    if !redis_is_installed() {
        return;
    }
    let stage = Stage::new().await;
    let certificates = Certificates::new();
    let master = RedisNode::start_with_tls(&certificates, &["save \"\""]);
    let sentinel = RedisNode::start_sentinel_with_tls(&certificates, &master);
    let url = format!("rediss+sentinel://127.0.0.1:{}/{SERVICE}", sentinel.port);
    let refused = on(&stage, &url, KEY).with("SSL_CERT_FILE", &Certificates::new().root());
    fails(refused, FAILED_START, &["REDIS_URL", "TLS", "SSL_CERT_FILE"]);
    let program = on(&stage, &url, KEY).with("SSL_CERT_FILE", &certificates.root()).start();
    program.api(TENANT).connect().await;
    program.api(TENANT).events().await.until_qr().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn session_runs_on_redis_over_tls_with_the_documented_acl() {
    if !redis_is_installed() {
        return;
    }
    let stage = Stage::new().await;
    let certificates = Certificates::new();
    let document = include_str!("../../docs/redis.md");
    let rule = document.lines().find_map(|line| line.strip_prefix("ACL SETUSER ")).expect("the document has it");
    let user = format!("user {}", rule.replace("PASSWORD", "hunter2"));
    let server = RedisNode::start_with_tls(&certificates, &[&user, "user default off", "save \"\""]);
    let url = format!("rediss://tautan:hunter2@127.0.0.1:{}", server.port);

    let others = Certificates::new();
    for roots in [others.root(), "/nowhere/ca.pem".to_owned()] {
        let refused = on(&stage, &url, KEY).with("SSL_CERT_FILE", &roots);
        fails(refused, FAILED_START, &["REDIS_URL", "TLS", "SSL_CERT_FILE"]);
    }

    let settings = || on(&stage, &url, KEY).with("SSL_CERT_FILE", &certificates.root());
    let program = settings().start();
    drop(link(&program.api(TENANT), &stage.phone).await);
    end(program);
    let program = settings().start();
    let api = program.api(TENANT);
    let mut stream = api.events().await;
    let status = stream.until_status("connected").await;
    assert_eq!(status.data["phoneNumber"], NUMBER);
    stage.proves_device().await;
    api.disconnect().await;
    stream.until_status("disconnected").await;
    let output = end(program);
    // The library's own errors are not checked: it logs one if an unlink comes while it saves.
    let ours = |line: &&str| line.contains("\"ERROR\"") && !line.contains("\"a library reported an error\"");
    assert!(!output.contains("NOPERM") && output.lines().find(ours).is_none(), "{output}");
}
