//! The process is killed at any moment, and every acknowledged write is there. This test binary starts itself to be
//! killed.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use tautan::{
    events::{EndReason, Status},
    store::{
        Change, DesiredState, Generation, Lease, StoreError,
        embedded::{CommitPoint, Settings},
    },
};
use tokio::task::JoinSet;

use crate::{
    backend::{Backend, Embedded, in_time, settings},
    statuses::{NAME, Received, all, connected, ended, numbered, phone, qr, reconnecting, starting, tenant},
};

const DIR: &str = "STORE_TEST_DIR";
/// The commit to die at, counted from the opening's own, and the point: `3 After`.
const DIE_AT: &str = "STORE_TEST_DIE_AT";
const TENANTS: usize = 8;

#[tokio::test]
async fn confirmed_steps_survive_a_kill() {
    const ROUNDS: usize = 8;
    const ROUNDS_MAX: usize = 80;
    let mut dir = tempfile::tempdir().unwrap();
    let mut before: BTreeMap<usize, u64> = BTreeMap::new();
    let mut round = 0;
    // On a busy machine the first rounds are killed before all tenants have come to write.
    let wrote = |before: &BTreeMap<usize, u64>| before.values().filter(|&&last| last > 0).count();
    while round < ROUNDS || wrote(&before) < TENANTS {
        round += 1;
        assert!(round < ROUNDS_MAX, "{} of {TENANTS} came to write", wrote(&before));
        let mut child = start("crash::writes_until_it_is_killed", dir.path(), None);
        let answers = BufReader::new(child.stdout.take().unwrap());
        let reader = std::thread::spawn(move || {
            let lines = answers.lines().map_while(Result::ok);
            lines.filter_map(|line| parse(&line)).collect::<BTreeMap<usize, u64>>()
        });
        std::thread::sleep(Duration::from_millis(rand::random_range(150..600)));
        child.kill().unwrap();
        child.wait().unwrap();
        let answered = reader.join().unwrap();
        before.extend(answered);
        let store = Embedded::at(dir);
        for (&number, &last) in &before {
            let name = tenant(&format!("t{number}"));
            let newest = store.journal().latest(&name).await.unwrap().unwrap().event;
            assert!(number_of(&newest.status) >= Some(last), "round {round}: {name} was answered {last}");
            let rows = store.credentials().table(&name, "t").await.unwrap();
            assert!(rows.len() as u64 > last, "round {round}: {} rows, {last} was answered", rows.len());
        }
        let Embedded { dir: kept, store, .. } = store;
        store.close().await;
        dir = kept;
    }
}

/// redb treats a file that it did not finish creating as foreign, and refuses it for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_first_start_leaves_a_store_that_opens() {
    const ROUNDS: u64 = 20;
    for round in 0..ROUNDS {
        let dir = tempfile::tempdir().unwrap();
        let mut child = start("crash::writes_until_it_is_killed", dir.path(), None);
        let made = || std::fs::read_dir(dir.path()).unwrap().next().is_some();
        while !made() {
            std::thread::yield_now();
        }
        std::thread::sleep(Duration::from_millis(round));
        child.kill().unwrap();
        child.wait().unwrap();
        Embedded::at(dir).store.close().await;
    }
}

/// `answered 3 17`: write 17 of tenant 3 was acknowledged. The first line may follow output of the test harness.
fn parse(line: &str) -> Option<(usize, u64)> {
    let (tenant, number) = line.split_once("answered ")?.1.split_once(' ')?;
    Some((tenant.parse().ok()?, number.parse().ok()?))
}

fn number_of(status: &Status) -> Option<u64> {
    status.account()?.name.as_ref()?.strip_prefix(NAME)?.trim().parse().ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "started by a test, to be killed"]
