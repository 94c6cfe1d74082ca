//! Linking and unlinking over and over leaves nothing behind.

use std::{fs, time::Instant};

use tautan_test_support::{DEADLINE, Program};

use crate::stage::{NAME, NUMBER, Stage, TENANT, scan};

const ROUNDS: usize = 50;
/// Rounds after which every lazy thing has been made.
const WARM_UP: usize = 10;
/// An allocator keeps what it was given; a leaked client would be some 200 KB a round.
const GROWTH_MAX_KB: u64 = 3 * 1024;

/// The kernel's counters of a process.
#[derive(Clone, Copy, Debug)]
struct Use {
    memory_kb: u64,
    threads: u64,
    files: usize,
}

impl Use {
    fn of(program: &Program) -> Self {
        let process = format!("/proc/{}", program.pid());
        let status = fs::read_to_string(format!("{process}/status")).expect("it runs");
        let number = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("the kernel says so");
            line.split_whitespace().find_map(|word| word.parse().ok()).expect("a number")
        };
        // The process is not dumpable, so that root alone may list its files. Linux counts them for everybody since 6.2.
        let files = format!("{process}/fd");
        let files = match fs::read_dir(&files) {
            Ok(files) => files.count(),
            Err(_) => usize::try_from(fs::metadata(&files).expect("it runs").len()).expect("few"),
        };
        assert!(files > 0, "the kernel says so");
        Self { memory_kb: number("VmRSS:"), threads: number("Threads:"), files }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_rounds_of_linking_and_unlinking_leave_nothing_behind() {
    let stage = Stage::new().await;
    let mut program = stage.start();
    let start = Use::of(&program);
    let mut warm = start;
    {
        let api = program.api(TENANT);
        let mut stream = api.events().await;
        for round in 1..=ROUNDS {
            api.connect().await;
            let device = scan(&mut stream, &stage.phone).await;
            let connected = stream.until_status("connected").await;
            assert_eq!(connected.data["phoneNumber"], NUMBER);
            api.disconnect().await;
            let ended = stream.until_status("disconnected").await;
            assert_eq!(ended.data["reason"], "unlinked-by-user", "round {round} of {NAME}: {ended:?}");
            assert!(ended.data["remote"].is_null(), "WhatsApp received the unlink: {ended:?}");
            assert_eq!(stage.simulator.live_sockets_max(device), 1, "never two sockets of one device");
            if round == WARM_UP {
                warm = Use::of(&program);
            }
        }
    }
    stage.until_disconnected().await;
    assert_eq!(stage.phone.devices(), []);
    // The client's connections and the pool's idle threads go in their own time.
    let until = Instant::now() + DEADLINE;
    let mut end = Use::of(&program);
    while (end.files > start.files || end.threads > warm.threads) && Instant::now() < until {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        end = Use::of(&program);
    }
    println!("start {start:?}\nwarm  {warm:?}\nend   {end:?}");
    assert!(end.files <= start.files, "{} files more", end.files - start.files);
    assert!(end.threads <= warm.threads, "{} threads, {} when warm", end.threads, warm.threads);
    let growth = end.memory_kb.saturating_sub(warm.memory_kb);
    assert!(growth < GROWTH_MAX_KB, "grew by {growth} KB in {} rounds", ROUNDS - WARM_UP);
    program.terminate();
    assert!(program.wait().success());
}
