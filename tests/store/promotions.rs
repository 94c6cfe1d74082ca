//! A server follows another one for a moment and is the master again, while its connections stay open.

use std::time::Duration;

use bytes::Bytes;
use tautan::store::{Change, Stores};
use tautan_test_support::{Network, RedisNode, Way, redis_is_installed};
use tokio::time::sleep;

use crate::{
    backend::{in_time, instance_at, key},
    redis::until,
    statuses::{connected, numbered, tenant},
};

/// The clients that send commands, but for the one that asks.
fn clients(node: &RedisNode) -> Vec<String> {
    let list = node.ask(&["CLIENT", "LIST", "TYPE", "normal"]);
    let others = list.lines().filter(|line| !line.contains("cmd=client"));
    others.filter_map(|line| line.split(' ').find(|word| word.starts_with("addr="))).map(Into::into).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lease_lost_in_a_moment_as_a_replica_is_waited_for() {
    if !redis_is_installed() {
        return;
    }
    in_time(async {
        let (server, copy) = (RedisNode::start(&["save \"\""]), RedisNode::start(&["save \"\""]));
        let ways =
            [Network::to(([127, 0, 0, 1], server.port).into()), Network::to(([127, 0, 0, 1], server.port).into())];
        let [of_owner, of_taker] = futures::future::join_all(ways).await.try_into().map_err(|_| "two").unwrap();
        let (of_owner, of_taker) = (of_owner.unwrap(), of_taker.unwrap());
        let store = |way: &Network| instance_at(&format!("redis://{}/", way.address()), key(), None);
        let (owner, taker) = (store(&of_owner).stores(), store(&of_taker).stores());
        let name = tenant("a");
        let acquire = async |from: &Stores| {
            until("it is acquired", async || from.ownership.acquire(&name).await.ok().flatten()).await
        };
        let run = tautan::store::DesiredState::run(None);
        taker.commands.request(&name, run).await.unwrap();
        let lease = acquire(&taker).await;
        let row = Change::Put { table: "t", key: Bytes::from("device"), value: Bytes::from("kept") };
        taker.credentials.write(&lease, vec![row]).await.unwrap();
        taker.journal.append(&lease, connected()).await.unwrap();
        taker.ownership.release(lease).await.unwrap();
        let before = acquire(&owner).await;
        owner.ownership.release(before).await.unwrap();
        copy.follow(&server);
        let lease = acquire(&owner).await;
        of_owner.set(Way::Silent);
        // Between two commands of the other one.
        of_taker.set(Way::Silent);
        sleep(Duration::from_millis(50)).await;
        let open = clients(&server);
        server.follow(&copy);
        let still = clients(&server);
        assert!(open.iter().all(|client| still.contains(client)), "{open:?}, then {still:?}");
        of_taker.set(Way::Open);
        let taken = acquire(&taker).await;
        assert!(lease.lost().is_cancelled(), "the tenant has two owners");
        drop(taken);
        of_owner.set(Way::Open);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn event_lost_in_a_moment_as_a_replica_keeps_its_id() {
    if !redis_is_installed() {
        return;
    }
    in_time(async {
        let (server, copy) = (RedisNode::start(&["save \"\""]), RedisNode::start(&["save \"\""]));
        let way = Network::to(([127, 0, 0, 1], server.port).into()).await.unwrap();
        let owner = instance_at(&format!("redis://{}/", way.address()), key(), None).stores();
        let name = tenant("a");
        owner.commands.request(&name, tautan::store::DesiredState::run(None)).await.unwrap();
        let lease = until("it is acquired", async || owner.ownership.acquire(&name).await.ok().flatten()).await;
        copy.follow(&server);
        // The first replica begins a run, which the next heartbeat notices.
        sleep(Duration::from_millis(1_500)).await;
        let append = async |number| owner.journal.append(&lease, numbered(number)).await;
        let kept = append(1).await.unwrap().event.id();
        copy.follow(&server);
        let lost = append(2).await.unwrap().event.id();
        assert!(lost.follows(&kept), "{kept}, then {lost}");
        way.set(Way::Silent);
        sleep(Duration::from_millis(50)).await;
        server.follow(&copy);
        way.set(Way::Open);
        let next = until("it is appended", async || append(3).await.ok()).await;
        assert!(next.event.cursor.epoch > lost.cursor.epoch, "readers know {lost}, and drop {}", next.event.id());
    })
    .await;
}
