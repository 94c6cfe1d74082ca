//! Which version of WhatsApp's own client the program sends, and what happens when WhatsApp refuses it.

use tautan_test_support::{DEADLINE, EventStream, Program, RedisServer, redis_is_installed};

use crate::{
    redis::on,
    stage::{Stage, TENANT, link},
    starts::KEY,
};

const OLD: u32 = 2_000_000_000;
const NEW: u32 = 2_000_000_001;
const NEWER: u32 = 2_000_000_002;

/// Each of so many tenants is shown a code.
async fn offers_codes(program: &Program, tenants: usize) -> Vec<EventStream> {
    let mut streams = Vec::new();
    for tenant in 0..tenants {
        let api = program.api(&format!("toko-{tenant}"));
        streams.push(api.events().await);
        api.connect().await;
    }
    for stream in &mut streams {
        stream.until_qr().await;
    }
    streams
}

/// However often: the client library may lose a refusal in the closing socket, and then reconnects.
fn sent_in_turn(stage: &Stage) -> Vec<u32> {
    let mut sent = stage.simulator.sent_versions();
    sent.dedup();
    sent
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn version_is_looked_up_once_for_many_links_and_restarts() {
    let stage = Stage::new().await;
    stage.simulator.publish(Some(OLD));
    let mut program = stage.start();
    offers_codes(&program, 8).await;
    assert_eq!((stage.simulator.sent_versions(), stage.simulator.lookups()), (vec![OLD; 8], 1));
    program.terminate();
    assert!(program.wait().success());
    stage.simulator.publish(None);
    link(&stage.start().api(TENANT), &stage.phone).await;
    assert_eq!((stage.simulator.sent_versions().last(), stage.simulator.lookups()), (Some(&OLD), 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn version_is_looked_up_once_for_all_instances() {
    if !redis_is_installed() {
        return;
    }
    let (stage, server) = (Stage::new().await, RedisServer::start());
    let first = on(&stage, &server.url(), KEY).start();
    offers_codes(&first, 2).await;
    stage.simulator.publish(None);
    let mut first = first;
    first.kill();
    let second = on(&stage, &server.url(), KEY).start();
    link(&second.api(TENANT), &stage.phone).await;
    let sent = stage.simulator.sent_versions();
    assert!(sent.iter().all(|version| *version == sent[0]), "{sent:?}");
    assert_eq!(stage.simulator.lookups(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn outdated_links_look_up_once_and_send_the_newer_version() {
    const TENANTS: usize = 6;
    let stage = Stage::new().await;
    stage.simulator.publish(Some(OLD));
    let program = stage.start();
    let mut streams = Vec::new();
    for tenant in 0..TENANTS {
        let phone = stage.simulator.phone(&format!("62812345678{tenant:02}"), "Toko");
        streams.push(link(&program.api(&format!("toko-{tenant}")), &phone).await);
    }
    stage.simulator.publish(Some(NEW));
    stage.simulator.refuse_below(NEW);
    stage.simulator.cut_all();
    for stream in &mut streams {
        stream.until_status("connecting").await;
        let next = stream.until("the way back", |event| !event.is_status("connecting")).await;
        assert!(next.is_status("connected"), "{next:?}");
    }
    let newer = stage.simulator.sent_versions().into_iter().filter(|sent| *sent == NEW).count();
    assert_eq!(newer, TENANTS);
    assert_eq!(stage.simulator.lookups(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn outdated_version_before_a_code_is_renewed() {
    let stage = Stage::new().await;
    stage.simulator.publish(Some(OLD));
    let program = stage.start();
    let mut streams = offers_codes(&program, 1).await;
    stage.simulator.publish(Some(NEW));
    stage.simulator.refuse_below(NEW);
    stage.simulator.cut_all();
    streams[0].until_status("connecting").await;
    let next = streams[0].until("what follows", |event| !event.is_status("connecting")).await;
    assert!(next.is_status("qr_pending"), "{next:?}");
    assert_eq!(sent_in_turn(&stage), [OLD, NEW]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn outdated_client_with_the_newest_version_is_published() {
    let stage = Stage::new().await;
    stage.simulator.publish(Some(OLD));
    let program = stage.start();
    let api = program.api(TENANT);
    let mut stream = link(&api, &stage.phone).await;
    stage.simulator.publish(Some(NEW));
    stage.simulator.refuse_below(NEWER);
    assert!(stage.simulator.cut(stage.device()));
    let ended = stream.until_status("disconnected").await;
    assert_eq!((ended.text("reason"), &ended.data["retryable"]), ("client-outdated", &false.into()));
    assert_eq!(sent_in_turn(&stage), [OLD, NEW], "the newest version was tried");
    // It looks up nothing for a while, and links again as soon as WhatsApp accepts it.
    api.connect().await;
    assert_eq!(stream.until_status("disconnected").await.data["reason"], "client-outdated");
    assert_eq!(stage.simulator.lookups(), 2);
    stage.simulator.refuse_below(NEW);
    api.connect().await;
    stream.until_status("connected").await;
    stage.proves_device().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failed_lookup_does_not_prevent_linking() {
    let stage = Stage::new().await;
    stage.simulator.publish(None);
    let program = stage.start();
    let streams = offers_codes(&program, 3).await;
    link(&program.api(TENANT), &stage.phone).await;
    drop(streams);
    assert_eq!(stage.simulator.lookups(), 1, "not for each link");
    let sent = stage.simulator.sent_versions();
    assert!(sent.iter().all(|version| (1..OLD).contains(version)), "{sent:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn configured_version_is_sent_without_a_lookup() {
    let stage = Stage::new().await;
    let version = format!("2.3000.{OLD}");
    let program = stage.settings().with("TAUTAN_WHATSAPP_VERSION", &version).start();
    let mut stream = link(&program.api(TENANT), &stage.phone).await;
    stage.simulator.refuse_below(NEW);
    assert!(stage.simulator.cut(stage.device()));
    assert_eq!(stream.until_status("disconnected").await.data["reason"], "client-outdated");
    stage.simulator.wait_until(DEADLINE, |simulator| simulator.sockets() == 0).await.expect("it has hung up");
    assert_eq!((sent_in_turn(&stage), stage.simulator.lookups()), (vec![OLD], 0));
}
