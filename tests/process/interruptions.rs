//! Interruptions that are no ends: the link reconnects by itself, with growing pauses.

use std::time::{Duration, Instant};

use tautan_simulator::{Fault, Refusal};
use tautan_test_support::{DEADLINE, Event, EventStream};

use crate::stage::{NUMBER, Stage, TENANT, link};

async fn is_back(stage: &Stage, stream: &mut EventStream) {
    let back = stream.until_status("connected").await;
    assert_eq!(back.text("phoneNumber"), NUMBER);
    stage.proves_device().await;
}

/// The status while it is away, which still names the account.
async fn is_away(stream: &mut EventStream, reason: &str) -> Event {
    let away = stream.until(reason, |event| event.is_status("connecting") && event.data["reason"] == reason).await;
    assert_eq!(away.text("phoneNumber"), NUMBER);
    away
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stream_ended_by_whatsapp_reconnects_by_itself() {
    for code in [503, 429, 515] {
        let stage = Stage::new().await;
        let program = stage.start();
        let mut stream = link(&program.api(TENANT), &stage.phone).await;
        let logins = stage.simulator.logins(stage.device());
        assert!(stage.simulator.end(stage.device(), code));
        stage.simulator.wait_for_logins(stage.device(), logins + 1, DEADLINE).await.expect("it dials again");
        if code != 515 {
            is_away(&mut stream, "reconnecting").await;
            is_back(&stage, &mut stream).await;
        }
        assert_eq!(stage.simulator.logins(stage.device()), logins + 1, "{code}");
        assert_eq!(stage.simulator.double_logins(stage.device()), 0, "{code}");
    }
}

/// The library sends no event: it has closed the connection itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unanswered_reconnect_is_soon_published_as_unreachable() {
    let stage = Stage::new().await;
    let program = stage.start();
    let mut stream = link(&program.api(TENANT), &stage.phone).await;
    stage.simulator.faults().set(Fault::SilentSocket);
    let began = Instant::now();
    assert!(stage.simulator.end(stage.device(), 515));
    is_away(&mut stream, "reconnecting").await;
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    stage.simulator.faults().clear(Fault::SilentSocket);
    stage.simulator.cut_all();
    is_back(&stage, &mut stream).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn busy_whatsapp_is_retried_at_growing_intervals() {
    let stage = Stage::new().await;
    let program = stage.start();
    let mut stream = link(&program.api(TENANT), &stage.phone).await;
    let (began, sockets) = (Instant::now(), stage.simulator.sockets_opened());
    stage.phone.refuse(Refusal::Unavailable);
    is_away(&mut stream, "reconnecting").await;
    stage.simulator.wait_until(DEADLINE, |sim| sim.sockets_opened() >= sockets + 4).await.expect("it tries");
    assert!(began.elapsed() > Duration::from_millis(3_500), "1, 1, 2 s and a tenth less: {:?}", began.elapsed());
    stage.phone.accept();
    is_back(&stage, &mut stream).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rate_limited_login_is_not_retried_on_user_requests() {
    let stage = Stage::new().await;
    let program = stage.start();
    let api = program.api(TENANT);
    let mut stream = link(&api, &stage.phone).await;
    stage.phone.refuse(Refusal::RateLimited);
    is_away(&mut stream, "whatsapp-unreachable").await;
    let (began, sockets) = (Instant::now(), stage.simulator.sockets_opened());
    for _ in 0..5 {
        api.connect().await;
    }
    stage.simulator.wait_until(DEADLINE, |sim| sim.sockets_opened() > sockets).await.expect("it tries again");
    assert!(began.elapsed() > Duration::from_millis(4_500), "{:?}", began.elapsed());
    stage.phone.accept();
    is_back(&stage, &mut stream).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unlink_does_not_wait_for_the_login() {
    let stage = Stage::new().await;
    let program = stage.start();
    let api = program.api(TENANT);
    let mut stream = link(&api, &stage.phone).await;
    stage.phone.refuse(Refusal::RateLimited);
    is_away(&mut stream, "whatsapp-unreachable").await;
    let began = Instant::now();
    api.disconnect().await;
    let ended = stream.until_status("disconnected").await;
    assert_eq!((ended.text("reason"), &ended.data["remote"]), ("unlinked-by-user", &false.into()));
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pairing_without_a_login_goes_on_when_whatsapp_accepts() {
    let stage = Stage::new().await;
    let program = stage.start();
    let api = program.api(TENANT);
    stage.simulator.refuse(Some(Refusal::RateLimited));
    let mut stream = api.events().await;
    api.connect().await;
    stream.until("the wait", |event| event.data["reason"] == "whatsapp-unreachable").await;
    stage.simulator.refuse(None);
    link(&api, &stage.phone).await;
}
