//! Any instance answers any tenant's request and serves any tenant's stream.

use crate::{
    quiet::together,
    stage::{Setup, number, proves_device},
};

/// What EventSource dispatched, without what differs from reader to reader.
fn received(events: Vec<tautan_test_support::Event>) -> Vec<(String, Option<String>, serde_json::Value)> {
    let strip = |mut data: serde_json::Value| {
        if let Some(data) = data.as_object_mut() {
            data.remove("expiresIn");
        }
        data
    };
    events.into_iter().map(|event| (event.name, event.id, strip(event.data))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_instances_show_the_same_events_of_one_tenant() {
    let Some(_turn) = together().await else { return };
    let cluster = Setup::of(3).start().await;
    let phone = cluster.simulator.phone(&number(1), "Toko Sari");
    let mut tabs = [cluster.tab(0, "toko"), cluster.tab(1, "toko"), cluster.tab(2, "toko")];
    for tab in &mut tabs {
        tab.until("the present", |event| event.data["reason"] == "never-linked").await;
    }
    let answer = cluster.api(0, "toko").connect().await;
    assert_ne!(answer["status"], "disconnected");
    assert_ne!(cluster.api(2, "toko").status().await["status"], "disconnected", "what one answered all say");
    tabs[1].scan(&phone).await;
    for tab in &mut tabs {
        let (_, connected) = tab.until("the name", |event| event.data["name"] == "Toko Sari").await;
        assert_eq!(connected.data["status"], "connected");
    }
    proves_device(&phone).await;
    for instance in 0..3 {
        assert_eq!(cluster.api(instance, "toko").status().await["phoneNumber"], phone.number());
    }
    cluster.api(1, "toko").disconnect().await;
    for tab in &mut tabs {
        let (_, end) = tab.until_status("disconnected").await;
        assert_eq!(end.data["reason"], "unlinked-by-user");
    }
    let [one, two, three] = tabs.map(|tab| received(tab.events()));
    assert!(one.iter().filter(|(_, id, _)| id.is_some()).count() >= 5, "{one:#?}");
    assert_eq!(one, two, "the same ids in the same order");
    assert_eq!(one, three, "the same ids in the same order");
    assert!(phone.devices().is_empty(), "unlinked on one instance, gone from the phone");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connect_on_every_instance_at_once_is_one_session() {
    let Some(_turn) = together().await else { return };
    let cluster = Setup::of(3).start().await;
    let phone = cluster.simulator.phone(&number(1), "Toko Sari");
    let apis = [cluster.api(0, "toko"), cluster.api(1, "toko"), cluster.api(2, "toko")];
    let [one, two, three] = &apis;
    tokio::join!(one.connect(), two.connect(), three.connect());
    let mut tab = cluster.tab(2, "toko");
    tab.scan(&phone).await;
    tab.until_status("connected").await;
    for api in &apis {
        assert_eq!(api.connect().await["status"], "connected", "pressed again it changes nothing");
    }
    proves_device(&phone).await;
    let device = crate::stage::device(&phone);
    assert_eq!(cluster.simulator.live_sockets_max(device), 1);
    assert_eq!(cluster.simulator.sockets(), 1, "no other client registers");
}
