//! A server follows another one for a moment and is the master again, while its connections stay open.

use std::time::Duration;

use bytes::Bytes;
use tautan::store::{Change, DesiredState};
use tautan_test_support::{RedisNode, Way, redis_is_installed};
use tokio::time::sleep;

use crate::{
    backend::{in_time, instance_behind},
    redis::{acquired, until},
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
        let ((of_owner, owner), (of_taker, taker)) =
            (instance_behind(server.port).await, instance_behind(server.port).await);
        let (owner, taker, name) = (owner.stores(), taker.stores(), tenant("a"));
        taker.commands.request(&name, DesiredState::run(None)).await.unwrap();
        let lease = acquired(&taker).await;
        let row = Change::Put { table: "t", key: Bytes::from("device"), value: Bytes::from("kept") };
        taker.credentials.write(&lease, vec![row]).await.unwrap();
        taker.journal.append(&lease, connected()).await.unwrap();
        taker.ownership.release(lease).await.unwrap();
        let before = acquired(&owner).await;
        owner.ownership.release(before).await.unwrap();
        copy.follow(&server);
        let lease = acquired(&owner).await;
        of_owner.set(Way::Silent);
        // Between two commands of the other one.
        of_taker.set(Way::Silent);
        sleep(Duration::from_millis(50)).await;
        let open = clients(&server);
        server.follow(&copy);
        let still = clients(&server);
        assert!(open.iter().all(|client| still.contains(client)), "{open:?}, then {still:?}");
        of_taker.set(Way::Open);
        let taken = acquired(&taker).await;
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
        let (network, owner) = instance_behind(server.port).await;
        let owner = owner.stores();
        owner.commands.request(&tenant("a"), DesiredState::run(None)).await.unwrap();
        let lease = acquired(&owner).await;
        copy.follow(&server);
        // The first replica begins a run, which the next heartbeat notices.
        sleep(Duration::from_millis(1_500)).await;
        let append = async |number| owner.journal.append(&lease, numbered(number)).await;
        let kept = append(1).await.unwrap().event.id();
        copy.follow(&server);
        let lost = append(2).await.unwrap().event.id();
        assert!(lost.follows(&kept), "{kept}, then {lost}");
        network.set(Way::Silent);
        sleep(Duration::from_millis(50)).await;
        server.follow(&copy);
        network.set(Way::Open);
        let next = until("it is appended", async || append(3).await.ok()).await;
        assert!(next.event.cursor.epoch > lost.cursor.epoch, "readers know {lost}, and drop {}", next.event.id());
    })
    .await;
}
