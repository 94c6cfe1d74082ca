//! A server that sends without an end, and reads nothing or everything. The memory of the program stays
//! within bounds, and the link comes back when the server behaves again.

use std::time::{Duration, Instant};

use tautan_simulator::Flood;

use crate::stage::{Stage, TENANT, link};

/// A process that does not bound what it queues grows by more than this in a second.
const GROWTH_MAX_KIB: u64 = 20 << 10;
/// Less would not show whether anything is bounded: the kernel's buffers alone hold some megabytes.
const FLOOD_BYTES_MIN: u64 = 2 << 20;
const LASTS: Duration = Duration::from_secs(5);

async fn memory_is_bounded(flood: Flood) {
    let stage = Stage::new().await;
    let program = stage.start();
    let api = program.api(TENANT);
    let mut stream = link(&api, &stage.phone).await;
    stage.proves_device().await;
    let before = program.memory_kib();
    let begun = Instant::now();
    assert!(stage.simulator.flood(stage.device(), flood));
    let mut most = before;
    while begun.elapsed() < LASTS {
        most = most.max(program.memory_kib());
        assert!(most < before + GROWTH_MAX_KIB, "{flood:?}: grew by {} KiB after {:?}", most - before, begun.elapsed());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let flooded = stage.simulator.flooded();
    println!("{flood:?}: {flooded} bytes, grew by {} KiB", most - before);
    assert!(flooded > FLOOD_BYTES_MIN, "{flooded}");
    stage.simulator.cut(stage.device());
    stream.until_status("connecting").await;
    stream.until_status("connected").await;
    stage.proves_device().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pings_of_a_server_that_reads_nothing_fill_no_memory() {
    memory_is_bounded(Flood::Pings).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stanzas_of_a_server_that_reads_nothing_fill_no_memory() {
    memory_is_bounded(Flood::UnreadStanzas).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stanzas_without_an_end_fill_no_memory() {
    memory_is_bounded(Flood::Stanzas).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn notifications_without_an_end_fill_no_memory() {
    memory_is_bounded(Flood::Notifications).await;
}
