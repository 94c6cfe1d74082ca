//! What keeping costs. Printed, not asserted: `cargo test --test store figures -- --nocapture --ignored`.

use std::time::Instant;

use tokio::task::JoinSet;

use crate::{
    backend::{Backend as _, Embedded},
    statuses::{numbered, qr, tenant},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn how_long_an_append_takes() {
    const APPENDS: u32 = 300;
    let store = Embedded::fresh();
    let lease = store.running(&tenant("a")).await;
    let begin = Instant::now();
    for number in 0..APPENDS {
        store.journal().append(&lease, numbered(number.into())).await.unwrap();
    }
    println!("one tenant: {:.2} ms for each append", begin.elapsed().as_secs_f64() * 1e3 / f64::from(APPENDS));
    let begin = Instant::now();
    for number in 0..APPENDS {
        store.journal().append(&lease, qr(number)).await.unwrap();
    }
    println!("one tenant: {:.3} ms for each QR code", begin.elapsed().as_secs_f64() * 1e3 / f64::from(APPENDS));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn how_many_appends_a_second_a_hundred_tenants_make() {
    const TENANTS: u64 = 100;
    const APPENDS: u64 = 50;
    let store = Embedded::fresh();
    let mut writers = JoinSet::new();
    let begin = Instant::now();
    for number in 0..TENANTS {
        let lease = store.running(&tenant(&format!("t{number}"))).await;
        let journal = store.stores().journal.clone();
        writers.spawn(async move {
            for number in 0..APPENDS {
                journal.append(&lease, numbered(number)).await.unwrap();
            }
        });
    }
    writers.join_all().await;
    let rate = (TENANTS * APPENDS) as f64 / begin.elapsed().as_secs_f64();
    println!("{TENANTS} tenants: {rate:.0} appends a second");
}
