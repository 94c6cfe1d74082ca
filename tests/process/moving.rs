//! `tautan move`: from the embedded store to Redis, with nothing lost when it is killed.

use std::fs;

use reqwest::{Method, StatusCode};
use tautan_test_support::{
    Delivery, Event, Mood, Network, Program, Receiver, RedisServer, Settings, Way, in_order, redis_is_installed, within,
};

use crate::{
    admin::with_admin,
    redis::on,
    stage::{Stage, TENANT, link},
    starts::{FAILED_START, KEY, OTHER_KEY, ends, fails},
};

const UNLINKED: &str = "neighbour";
const WAITING: &str = "third";
/// No tenant of the store any more, or never one.
const SIGNED_OUT: &str = "fourth";
const MOVED: &str = "moved 3 tenants";

fn end(mut program: Program) {
    program.terminate();
    let (code, output) = program.ended();
    assert_eq!(code, Some(0), "{output}");
}

/// Three tenants in an embedded store: one is linked, one was unlinked on its phone, one has just asked for a code.
async fn embedded() -> Stage {
    let stage = Stage::new().await;
    let program = with_admin(stage.settings()).start();
    program.admin().end_streams(SIGNED_OUT).await;
    drop(link(&program.api(TENANT), &stage.phone).await);
    let other = stage.simulator.phone("6289876543210", "Toko Lain");
    let mut stream = link(&program.api(UNLINKED), &other).await;
    assert!(other.unlink(other.devices()[0]));
    stream.until_status("disconnected").await;
    program.api(WAITING).connect().await;
    end(program);
    stage.until_disconnected().await;
    stage
}

fn moves(stage: &Stage, redis: &str) -> Settings {
    let from = stage.directory.path().to_str().expect("it is text").to_owned();
    on(stage, "", KEY).run(&["move", "--from", &from, "--to", redis])
}

