//! The cost of storing. Printed, not asserted: `cargo test --test store figures -- --nocapture --ignored`.

use std::time::Instant;

use tautan::store::DesiredState;
use tokio::task::JoinSet;

use crate::{
    backend::{Backend, Embedded, Redis},
    statuses::{numbered, qr, tenant},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn how_long_an_append_takes() {
    append_time("embedded", Embedded::fresh()).await;
    if tautan_test_support::redis_is_installed() {
        append_time("redis", Redis::fresh()).await;
    }
}

async fn append_time(backend: &str, store: impl Backend + Sync) {
    const APPENDS: u32 = 300;
    let lease = store.running(&tenant("a")).await;
    let begin = Instant::now();
    for number in 0..APPENDS {
        store.journal().append(&lease, numbered(number.into())).await.unwrap();
    }
    println!(
        "{backend}, one tenant: {:.2} ms for each append",
        begin.elapsed().as_secs_f64() * 1e3 / f64::from(APPENDS)
    );
    let begin = Instant::now();
    for number in 0..APPENDS {
        store.journal().append(&lease, qr(number)).await.unwrap();
    }
    println!(
        "{backend}, one tenant: {:.3} ms for each QR code",
        begin.elapsed().as_secs_f64() * 1e3 / f64::from(APPENDS)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn how_many_appends_a_second_a_hundred_tenants_make() {
    append_rate("embedded", Embedded::fresh()).await;
    if tautan_test_support::redis_is_installed() {
        append_rate("redis", Redis::fresh()).await;
    }
}

async fn append_rate(backend: &str, store: impl Backend + Sync) {
    const TENANTS: u64 = 100;
    const APPENDS: u64 = 50;
    let mut leases = Vec::new();
    for number in 0..TENANTS {
        leases.push(store.running(&tenant(&format!("t{number}"))).await);
    }
    let mut writers = JoinSet::new();
    let begin = Instant::now();
    for lease in leases {
        let journal = store.stores().journal.clone();
        writers.spawn(async move {
            for number in 0..APPENDS {
                journal.append(&lease, numbered(number)).await.unwrap();
            }
        });
    }
    writers.join_all().await;
    let rate = (TENANTS * APPENDS) as f64 / begin.elapsed().as_secs_f64();
    println!("{backend}, {TENANTS} tenants: {rate:.0} appends a second");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn cost_of_ten_thousand_tenants_is_bounded() {
    const TENANTS: u32 = 10_000;
    let store = Embedded::fresh();
    let begin = (Instant::now(), resident_kb());
    let mut owners = JoinSet::new();
    for number in 0..TENANTS {
        let stores = store.stores().clone();
        owners.spawn(async move {
            let name = tenant(&format!("tenant-{number}"));
            stores.commands.request(&name, DesiredState::run(None)).await.unwrap();
            let lease = stores.ownership.acquire(&name).await.unwrap().unwrap();
            stores.journal.append(&lease, numbered(number.into())).await.unwrap();
            lease
        });
    }
    let leases = owners.join_all().await;
    println!(
        "{TENANTS} tenants connected in {:.1} s, {} KB more",
        begin.0.elapsed().as_secs_f64(),
        resident_kb() - begin.1
    );
    drop(leases);
    let begin = Instant::now();
    let store = store.reopen().await;
    println!("closed and opened again in {:.2} s", begin.elapsed().as_secs_f64());
    let begin = Instant::now();
    assert_eq!(store.ownership().orphaned(TENANTS as usize).await.unwrap().len(), TENANTS as usize);
    println!("all unattended named in {:.2} ms", begin.elapsed().as_secs_f64() * 1e3);
}

fn resident_kb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