async fn writes_until_it_is_killed() {
    let store = open_in_child();
    let writers = (0..TENANTS).map(|number| {
        let (name, stores) = (tenant(&format!("t{number}")), store.stores().clone());
        async move {
            stores.commands.request(&name, DesiredState::run(None)).await.unwrap();
            let lease = stores.ownership.acquire(&name).await.unwrap().unwrap();
            for write in stores.credentials.table(&name, "t").await.unwrap().len() as u64.. {
                let row = Change::Put { table: "t", key: write.to_string().into(), value: Bytes::from("v") };
                stores.credentials.write(&lease, vec![row]).await.unwrap();
                stores.journal.append(&lease, numbered(write)).await.unwrap();
                let mut out = std::io::stdout().lock();
                writeln!(out, "answered {number} {write}").and_then(|()| out.flush()).unwrap();
            }
        }
    });
    JoinSet::from_iter(writers).join_all().await;
}

/// The process is killed right before and right after each commit of one tenant's history: afterwards the step that was
/// under way was done or was not, as the point says, and all before it was.
#[tokio::test]
async fn step_is_atomic_wherever_the_process_dies() {
    let expected = history_answered().await;
    let mut deaths = 0;
    for commit in 0.. {
        for point in [CommitPoint::Before, CommitPoint::After] {
            let dir = tempfile::tempdir().unwrap();
            let mut child = start("crash::runs_its_history", dir.path(), Some((commit, point)));
            let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
            let done = lines.filter_map(|line| parse(&line)).count();
            if child.wait().unwrap().success() {
                assert_eq!(done, STEPS);
                assert!(deaths > 20, "it has as many commits: {deaths}");
                return;
            }
            deaths += 1;
            let opening = commit == 0;
            let kept = done + usize::from(point == CommitPoint::After && !opening);
            let store = Embedded::at(dir);
            assert_eq!(shape(&store).await, expected[kept], "commit {commit}, {point:?}, {done} steps answered");
        }
    }
}

#[tokio::test]
#[ignore = "started by a test, to be killed"]
async fn runs_its_history() {
    let store = open_in_child();
    let mut lease = None;
    for number in 0..STEPS {
        step(&store, &mut lease, number).await;
        println!("answered 0 {number}");
    }
}

async fn history_answered() -> Vec<Shape> {
    let store = Embedded::fresh();
    let mut shapes = vec![shape(&store).await];
    let mut lease = None;
    for number in 0..STEPS {
        step(&store, &mut lease, number).await;
        shapes.push(shape(&store).await);
    }
    shapes
}

/// What a restart keeps of a tenant.
type Shape = (Option<Status>, Option<(Generation, DesiredState)>, BTreeMap<Bytes, Bytes>);

async fn shape(store: &Embedded) -> Shape {
    let name = tenant("a");
    let status = store.journal().latest(&name).await.unwrap().map(|shown| match &shown.event.status {
        Status::QrPending { .. } => starting(),
        other => other.clone(),
    });
    let rows = store.credentials().table(&name, "t").await.unwrap().into_iter().collect();
    (status, store.commands().current(&name).await.unwrap(), rows)
}

const STEPS: usize = 15;

async fn step(store: &Embedded, held: &mut Option<Lease>, number: usize) {
    let name = tenant("a");
    let (journal, ownership, commands, credentials) =
        (store.journal(), store.ownership(), store.commands(), store.credentials());
    let put = |key: &'static str, value: &'static str| Change::Put { table: "t", key: key.into(), value: value.into() };
    let lease = || held.clone().expect("the story has acquired it");
    match number {
        0 => drop(commands.request(&name, DesiredState::run(Some(phone()))).await.unwrap()),
        1 => *held = ownership.acquire(&name).await.unwrap(),
        2 => drop(journal.append(&lease(), qr(1)).await.unwrap()),
        3 => credentials.write(&lease(), vec![put("1", "a"), put("2", "a"), put("3", "a")]).await.unwrap(),
        4 => drop(journal.append(&lease(), connected()).await.unwrap()),
        5 => drop(journal.append(&lease(), reconnecting()).await.unwrap()),
        6 => {
            credentials.write(&lease(), vec![Change::Clear { table: "t" }, put("2", "b"), put("4", "b")]).await.unwrap()
        }
        7 => ownership.release(lease()).await.unwrap(),
        8 => *held = ownership.acquire(&name).await.unwrap(),
        9 => drop(journal.append(&lease(), qr(2)).await.unwrap()),
        10 => drop(commands.request(&name, DesiredState::run(None)).await.unwrap()),
        // The old request: its last event and "starting" for the new one, in one step.
        11 => drop(journal.finish(lease(), ended(EndReason::QrExpired), Generation(1)).await.unwrap()),
        12 => *held = ownership.acquire(&name).await.unwrap(),
        13 => credentials.erase(&lease()).await.unwrap(),
        14 => drop(journal.finish(lease(), ended(EndReason::UnlinkedByUser), Generation(2)).await.unwrap()),
        other => panic!("there is no step {other}"),
    }
}

