//! A log reader that stops reading, as a container runtime with a full disk does.

use futures::StreamExt as _;
use rustix::process::{Pid, Signal, kill_process};
use tautan_test_support::{Api, Program};

use crate::stage::{Stage, TENANT};

/// Standard error goes through `cat`, which can be stopped. The program replaces the shell.
const THROUGH_CAT: &str = r#"exec 3> >(echo "reader $BASHPID" >&2; exec cat >&2); exec "$0" 2>&3"#;
/// Each tenant causes one line of the log. Together they are more than the pipe and the program's buffer hold.
const TENANTS: usize = 6_000;

/// Opens a stream as each of these tenants.
async fn fill(program: &Program, tenants: std::ops::Range<usize>) {
    let open = |number: usize| {
        let api = Api::new(program.base(), &format!("toko-{number}"));
        async move { drop(api.events().await) }
    };
    futures::stream::iter(tenants).for_each_concurrent(8, open).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn log_reader_that_stops_holds_up_nothing() {
    let stage = Stage::new().await;
    let mut program = stage.settings().run_by(&["bash", "-c", THROUGH_CAT]).start();
    let reader = program.wait_for_line("reader ");
    let reader = reader.rsplit(' ').next().and_then(|pid| pid.parse().ok()).and_then(Pid::from_raw);
    let reader = reader.expect("the shell prints a process id");

    kill_process(reader, Signal::STOP).expect("it runs");
    fill(&program, 0..TENANTS).await;
    let api = program.api(TENANT);
    let mut stream = api.events().await;
    api.connect().await;
    stream.until_qr().await;
    kill_process(reader, Signal::CONT).expect("it runs");
    program.wait_for_line("log lines were dropped");

    kill_process(reader, Signal::STOP).expect("it runs");
    fill(&program, TENANTS..TENANTS + TENANTS / 4).await;
    program.terminate();
    assert_eq!(program.wait().code(), Some(0), "the shutdown does not wait for the log");
    kill_process(reader, Signal::CONT).expect("it runs");
}
