//! What keeps an instance alive towards Redis, and what must not end it.

use std::time::Duration;

use bytes::Bytes;
use tautan::store::{Change, DesiredState, StoreError};
use tautan_test_support::{RedisServer, Way, redis_is_installed};
use tokio::{task::JoinSet, time::sleep};

use crate::{
    backend::{in_time, instance_behind},
    redis::{acquired, until},
    statuses::tenant,
};

/// Longer than an owner keeps its leases without a heartbeat.
const BURST: Duration = Duration::from_secs(8);
const READERS: usize = 8;
/// On the narrow network a page of them takes some 8 s, and the store waits for 1 s.
const ROWS: u8 = 8;
const ROW: usize = 256 * 1024;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_answers_delay_no_heartbeat() {
    if !redis_is_installed() {
        return;
    }
    in_time(async {
        let server = RedisServer::start();
        let (network, store) = instance_behind(server.port).await;
        let (stores, name) = (store.stores(), tenant("a"));
        stores.commands.request(&name, DesiredState::run(None)).await.unwrap();
        let lease = acquired(&stores).await;
        for row in 0..ROWS {
            let row = Change::Put { table: "t", key: Bytes::from(vec![row]), value: Bytes::from(vec![row; ROW]) };
            stores.credentials.write(&lease, vec![row]).await.unwrap();
        }
        network.set(Way::Narrow);
        let mut readers = JoinSet::new();
        for _ in 0..READERS {
            let (credentials, name) = (stores.credentials.clone(), name.clone());
            readers.spawn(async move {
                loop {
                    let page = credentials.page(&name, "t", None).await;
                    assert!(matches!(page, Err(StoreError::Unavailable(_))), "the answer arrived, so nothing was slow");
                }
            });
        }
        tokio::select! {
            () = sleep(BURST) => {}
            () = lease.lost().cancelled() => panic!("an owner that works has lost its lease"),
            failed = readers.join_next() => panic!("{failed:?}"),
        }
        readers.shutdown().await;
        network.set(Way::Open);
        let page = until("it is read", async || stores.credentials.page(&name, "t", None).await.ok()).await;
        assert_eq!(page.rows.len(), usize::from(ROWS));
        assert!(!lease.lost().is_cancelled());
    })
    .await;
}
