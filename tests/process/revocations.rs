//! A back end revokes a tenant's tokens: streams end, and the tokens are refused on every instance.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tautan_test_support::{
    Api, EventStream, Frame, Network, Program, RedisServer, Way, in_seconds, redis_is_installed, token_with, within,
};
use tokio::time::{Instant, sleep, timeout};

use crate::{
    admin::{pair, refused, with_admin},
    redis::on,
    stage::{Stage, TENANT},
    starts::KEY,
};

/// The promise: all instances refuse the tokens within this time, and end their streams.
const PROMISE: Duration = Duration::from_secs(1);

/// Claims of a token of this issue time.
fn issued(iat: impl Into<Value>) -> String {
    token_with(json!({ "id": TENANT, "iat": iat.into(), "exp": in_seconds(3600) }))
}

/// The second that an answer names.
fn second(not_before: &str) -> u64 {
    let time: tautan::clock::Timestamp = not_before.parse().expect("a time");
    time.as_second().try_into().expect("after 1970")
}

async fn is_revoked(program: &Program, token: &str) -> bool {
    let api = Api::with_token(program.base(), token);
    let mut revoked = Vec::new();
    for (method, path) in [(Method::GET, "status"), (Method::GET, "events"), (Method::POST, "connect")] {
        let answer = within(path, api.ask(method, path).send()).await.expect("an answer");
        revoked.push(match answer.status() {
            StatusCode::UNAUTHORIZED => refused(answer).await == (401, "token-revoked".to_owned()),
            _ => false,
        });
    }
    assert!(revoked.iter().all(|one| *one == revoked[0]), "some routes refuse it, some do not: {revoked:?}");
    revoked[0]
}

/// Waits for the end, which has to say why.
async fn ends_with_its_token(mut stream: EventStream) {
    let rest = timeout(PROMISE, stream.rest()).await.expect("the stream ends in time");
    let last = rest.last().expect("something came");
    assert!(matches!(last, Frame::Event(event) if event.name == "token-expired"), "{last:?}");
}

