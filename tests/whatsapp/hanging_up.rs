use tokio::runtime::Handle;

use crate::bench::{Bench, DEADLINE, qr_text};

/// Tasks of this process after the simulator has noticed that no client is connected.
async fn tasks(bench: &Bench) -> usize {
    bench.sim.wait_until(DEADLINE, |sim| sim.sockets() == 0).await.unwrap();
    let settled = async {
        let mut before = usize::MAX;
        loop {
            let now = Handle::current().metrics().num_alive_tasks();
            if now == before {
                return now;
            }
            before = now;
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(DEADLINE, settled).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_runs_after_a_link_is_closed() {
    let bench = Bench::new().await;
    let lease = bench.lease().await;
    let before = tasks(&bench).await;
    let paired = bench.paired(&lease).await;
    assert!(Handle::current().metrics().num_alive_tasks() > before);
    paired.link.close().await;
    assert_eq!(bench.whatsapp.clients_alive(), 0, "the client is gone when close returns");
    assert_eq!(tasks(&bench).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_runs_after_a_link_is_closed_while_it_shows_a_code() {
    let bench = Bench::new().await;
    let lease = bench.lease().await;
    let before = tasks(&bench).await;
    let mut link = bench.open(&lease).await;
    qr_text(&mut *link).await;
    let begun = std::time::Instant::now();
    link.close().await;
    println!("closed while showing a code in {:?}", begun.elapsed());
    assert_eq!(bench.whatsapp.clients_alive(), 0);
    assert_eq!(tasks(&bench).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_runs_after_a_link_is_dropped() {
    let bench = Bench::new().await;
    let lease = bench.lease().await;
    let before = tasks(&bench).await;
    let mut link = bench.open(&lease).await;
    qr_text(&mut *link).await;
    drop(link);
    bench.clients_gone().await;
    assert_eq!(tasks(&bench).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn link_closed_at_once_leaves_no_task() {
    let bench = Bench::new().await;
    let lease = bench.lease().await;
    for _ in 0..20 {
        bench.open(&lease).await.close().await;
        assert_eq!(bench.whatsapp.clients_alive(), 0);
    }
}