/// All three are on Redis as they were: the first is linked again without a scan.
async fn is_complete(stage: &Stage, redis: &str) -> Program {
    let program = on(stage, redis, KEY).start();
    program.api(TENANT).events().await.until_status("connected").await;
    stage.proves_device().await;
    let ended: Event = program.api(UNLINKED).events().await.until_status("disconnected").await;
    assert_eq!(ended.data["reason"], "unlinked-by-phone");
    program.api(WAITING).events().await.until_qr().await;
    let answer = within("an answer", program.api(SIGNED_OUT).ask(Method::GET, "status").send()).await;
    assert_eq!(answer.expect("an answer").status(), StatusCode::UNAUTHORIZED, "its tokens were revoked");
    program
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn move_takes_all_tenants_to_redis() {
    if !redis_is_installed() {
        return;
    }
    let (stage, server) = (embedded().await, RedisServer::start());
    let running = on(&stage, &server.url(), KEY).start();
    ends(moves(&stage, &server.url()), FAILED_START, &["stop them first"]);
    end(running);
    ends(moves(&stage, &server.url()), 0, &[MOVED]);
    fails(stage.settings(), FAILED_START, &["were moved to Redis", "moved-to-redis"]);
    let program = is_complete(&stage, &server.url()).await;
    // An instance has changed the credentials since: a second move must not bring the old ones back.
    ends(moves(&stage, &server.url()), 0, &[MOVED]);
    stage.proves_device().await;
    end(program);
    is_complete(&stage, &server.url()).await;
}

/// What the back end could not be sent before the move it is sent after it, once, and later statuses come behind it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn webhook_that_waits_is_delivered_once_after_the_move() {
    if !redis_is_installed() {
        return;
    }
    let (stage, server, receiver) = (Stage::new().await, RedisServer::start(), Receiver::start());
    let program = receiver.deliveries_of(stage.settings()).start();
    let told = [UNLINKED, TENANT];
    drop(link(&program.api(TENANT), &stage.phone).await);
    let other = stage.simulator.phone("6289876543210", "Toko Lain");
    let mut stream = link(&program.api(UNLINKED), &other).await;
    for tenant in told {
        receiver.until("connected", |deliveries| deliveries.iter().any(|one| one.is(tenant, "connected")));
    }
    let before = receiver.deliveries().len();
    receiver.is(Mood::Down);
    assert!(other.unlink(other.devices()[0]));
    stream.until_status("disconnected").await;
    receiver.has_refused();
    end(program);
    stage.until_disconnected().await;
    ends(moves(&stage, &server.url()), 0, &["moved 2 tenants"]);
    assert_eq!(receiver.deliveries().len(), before, "the receiver is down");

    receiver.is(Mood::Takes);
    let program = receiver.deliveries_of(on(&stage, &server.url(), KEY)).start();
    let waited = |deliveries: &[Delivery]| deliveries.iter().filter(|one| one.is(UNLINKED, "disconnected")).count();
    receiver.until("unlink", |deliveries| waited(deliveries) > 0);
    // Behind it come the next statuses of the same tenant, and of the one whose last status was delivered before.
    program.api(UNLINKED).connect().await;
    let newer = |tenant, status| move |one: &Delivery| one.is(tenant, status);
    let deliveries = receiver.until("new statuses", |deliveries| {
        let after = &deliveries[before..];
        after.iter().any(newer(UNLINKED, "qr_pending")) && after.iter().any(newer(TENANT, "connected"))
    });
    in_order(&deliveries);
    assert_eq!(waited(&deliveries), 1, "{deliveries:#?}");
    let mut names: Vec<_> = deliveries.iter().map(|delivery| &delivery.name).collect();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), deliveries.len(), "each came once");
    end(program);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn move_that_is_killed_loses_nothing() {
    if !redis_is_installed() {
        return;
    }
    let (stage, server) = (embedded().await, RedisServer::start());
    let network = Network::to(([127, 0, 0, 1], server.port).into()).await.expect("a free port");
    let slow = format!("redis://{}/", network.address());
    let keys = || -> u32 {
        let size = String::from_utf8(server.ask(&["DBSIZE"])).expect("a number");
        size.lines().next().and_then(|line| line.strip_prefix(':')?.parse().ok()).expect("a number")
    };
    let file = stage.directory.path().join("moved-to-redis");
    let begun = || server.ask(&["HGET", "tautan:proof", "moving"]).starts_with(b"$16");
    // From the first key of a tenant to the last, and then between the last two steps of the move.
    for at_least in [0, 8, 12, 16, u32::MAX] {
        network.set(Way::Slow);
        let mut program = moves(&stage, &slow).spawn();
        let is_done = || fs::read_to_string(&file).is_ok_and(|text| text.starts_with("moved"));
        while (!begun() || keys() < at_least) && !is_done() && !program.has_ended() {
            tokio::task::yield_now().await;
        }
        assert!(!program.has_ended(), "{:?}", program.output());
        program.kill();
        program.wait();
        network.set(Way::Open);
        fails(on(&stage, &server.url(), KEY), FAILED_START, &["tautan move"]);
        fails(stage.settings(), FAILED_START, &["moved-to-redis"]);
    }
    ends(moves(&stage, &server.url()), 0, &[MOVED]);
    is_complete(&stage, &server.url()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn move_refuses_what_it_would_mix_or_cannot_read() {
    if !redis_is_installed() {
        return;
    }
    let (stage, server) = (embedded().await, RedisServer::start());
    let program = on(&stage, &server.url(), KEY).start();
    program.api(WAITING).connect().await;
    end(program);
    server.set("min-replicas-to-write", "1");
    ends(moves(&stage, &server.url()), FAILED_START, &["refuses writes"]);
    server.set("min-replicas-to-write", "0");
    ends(moves(&stage, &server.url()), FAILED_START, &["already knows the tenant third"]);
    ends(moves(&stage, &server.url()).with("TAUTAN_ENCRYPTION_KEY", OTHER_KEY), FAILED_START, &["encryption key"]);
    ends(moves(&stage, "redis://127.0.0.1:1/"), FAILED_START, &["does not answer"]);
    let from = stage.directory.path().join("elsewhere");
    let from = from.to_str().expect("it is text");
    let nowhere = on(&stage, "", KEY).run(&["move", "--from", from, "--to", &server.url()]);
    ends(nowhere, FAILED_START, &["there is no store"]);
    let program = stage.start();
    program.api(TENANT).events().await.until_status("connected").await;
    ends(moves(&stage, &RedisServer::start().url()), FAILED_START, &["another process uses the data directory"]);
}
