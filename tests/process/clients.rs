//! The stream with SSE clients of other projects, each in its own runtime. Clients for browsers are tested in
//! `tests/browser/clients.rs`, and curl in `curl.rs`.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use tautan_test_support::{Event, Network, Way, ids, npm_packages, pip_packages, rank, token, within};

use crate::{
    printed::Printed,
    stage::{Stage, TENANT, link},
};

/// Events that the client has dispatched, up to the first with this status.
fn until_status(client: &Printed, status: &str) -> Vec<Event> {
    let event =
        |line: &str| Event::dispatched(&serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}")));
    let lines = client.until(status, |line| event(line).is_status(status));
    lines.iter().map(|line| event(line)).collect()
}

/// The present, live events, and after a cut everything that happened meanwhile.
async fn sees_all(client: Option<Command>) {
    let Some(mut command) = client else { return };
    let stage = Stage::new().await;
    let program = stage.start();
    let address = program.base().trim_start_matches("http://").parse().expect("an address");
    let network = Network::to(address).await.expect("a free port");
    command.arg(format!("http://{}/api/whatsapp/events", network.address())).arg(token(TENANT));
    // A proxy in the environment is for other traffic.
    let client = Printed::by(command.env("NO_PROXY", "*").env("no_proxy", "*")).expect("its runtime starts");

    let present = until_status(&client, "disconnected");
    assert_eq!(present[0].name, "heartbeat", "{present:?}");
    assert_eq!(present[present.len() - 1].data["reason"], "never-linked");
    let mut watching = link(&program.api(TENANT), &stage.phone).await;
    let live = until_status(&client, "connected");
    assert!(live.iter().any(|event| event.name == "qr-code"), "{live:?}");
    assert!(ids(&live).len() >= 4 && ids(&live).is_sorted_by(|one, next| rank(one) < rank(next)), "{live:?}");
    assert_eq!(ids(&live).last().copied(), watching.last_id.as_deref());

    network.set(Way::Cut);
    assert!(stage.simulator.cut(stage.device()));
    let mut missed = Vec::new();
    while missed.last().is_none_or(|event: &Event| !event.is_status("connected")) {
        missed.push(within("an event", watching.next()).await.expect("the stream goes on"));
    }
    network.set(Way::Open);
    let caught_up = until_status(&client, "connected");
    assert!(missed.iter().any(|event| event.data["reason"] == "reconnecting"), "{missed:?}");
    assert_eq!(ids(&caught_up), ids(&missed), "{caught_up:?}");
}

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients")
}

/// `None`: node or npm is missing, and the test has said so.
fn by_node(script: &str) -> Option<Command> {
    static FOLDER: OnceLock<Option<PathBuf>> = OnceLock::new();
    let folder =
        FOLDER.get_or_init(|| npm_packages(&source(), &Path::new(env!("CARGO_TARGET_TMPDIR")).join("clients-npm")));
    let folder = folder.as_deref()?;
    // Node looks for packages beside the script.
    std::fs::copy(source().join(script), folder.join(script)).expect("the target directory can be written");
    let mut command = Command::new("node");
    command.arg(folder.join(script));
    Some(command)
}

/// `None`: Python or its venv is missing, and the test has said so.
fn by_python(script: &str) -> Option<Command> {
    static PYTHON: OnceLock<Option<PathBuf>> = OnceLock::new();
    let python =
        PYTHON.get_or_init(|| pip_packages(&source(), &Path::new(env!("CARGO_TARGET_TMPDIR")).join("clients-pip")));
    let mut command = Command::new(python.as_deref()?);
    command.arg(source().join(script));
    Some(command)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn npm_eventsource_sees_all_and_reconnects_by_itself() {
    sees_all(by_node("eventsource.mjs")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn npm_eventsource_parser_sees_all_in_a_loop() {
    sees_all(by_node("eventsource-parser.mjs")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pypi_httpx_sse_sees_all_in_its_documented_loop() {
    sees_all(by_python("httpx-sse.py")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pypi_sseclient_py_sees_all_in_a_loop() {
    sees_all(by_python("sseclient-py.py")).await;
}
