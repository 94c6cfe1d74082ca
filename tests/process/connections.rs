//! Clients without a token that hold connections.

use std::{net::Ipv4Addr, time::Duration};

use reqwest::Method;
use serde_json::Value;
use tautan_test_support::{Api, Attack, Kind, Program, within};
use tokio::net::TcpStream;

use crate::stage::{Stage, TENANT, link};

fn line(program: &Program, message: &str) -> Option<Value> {
    let lines = program.output().into_iter().filter_map(|line| serde_json::from_str::<Value>(&line).ok());
    lines.into_iter().find(|line| line["message"] == message)
}

/// A link that is cut needs a descriptor to come back, and had none until the clients went.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hardening_idle_clients_take_no_descriptor_of_a_link() {
    let stage = Stage::new().await;
    let program = stage.settings().run_by(&["prlimit", "--nofile=200:200"]).start();
    let api = program.api(TENANT);
    let mut stream = link(&api, &stage.phone).await;
    let device = stage.device();

    let attack = Attack::begin(program.address(), 600, &[Kind::KeepAlive]);
    tokio::time::sleep(Duration::from_secs(3)).await;
    for round in 0..3 {
        let logins = stage.simulator.logins(device);
        assert!(stage.simulator.cut(device), "round {round}");
        let back = stage.simulator.wait_until(Duration::from_secs(20), |simulator| simulator.logins(device) > logins);
        back.await.unwrap_or_else(|_| panic!("the link does not come back in round {round}"));
        stream.until_status("connected").await;
        // A user on an address of its own, one behind a proxy on this machine.
        for address in [Ipv4Addr::new(127, 0, 0, 100), Ipv4Addr::LOCALHOST] {
            let user = Api::from(program.base(), &format!("user-{round}-of-{address}"), address.into());
            user.connect().await;
            let mut events = user.events().await;
            within("a code", events.until_qr()).await;
            user.disconnect().await;
        }
    }
    attack.end().await;
    assert!(line(&program, "connection limit reached, closing idle connections").is_some());
    let lines = program.output().len();
    assert!(lines < 150, "one line for each episode, not {lines}");
}

/// With the server's read buffer and the room for a request, each took 16.5 KB of a debug build.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hardening_silent_clients_take_no_buffers() {
    const CLIENTS: usize = 200;
    let stage = Stage::new().await;
    let program = stage.start();
    let api = program.api(TENANT);
    // Its connection stays open.
    api.status().await;
    let descriptors = || std::fs::read_dir(format!("/proc/{}/fd", program.pid())).map_or(0, Iterator::count);
    let (memory, open) = (program.memory_kib(), descriptors());
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        clients.push(TcpStream::connect(program.address()).await.expect("a connection"));
    }
    within("all of them", async {
        while descriptors() < open + CLIENTS {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    let each = (program.memory_kib() - memory) * 1024 / CLIENTS as u64;
    println!("a client that sends nothing: {each} bytes");
    assert!(each <= 14 * 1024, "{each} bytes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_follow_from_the_hard_limit_of_descriptors() {
    let stage = Stage::new().await;
    let limited = |settings: tautan_test_support::Settings| settings.run_by(&["prlimit", "--nofile=64:300"]);
    let program = limited(stage.settings()).start();
    let limits = line(&program, "limits of this instance").expect("the start says so");
    let number = |name: &str| limits[name].as_u64().unwrap_or_else(|| panic!("no {name} in {limits}"));
    assert_eq!(number("descriptors"), 300, "the soft limit was raised");
    assert_eq!((number("connections"), number("without_token"), number("sessions")), (118, 59, 118));
    let limit = std::fs::read_to_string(format!("/proc/{}/limits", program.pid())).expect("it runs");
    let files = limit.lines().find(|line| line.starts_with("Max open files")).expect("the kernel says so");
    assert_eq!(files.split_whitespace().nth(3), Some("300"), "{files}");
    assert!(line(&program, "setting does not fit into the descriptors or the memory of this process").is_none());
    drop(program);

    let program = limited(stage.settings().with("TAUTAN_MAX_SESSIONS", "1000")).start();
    let misfit = line(&program, "setting does not fit into the descriptors or the memory of this process");
    let misfit = misfit.expect("it does not fit");
    assert_eq!((&misfit["variable"], &misfit["fits"]), (&"TAUTAN_MAX_SESSIONS".into(), &118.into()));
    assert_eq!(misfit["level"], "WARN");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn session_beyond_the_maximum_is_refused() {
    let stage = Stage::new().await;
    let program = stage.settings().with("TAUTAN_MAX_SESSIONS", "1").start();
    program.api("first").connect().await;
    let refused = program.api("second").ask(Method::POST, "connect").send().await.expect("an answer");
    assert_eq!((refused.status().as_u16(), refused.headers()["retry-after"].as_bytes()), (503, b"60".as_slice()));
    assert_eq!(refused.json::<Value>().await.expect("a problem")["code"], "no-capacity");
    program.api("first").connect().await;
}
