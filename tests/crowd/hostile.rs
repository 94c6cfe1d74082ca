//! Two thousand clients without a token connect and disconnect.

use std::time::Duration;

use tautan_test_support::{Attack, Kind, Program, stage::Stage};

const HOSTILE: usize = 2_000;
const WAVE: Duration = Duration::from_secs(45);
/// For all of them to be gone.
const SETTLED: Duration = Duration::from_secs(3);
const GROWTH_MAX: f64 = 1.1;

fn connections(program: &Program) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", program.pid())).map_or(0, Iterator::count)
}

/// The second wave reuses the memory that the first one leaves.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "it takes minutes; `make long` runs it"]
async fn hardening_second_hostile_wave_takes_no_more_memory() {
    let stage = Stage::new().await;
    let program = stage.start();
    let mut memory = vec![program.memory_kib()];
    for _ in 0..2 {
        let attack = Attack::begin(program.address(), HOSTILE, &Kind::ALL);
        tokio::time::sleep(WAVE).await;
        println!("{} descriptors in the wave, {} KiB", connections(&program), program.memory_kib());
        attack.end().await;
        tokio::time::sleep(SETTLED).await;
        memory.push(program.memory_kib());
    }
    println!("memory before, after the first and after the second wave: {memory:?} KiB");
    let growth = memory[2] as f64 / memory[1] as f64;
    assert!(growth <= GROWTH_MAX, "{growth}");
}
