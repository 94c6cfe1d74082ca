//! `kill -9` at every commit to the store and at every frame to WhatsApp of a pairing. Afterwards either the phone lists no
//! device, or the restarted program resumes it without a scan; and what was acknowledged is still wanted.

use reqwest::{Method, StatusCode};
use tautan_test_support::{Api, Binary, DEADLINE, EventStream, Program, within};

use crate::stage::{Stage, TENANT, scan};

/// A pairing has fewer points than this; more would mean that the hook is not reached.
const POINTS_MAX: u64 = 150;
const NO_PAUSE: &str = "0";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_before_any_commit_of_a_pairing_loses_nothing() {
    walk("commit-before", NO_PAUSE).await;
}

/// The disk is slower than the network: a frame that does not wait for its commit is at the phone when the process dies.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_before_any_commit_to_a_slow_disk_loses_nothing() {
    walk("commit-before", "150").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_after_any_commit_of_a_pairing_loses_nothing() {
    walk("commit-after", NO_PAUSE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_before_any_frame_of_a_pairing_loses_nothing() {
    walk("frame", NO_PAUSE).await;
}

/// Dies at point 1, 2, 3, … until a pairing is through before its point comes.
async fn walk(place: &str, commit_pause: &str) {
    // Built before, so that the build does not count as time of a point.
    Binary::Sim.path();
    let (mut resumed, mut anew) = (0, 0);
    for number in 1..POINTS_MAX {
        let point = format!("{place}:{number}");
        match tokio::time::timeout(DEADLINE * 4, die_at(&point, commit_pause))
            .await
            .unwrap_or_else(|_| panic!("{point} hangs"))
        {
            After::Survived => {
                println!("{place}: {} points, {resumed} resumed, {anew} began anew", number - 1);
                assert!(anew > 0 && resumed > 0, "the points lie on both sides of the linking");
                return;
            }
            After::Resumed => resumed += 1,
            After::Anew => anew += 1,
        }
    }
    panic!("{place}: still killed at point {POINTS_MAX}");
}

enum After {
    /// The point did not come.
    Survived,
    Resumed,
    Anew,
}

async fn die_at(point: &str, commit_pause: &str) -> After {
    let stage = Stage::new().await;
    let mut program = stage.settings().with("SIM_KILL", point).with("SIM_COMMIT_PAUSE", commit_pause).spawn();
    let mut acknowledged = false;
    if program.comes_up() {
        let api = program.api(TENANT);
        if pair(&api, &stage, &mut acknowledged).await.is_some() && !program.has_ended() {
            return After::Survived;
        }
    }
    let (code, output) = program.ended();
    assert_eq!(code, None, "{point}: it ended by itself: {output}");
    stage.until_disconnected().await;
    let listed = stage.phone.devices();
    println!("{point}: acknowledged {acknowledged}, phone lists {listed:?}");

    let program = stage.start();
    if listed.is_empty() {
        begins_anew(&stage, &program, acknowledged).await;
        After::Anew
    } else {
        resumes(&stage, &program).await;
        assert_eq!(stage.phone.devices(), listed, "{point}");
        After::Resumed
    }
}

/// A user's steps while the server may be killed at any time; `None`: it was killed.
async fn pair(api: &Api, stage: &Stage, acknowledged: &mut bool) -> Option<()> {
    let answer = api.ask(Method::POST, "connect").send().await.ok()?;
    assert_eq!(answer.status(), StatusCode::ACCEPTED);
    *acknowledged = true;
    let mut stream = EventStream::new(api.ask(Method::GET, "events").send().await.ok()?);
    while let Some(event) = within("an event, or the end", stream.next()).await {
        if event.name == "qr-code" {
            // Fails where the program dies meanwhile: then the stream ends too.
            let _ = stage.phone.scan(event.text("qrText")).await;
        }
        if event.is_status("connected") {
            return Some(());
        }
    }
    None
}

async fn resumes(stage: &Stage, program: &Program) {
    let mut stream = program.api(TENANT).events().await;
    let connected = stream.until("connected", |event| {
        assert_ne!(event.name, "qr-code", "a device that is linked is not asked to scan again");
        assert_ne!(event.data["status"], "disconnected", "{event:?}");
        event.is_status("connected")
    });
    connected.await;
    stage.proves_device().await;
}

async fn begins_anew(stage: &Stage, program: &Program, acknowledged: bool) {
    let api = program.api(TENANT);
    let status = api.status().await;
    if !acknowledged && status["status"] == "disconnected" {
        assert_eq!(status["reason"], "never-linked");
        return;
    }
    let mut stream = api.events().await;
    scan(&mut stream, &stage.phone).await;
    stream.until_status("connected").await;
    stage.proves_device().await;
}
