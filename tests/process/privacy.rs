//! What other users of the machine, and other processes of the same user, can read of the program: its environment, its
//! memory in a core dump, its files.

use std::{
    fs::{self, Permissions},
    os::unix::{
        fs::{MetadataExt as _, PermissionsExt as _},
        process::ExitStatusExt as _,
    },
    path::Path,
    process::Command,
};

use rustix::process::{Signal, geteuid};
use tautan_test_support::SECRET;

use crate::{
    stage::{Stage, TENANT},
    starts::{FAILED_START, fails},
};

/// Runs a process of the same user without capabilities, such as the one to read every other process. Root has
/// them all.
fn without_capabilities() -> Vec<&'static str> {
    if geteuid().is_root() { vec!["setpriv", "--bounding-set", "-all"] } else { vec!["env"] }
}

fn environment_of(pid: u32) -> Option<String> {
    let reader = without_capabilities();
    let read = Command::new(reader[0]).args(&reader[1..]).arg("cat").arg(format!("/proc/{pid}/environ")).output();
    let read = read.expect("it runs");
    read.status.success().then(|| String::from_utf8_lossy(&read.stdout).into_owned())
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("it is ours");
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("it is there").permissions().mode() & 0o7777
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn environment_is_hidden_from_processes_of_the_same_user() {
    let runner = without_capabilities();
    let mut other = Command::new(runner[0]).args(&runner[1..]).args(["sleep", "60"]).env("JWT_SECRET", SECRET).spawn();
    let other = other.as_mut().expect("it runs");
    // Until then it is this test's own image that would be read.
    let is_sleep = || fs::read_to_string(format!("/proc/{}/comm", other.id())).is_ok_and(|name| name.trim() == "sleep");
    while !is_sleep() {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let seen = environment_of(other.id());
    other.kill().and_then(|()| other.wait()).expect("it runs");
    assert!(seen.is_some_and(|seen| seen.contains(SECRET)), "any other program's is read in the same way");

    let stage = Stage::new().await;
    let program = stage.settings().run_by(&runner).start();
    assert_eq!(environment_of(program.pid()), None);
    assert_eq!(program.api(TENANT).status().await["reason"], "never-linked");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crash_leaves_no_core_dump() {
    let stage = Stage::new().await;
    // Where the kernel writes dumps into the working directory, they go with the test's own.
    let with_dumps = format!("cd {} && ulimit -c unlimited && exec \"$0\" \"$@\"", stage.directory.path().display());
    let other = Command::new("sh").args(["-c", &with_dumps, "sh", "-c", "kill -ABRT $$"]).status().expect("it runs");
    println!("other programs leave a core dump here: {}", other.core_dumped());
    let mut program = stage.settings().run_by(&["sh", "-c", &with_dumps]).start();
    program.signal(Signal::ABORT);
    let status = program.wait();
    assert_eq!(status.signal(), Some(Signal::ABORT.as_raw()));
    assert!(!status.core_dumped());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn data_directory_that_others_may_write_is_refused() {
    let stage = Stage::new().await;
    let path = stage.directory.path();
    for wrong in [0o777, 0o775, 0o770, 0o720, 0o702, 0o1777, 0o2777] {
        set_mode(path, wrong);
        let step = format!("chmod go-w {}", path.display());
        fails(stage.settings(), FAILED_START, &["TAUTAN_DATA_DIR", &step]);
        assert_eq!(fs::read_dir(path).expect("it is there").count(), 0, "nothing was written");
    }
    for right in [0o700, 0o755] {
        set_mode(path, right);
        assert_eq!(stage.start().api(TENANT).status().await["reason"], "never-linked");
    }
}

/// Kubernetes gives a volume's group this right, with the setgid bit, at every mount (`fsGroup`).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn volume_whose_group_kubernetes_set_is_accepted() {
    let stage = Stage::new().await;
    let path = stage.directory.path();
    set_mode(path, 0o2770);
    let mut program = stage.start();
    program.wait_for_line("group may write");
    drop(program);
    // This group does not exist here: then it was not set for this process.
    if geteuid().is_root() {
        std::os::unix::fs::chown(path, None, Some(61_234)).expect("root may");
        set_mode(path, 0o2770);
        fails(stage.settings(), FAILED_START, &["chmod go-w"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_are_for_their_owner_only() {
    let stage = Stage::new().await;
    // A umask that removes no rights.
    let open_umask = || stage.settings().run_by(&["sh", "-c", "umask 0; exec \"$0\""]);
    drop(open_umask().start());
    let files = || fs::read_dir(stage.directory.path()).expect("it is there").map(|entry| entry.expect("read").path());
    assert!(files().count() >= 3);
    for path in files() {
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
    // The rights of a backup that was restored with `cp`.
    let store = stage.directory.path().join("tautan.redb");
    set_mode(&store, 0o644);
    drop(open_umask().start());
    assert_eq!(mode(&store), 0o600);
    assert_eq!(fs::metadata(&store).expect("it is there").uid(), geteuid().as_raw());
}
