//! A Redis that comes back with less than it had, while somebody writes.

use std::time::{Duration, Instant};

use bytes::Bytes;
use tautan::store::{Change, StoreError};
use tautan_test_support::{RedisServer, redis_is_installed};

use crate::{
    backend::{Backend as _, Redis, in_time},
    statuses::tenant,
};

fn row(value: String) -> Vec<Change> {
    vec![Change::Put { table: "t", key: Bytes::from("k"), value: value.into() }]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_written_while_lost_writes_are_written_again_stands() {
    if !redis_is_installed() {
        return;
    }
    in_time(async {
        let mut redis = Redis::on(RedisServer::start_durable());
        let (vault, name) = (redis.stores().vault.clone(), tenant("a"));
        let lease = redis.running(&name).await;
        for number in 0..100 {
            vault.write(&lease, row(format!("before-{number}"))).await.unwrap();
        }
        redis.server.restart();
        let begin = Instant::now();
        // The owner sees at its next beat that it is another run.
        for number in 0.. {
            let written = format!("after-{number}");
            match vault.write(&lease, row(written.clone())).await {
                Ok(()) => {
                    let read = vault.get(&name, "t", b"k").await.unwrap();
                    assert_eq!(read, Some(written.into()), "nobody else writes");
                }
                Err(StoreError::Unavailable(_)) => tokio::time::sleep(Duration::from_millis(5)).await,
                Err(error) => panic!("{error}"),
            }
            if begin.elapsed() > Duration::from_secs(3) {
                break;
            }
        }
        assert!(!lease.lost().is_cancelled());
    })
    .await;
}
