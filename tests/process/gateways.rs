//! Streams behind real reverse proxies, each with the settings that are known to harm streams.

use reqwest::{Method, StatusCode};
use tautan_test_support::{EventStream, Gateway, within};

use crate::stage::{Stage, TENANT};

const STREAMS_MAX: usize = 3;
/// Enough visits to use each slot several times.
const VISITS: usize = 12;

/// A proxy that does not watch its client keeps a visit's stream open until its second heartbeat at least.
async fn visits_are_all_let_in(gateway: Gateway) {
    let stage = Stage::new().await;
    let program = stage.settings().with("TAUTAN_MAX_STREAMS_PER_TENANT", &STREAMS_MAX.to_string()).start();
    let Some(gateway) = gateway.start(program.base()) else { return };
    let api = program.api(TENANT).at(&gateway.base());
    for visit in 0..VISITS {
        let answer = within("an answer", api.ask(Method::GET, "events").send()).await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::OK, "visit {visit}");
        let mut stream = EventStream::new(answer);
        within("the status", stream.next()).await.expect("an open stream");
    }
    // Streams that are still read stay open while requests wait for a slot.
    let mut open = Vec::new();
    for _ in 0..STREAMS_MAX {
        open.push(api.events().await);
    }
    let answer = within("an answer", api.ask(Method::GET, "events").send()).await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::TOO_MANY_REQUESTS);
    api.connect().await;
    for stream in &mut open {
        stream.until_qr().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn short_visits_through_haproxy_do_not_use_up_the_slots() {
    visits_are_all_let_in(Gateway::HaProxy).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn short_visits_through_nginx_do_not_use_up_the_slots() {
    visits_are_all_let_in(Gateway::Nginx).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn short_visits_through_caddy_do_not_use_up_the_slots() {
    visits_are_all_let_in(Gateway::Caddy).await;
}

/// Caddy 2.6.2 compresses a stream whose first write is large, and never flushes it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn compressing_caddy_passes_on_a_code_that_is_there_already() {
    let stage = Stage::new().await;
    let program = stage.start();
    let Some(gateway) = Gateway::Caddy.start(program.base()) else { return };
    let api = program.api(TENANT);
    api.connect().await;
    api.events().await.until_qr().await;
    let api = api.at(&gateway.base());
    for accepted in ["gzip", "zstd", "gzip, deflate, br, zstd"].repeat(5) {
        let ask = api.ask(Method::GET, "events").header("accept-encoding", accepted);
        let answer = within("the stream's headers", ask.send()).await.expect("an answer");
        assert_eq!(answer.headers().get("content-encoding"), None);
        EventStream::new(answer).until_qr().await;
    }
}
