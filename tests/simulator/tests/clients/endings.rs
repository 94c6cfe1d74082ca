use tautan_simulator::Fault;
use whatsapp_rust::prelude::Event;

use crate::DEADLINE;
use crate::library::{Library, linked};

#[tokio::test]
async fn unlinking_on_the_phone_logs_the_client_out() {
    let mut linked = linked().await;
    assert!(linked.phone.unlink(linked.device));
    assert!(linked.phone.devices().is_empty());
    let on_connect = linked
        .library
        .event("logged out", |event| match event {
            Event::LoggedOut(out) => Some(out.on_connect),
            _ => None,
        })
        .await;
    assert!(!on_connect);
    linked.library.ended().await;
    linked.sim.wait_for_live(linked.device, 0, DEADLINE).await.unwrap();

    let mut again = Library::start(&linked.sim, &linked.backend).await;
    let on_connect = again
        .event("logged out", |event| match event {
            Event::LoggedOut(out) => Some(out.on_connect),
            _ => None,
        })
        .await;
    assert!(on_connect, "a device that is not linked is refused at login");
}

#[tokio::test]
async fn client_can_unlink_itself() {
    let linked = linked().await;
    linked.library.client().logout().await;
    linked.sim.wait_for_live(linked.device, 0, DEADLINE).await.unwrap();
    assert!(linked.phone.devices().is_empty());
}

#[tokio::test]
async fn replaced_client_ends() {
    let mut linked = linked().await;
    assert!(linked.sim.replace(linked.device));
    linked.library.event("replaced", |event| matches!(event, Event::StreamReplaced(_)).then_some(())).await;
    linked.library.ended().await;
    assert_eq!(linked.phone.devices(), [linked.device], "it stays linked");
}

#[tokio::test]
async fn second_login_of_a_device_replaces_the_first() {
    let mut linked = linked().await;
    let mut second = Library::start(&linked.sim, &linked.backend).await;
    linked.library.event("replaced", |event| matches!(event, Event::StreamReplaced(_)).then_some(())).await;
    second.connected().await;
    linked.sim.wait_for_live(linked.device, 1, DEADLINE).await.unwrap();
    assert_eq!(linked.sim.double_logins(linked.device), 1);
    assert_eq!(linked.sim.live_sockets_max(linked.device), 2);
    println!("two at once: {} ms", linked.sim.double_login_ms(linked.device));
    assert!(second.client().is_logged_in());
}

#[tokio::test]
async fn garbage_in_place_of_a_login_is_survived() {
    let linked = linked().await;
    linked.library.shutdown().await;
    linked.sim.faults().set_times(Fault::Garbage, 1);
    let mut library = Library::start(&linked.sim, &linked.backend).await;
    library.connected().await;
    assert_eq!(linked.sim.faults().consumed(Fault::Garbage), 1);
}