/// A limit on the file's size simulates a full disk: for the store both are a write that fails.
#[tokio::test]
async fn full_disk_is_a_temporary_failure_and_publishes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let limited = "ulimit -f 20000; trap '' XFSZ; exec \"$0\" \"$@\"";
    let mut command = Command::new("sh");
    command.args(["-c", limited]).arg(std::env::current_exe().unwrap());
    command.args(["--exact", "crash::writes_until_the_disk_is_full", "--ignored", "--nocapture"]).env(DIR, dir.path());
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let answered = said.lines().filter_map(parse).count();
    let store = Embedded::at(dir);
    assert!(answered > 0);
    for number in 0..answered {
        assert!(store.credentials().get(&tenant("a"), "t", number.to_string().as_bytes()).await.unwrap().is_some());
    }
    assert_eq!(store.journal().latest(&tenant("a")).await.unwrap().unwrap().event.status, connected());
}

#[tokio::test]
#[ignore = "started by a test, with little room"]
async fn writes_until_the_disk_is_full() {
    in_time(fill_the_disk()).await;
}

async fn fill_the_disk() {
    let store = open_in_child();
    let lease = store.running(&tenant("a")).await;
    let mut reader = store.journal().subscribe(&tenant("a"), None).await;
    assert_eq!(all(&mut reader).await, [Received::Event(starting())]);
    let row =
        |number: usize| Change::Put { table: "t", key: number.to_string().into(), value: vec![1; 200_000].into() };
    let mut number = 0;
    // The last event of the failing step is in the same transaction as a row that is too large, so that both fail.
    let failed = loop {
        let (written, updates) = tokio::join!(
            store.credentials().write(&lease, (0..4).map(|part| row(number * 4 + part)).collect()),
            store.journal().append(&lease, numbered(number as u64)),
        );
        if let Err(error) = written {
            break (error, updates.is_ok());
        }
        println!("answered 0 {number}");
        number += 1;
    };
    assert!(matches!(failed.0, StoreError::Unavailable(_)), "{:?}", failed.0);
    let updates = all(&mut reader).await;
    assert_eq!(updates.len(), number + usize::from(failed.1), "a failed status was not published");
    let newest = store.journal().latest(&tenant("a")).await.unwrap().unwrap();
    assert_eq!(updates.last(), Some(&Received::Event(newest.event.status.clone())), "memory is read all the same");
    // There is room for a status: it comes back by itself.
    while store.journal().append(&lease, connected()).await.is_err() {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(all(&mut reader).await, [Received::Event(connected())]);
    assert!(store.credentials().get(&tenant("a"), "t", b"0").await.unwrap().is_some());
    assert!(!lease.lost().is_cancelled());
}

fn start(test: &str, dir: &Path, die_at: Option<(usize, CommitPoint)>) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", test, "--ignored", "--nocapture"])
        .env(DIR, dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    if let Some((commit, point)) = die_at {
        command.env(DIE_AT, format!("{commit} {point:?}"));
    }
    command.spawn().unwrap()
}

fn open_in_child() -> Embedded {
    let path = std::env::var(DIR).expect("started by a test");
    let die_at = std::env::var(DIE_AT).ok();
    let commits = AtomicUsize::new(0);
    let on_commit = move |point| {
        let commit = match point {
            CommitPoint::Before => commits.load(Ordering::Relaxed),
            CommitPoint::After => commits.fetch_add(1, Ordering::Relaxed),
        };
        if die_at == Some(format!("{commit} {point:?}")) {
            std::process::abort();
        }
    };
    let settings = Settings { on_commit: Some(Arc::new(on_commit)), ..settings(Path::new(&path)) };
    // What the fixture owns and removes is another directory: this one is the parent's.
    Embedded::with(settings, tempfile::tempdir().unwrap())
}
