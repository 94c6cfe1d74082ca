use tautan_simulator::Refusal;
use whatsapp_rust::prelude::Event;

use crate::library::{Linked, linked};

/// Refuses the account, and gives back what the client makes of it.
async fn refused<T>(refusal: Refusal, pick: impl FnMut(&Event) -> Option<T>) -> (T, Linked) {
    let mut linked = linked().await;
    linked.phone.refuse(refusal);
    let picked = linked.library.event("refusal", pick).await;
    assert_eq!(linked.phone.devices(), [linked.device], "a refusal unlinks nothing");
    (picked, linked)
}

#[tokio::test]
async fn ban_with_an_end_is_a_temporary_ban() {
    let (seconds, mut linked) = refused(Refusal::Banned { expire_seconds: Some(3600) }, |event| match event {
        Event::TemporaryBan(ban) => Some(ban.expire.num_seconds()),
        _ => None,
    })
    .await;
    assert_eq!(seconds, 3600);
    linked.library.ended().await;
}

#[tokio::test]
async fn ban_without_an_end_is_a_connect_failure() {
    let (reason, _) = refused(Refusal::Banned { expire_seconds: None }, |event| match event {
        Event::ConnectFailure(failure) => Some(failure.reason.code()),
        _ => None,
    })
    .await;
    assert_eq!(reason, 402);
}

#[tokio::test]
async fn locked_account_is_logged_out() {
    refused(Refusal::Locked, |event| matches!(event, Event::LoggedOut(_)).then_some(())).await;
}

#[tokio::test]
async fn outdated_client_gets_client_outdated() {
    let mut linked = linked().await;
    linked.sim.refuse(Some(Refusal::Outdated));
    linked.sim.cut(linked.device);
    linked.library.event("outdated", |event| matches!(event, Event::ClientOutdated(_)).then_some(())).await;
}

#[tokio::test]
async fn busy_server_is_retried() {
    let (_, mut linked) =
        refused(Refusal::Unavailable, |event| matches!(event, Event::ConnectFailure(_)).then_some(())).await;
    linked.phone.accept();
    linked.library.connected().await;
}
