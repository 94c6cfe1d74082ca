use std::time::Duration;

use tautan::{
    link_options::LinkOptions,
    session::{ConnectError, Connector as _, End},
    store::StoreError,
};

use crate::bench::{Bench, DEADLINE, ended, qr_text};

#[tokio::test(flavor = "multi_thread")]
async fn link_with_a_taken_lease_never_reconnects() {
    let bench = Bench::new().await;
    let lease = bench.lease().await;
    let mut paired = bench.paired(&lease).await;
    let sockets = bench.sim.sockets_opened();
    bench.credentials.fence();
    bench.sim.cut(paired.device);
    // Either a row that cannot be written or the connection ends it, whichever comes first.
    assert_eq!(ended(&mut *paired.link).await, End::LeaseLost);
    paired.link.close().await;
    assert_eq!(bench.sim.sockets_opened(), sockets);
}

/// The process was suspended between its connection and its login: it still held the lease when it connected.
#[tokio::test(flavor = "multi_thread")]
async fn link_with_a_lease_taken_while_connecting_never_logs_in() {
    let bench = Bench::new().await;
    let lease = bench.lease().await;
    let mut paired = bench.paired(&lease).await;
    let (logins, sockets) = (bench.sim.logins(paired.device), bench.sim.sockets_opened());
    bench.sim.faults().slow(Some(Duration::from_millis(2_500)));
    bench.sim.cut(paired.device);
    let dialled = bench.sim.wait_until(DEADLINE, |sim| sim.sockets_opened() > sockets).await;
    dialled.expect("it dials again");
    tokio::time::sleep(Duration::from_millis(500)).await;
    bench.credentials.fence();
    assert_eq!(ended(&mut *paired.link).await, End::LeaseLost);
    paired.link.close().await;
    assert_eq!(bench.sim.logins(paired.device), logins);
}

#[tokio::test(flavor = "multi_thread")]
async fn link_opened_under_a_lost_lease_never_connects() {
    let bench = Bench::new().await;
    let lease = bench.lease().await;
    bench.credentials.fence();
    let mut link = bench.open(&lease).await;
    assert_eq!(ended(&mut *link).await, End::LeaseLost);
    link.close().await;
    assert_eq!(bench.sim.sockets_opened(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn link_ends_when_its_lease_does() {
    let bench = Bench::new().await;
    let lease = bench.lease().await;
    let mut link = bench.open(&lease).await;
    qr_text(&mut *link).await;
    bench.stores.ownership.release(lease).await.unwrap();
    assert_eq!(ended(&mut *link).await, End::LeaseLost);
    link.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn brief_store_failure_delays_the_connection() {
    let bench = Bench::new().await;
    let lease = bench.lease().await;
    bench.credentials.fail(true);
    let mut link = bench.open(&lease).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(bench.sim.sockets_opened(), 0);
    bench.credentials.fail(false);
    qr_text(&mut *link).await;
    link.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_credentials_fail_the_opening() {
    use tautan::store::Change;
    let bench = Bench::new().await;
    let lease = bench.lease().await;
    let row = Change::Put { table: "device", key: "".into(), value: "not a device".into() };
    bench.stores.credentials.write(&lease, vec![row]).await.unwrap();
    let opened = bench.whatsapp.open(&lease, &LinkOptions::default()).await;
    assert!(matches!(opened, Err(ConnectError::Store(StoreError::Damaged(_)))));
    assert!(bench.holds(&lease).await, "what cannot be read is not thrown away");
}
