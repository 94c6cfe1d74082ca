//! How the process ends after signals.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use tautan_test_support::within;
use tokio::time::sleep;

use crate::stage::{PLATFORM, Stage, TENANT, link, scan};

/// Signals that come within a second are one.
const ECHO_MAX: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deploy_ends_streams_and_the_next_process_resumes() {
    let stage = Stage::new().await;
    let mut program = stage.start();
    let mut stream = link(&program.api(TENANT), &stage.phone).await;
    program.terminate();
    within("the end of the stream", async {
        while let Some(event) = stream.next().await {
            assert!(!event.is_status("disconnected"), "handing over is no end: {event:?}");
        }
    })
    .await;
    let (code, output) = program.ended();
    assert_eq!(code, Some(0), "{output}");
    stage.until_disconnected().await;

    let program = stage.start();
    let mut stream = program.api(TENANT).events_after(stream.last_id.as_deref()).await;
    let connected = stream.until("connected", |event| {
        assert_ne!(event.name, "qr-code", "nothing is to be scanned");
        event.is_status("connected")
    });
    let connected = connected.await;
    assert_eq!(connected.data["platform"], PLATFORM, "the card is whole again: {connected:?}");
    stage.proves_device().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deploy_during_a_pairing_shows_a_valid_code_afterwards() {
    let stage = Stage::new().await;
    let mut program = stage.start();
    let api = program.api(TENANT);
    let mut stream = api.events().await;
    api.connect().await;
    stream.until_qr().await;
    program.terminate();
    assert_eq!(program.ended().0, Some(0));
    let program = stage.start();
    let mut stream = program.api(TENANT).events_after(stream.last_id.as_deref()).await;
    scan(&mut stream, &stage.phone).await;
    stream.until_status("connected").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn asked_twice_it_waits_no_longer_and_loses_nothing() {
    let stage = Stage::new().await;
    let mut program = stage.settings().with("TAUTAN_DRAIN_DELAY", "60s").start();
    drop(link(&program.api(TENANT), &stage.phone).await);
    program.terminate();
    program.wait_for_line("draining");
    assert!(!program.has_ended(), "the balancer is given time to notice");
    sleep(ECHO_MAX).await;
    let asked = Instant::now();
    program.terminate();
    assert_eq!(program.ended().0, Some(70));
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    let program = stage.start();
    program.api(TENANT).events().await.until_status("connected").await;
    stage.proves_device().await;
}

/// `timeout` and some supervisors signal the process and its group.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn asked_twice_at_once_it_drains_as_if_asked_once() {
    const DRAIN_DELAY: Duration = Duration::from_secs(2);
    let stage = Stage::new().await;
    let mut program = stage.settings().with("TAUTAN_DRAIN_DELAY", "2s").start();
    let asked = Instant::now();
    program.terminate();
    program.wait_for_line("draining");
    program.terminate();
    assert_eq!(program.ended().0, Some(0));
    assert!(asked.elapsed() >= DRAIN_DELAY, "{:?}", asked.elapsed());
}

/// Signals that scripts and terminals send. Each of them cut every stream at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn signals_that_ask_for_nothing_leave_streams_open() {
    let stage = Stage::new().await;
    // In a session of its own there is no terminal, wherever the tests run; and they may run under `nohup`.
    let mut program = stage.settings().run_by(&["env", "--default-signal=HUP", "setsid"]).start();
    let mut stream = link(&program.api(TENANT), &stage.phone).await;
    for (signal, name) in [(Signal::HUP, "SIGHUP"), (Signal::USR1, "SIGUSR1"), (Signal::USR2, "SIGUSR2")] {
        program.signal(signal);
        program.wait_for_line(&format!("\"signal\":\"{name}\""));
    }
    assert!(stage.simulator.cut(stage.device()));
    stream.until_status("connecting").await;
    stream.until_status("connected").await;

    program.signal(Signal::QUIT);
    let (code, output) = program.ended();
    assert_eq!(code, Some(0), "{output}");
}

/// `nohup` makes the process ignore the signal, and a handler would undo that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hangup_that_is_ignored_already_stays_ignored() {
    let stage = Stage::new().await;
    let mut program = stage.settings().run_by(&["nohup"]).start();
    program.signal(Signal::HUP);
    program.signal(Signal::USR1);
    program.wait_for_line("SIGUSR1");
    program.terminate();
    let (code, output) = program.ended();
    assert_eq!(code, Some(0), "{output}");
    assert!(!output.contains("SIGHUP"), "it never arrived: {output}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_the_terminal_drains() {
    let stage = Stage::new().await;
    let on_terminal = ["env", "--default-signal=HUP", "script", "--quiet", "--flush", "/dev/null", "--command"];
    let mut program = stage.settings().with("TAUTAN_DRAIN_DELAY", "3s").run_by(&on_terminal).start();
    let ready = format!("{}/readyz", program.base());
    assert!(reqwest::get(&ready).await.expect("it listens").status().is_success());
    // The terminal goes with the process that made it.
    program.kill();
    within("the drain", async {
        while reqwest::get(&ready).await.expect("it still answers").status().is_success() {
            sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    within("the end", async {
        while reqwest::get(&ready).await.is_ok() {
            sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
}