/// Streams at each instance with an old token and one without an issue time; a later one stays open.
async fn revokes_on_all(instances: &[Program]) -> (String, String) {
    let (old, later) = (issued(in_seconds(0) - 5), issued(in_seconds(120)));
    let undated = token_with(json!({ "id": TENANT, "exp": in_seconds(3600) }));
    let (mut ending, mut staying) = (Vec::new(), Vec::new());
    for program in instances {
        for token in [&old, &undated] {
            assert!(!is_revoked(program, token).await);
            ending.push(Api::with_token(program.base(), token).events().await);
        }
        staying.push(Api::with_token(program.base(), &later).events().await);
        staying.push(program.api("neighbour").events().await);
    }
    let not_before = instances[0].admin().end_streams(TENANT).await;
    futures::future::join_all(ending.into_iter().map(ends_with_its_token)).await;
    let new = issued(second(&not_before) + 1);
    for program in instances {
        for token in [&old, &undated, &issued(second(&not_before)), &issued("yesterday")] {
            assert!(is_revoked(program, token).await);
        }
        assert!(!is_revoked(program, &new).await, "a token of the next second works at once");
        assert_eq!(program.api("neighbour").status().await["status"], "disconnected");
    }
    for stream in &mut staying {
        let next =
            timeout(Duration::from_millis(300), async { while stream.next_without_deadline().await.is_some() {} });
        assert!(next.await.is_err(), "a stream with a later token stays open");
    }
    (old, new)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn revocation_ends_streams_and_outlives_a_crash() {
    let stage = Stage::new().await;
    let mut program = with_admin(stage.settings()).start();
    let (old, new) = revokes_on_all(std::slice::from_ref(&program)).await;
    program.kill();
    let mut program = with_admin(stage.settings()).start();
    assert!(is_revoked(&program, &old).await && !is_revoked(&program, &new).await);
    program.terminate();
    assert!(program.wait().success());
    // The command copies the store into a new file.
    let mut erase = stage.settings().to_erase(TENANT).spawn();
    assert_eq!(erase.ended().0, Some(0));
    let program = with_admin(stage.settings()).start();
    assert!(is_revoked(&program, &old).await, "an erased tenant's old tokens stay refused");
    assert!(!is_revoked(&program, &new).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn revocation_counts_on_all_instances_and_outlives_them() {
    if !redis_is_installed() {
        return;
    }
    let (stage, server) = (Stage::new().await, RedisServer::start());
    let [mut one, other] = pair(&stage, &server);
    let (old, new) = revokes_on_all(&[one, other]).await;
    [one, _] = pair(&stage, &server);
    assert!(is_revoked(&one, &old).await && !is_revoked(&one, &new).await);
    assert_ne!(one.admin().does("erase", json!({ "tenant": TENANT })).await.1["outcome"], "unknown");
    assert!(is_revoked(&one, &old).await, "an erased tenant's old tokens stay refused");
    let keys = String::from_utf8(server.ask(&["ZRANGE", "tautan:{0}:revocations", "0", "-1"])).expect("names");
    assert!(!keys.contains(TENANT), "its name is not kept: {keys}");
}

/// The instance reads what it missed, whether its connections broke or fell silent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn instance_that_was_cut_off_learns_of_a_revocation() {
    if !redis_is_installed() {
        return;
    }
    let (stage, server) = (Stage::new().await, RedisServer::start());
    let network = Network::to(([127, 0, 0, 1], server.port).into()).await.expect("a free port");
    let near = with_admin(on(&stage, &server.url(), KEY)).start();
    let far = on(&stage, &format!("redis://{}/", network.address()), KEY).start();
    for way in [Way::Cut, Way::Silent] {
        let old = issued(in_seconds(0) - 1);
        // Of the second after the last revocation.
        while is_revoked(&far, &old).await {
            sleep(Duration::from_millis(100)).await;
        }
        let stream = Api::with_token(far.base(), &old).events().await;
        network.set(way);
        near.admin().end_streams(TENANT).await;
        sleep(Duration::from_secs(2)).await;
        assert!(is_revoked(&near, &old).await);
        network.set(Way::Open);
        let reachable = Instant::now();
        let mut stream = stream;
        within("the end", stream.rest()).await;
        println!("FIGURE after {way:?} the revocation counts within {:?}", reachable.elapsed());
        assert!(is_revoked(&far, &old).await);
        sleep(Duration::from_secs(1)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn revocation_without_redis_is_503_and_changes_nothing() {
    if !redis_is_installed() {
        return;
    }
    let (stage, mut server) = (Stage::new().await, RedisServer::start_durable());
    let program = with_admin(on(&stage, &server.url(), KEY)).start();
    let old = issued(in_seconds(0) - 5);
    let mut stream = Api::with_token(program.base(), &old).events().await;
    server.stop();
    for path in ["streams/end", "disconnect", "erase"] {
        let answer = program.admin().post(path, json!({ "tenant": TENANT })).await;
        assert_eq!(refused(answer).await, (503, "store-unavailable".to_owned()), "{path}");
    }
    server.restart();
    let served = async {
        while program.admin().post("streams/end", json!({ "tenant": "other" })).await.status() != StatusCode::OK {
            sleep(Duration::from_millis(50)).await;
        }
    };
    within("redis is used again", served).await;
    assert!(!is_revoked(&program, &old).await);
    let ended = timeout(Duration::from_millis(300), async { while stream.next_without_deadline().await.is_some() {} });
    assert!(ended.await.is_err(), "its stream is open");
}

/// A Redis whose crash lost the revocation gets it back from the instances that know it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn revocation_that_redis_lost_is_saved_again() {
    if !redis_is_installed() {
        return;
    }
    let (stage, mut server) = (Stage::new().await, RedisServer::start_durable());
    let [one, other] = pair(&stage, &server);
    let old = issued(in_seconds(0) - 5);
    let backup = server.backup();
    one.admin().end_streams(TENANT).await;
    server.restart_from(&backup);
    let count = || String::from_utf8(server.ask(&["ZCARD", "tautan:{0}:revocations"])).expect("a number");
    let restored = async {
        while !count().starts_with(":1") {
            sleep(Duration::from_millis(50)).await;
        }
    };
    within("it is saved again", restored).await;
    assert!(is_revoked(&one, &old).await && is_revoked(&other, &old).await);
    drop([one, other]);
    let [one, _] = pair(&stage, &server);
    assert!(is_revoked(&one, &old).await);
}
