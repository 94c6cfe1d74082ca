//! Links whose proxy makes no connection, or is not configured here.

use super::*;
use crate::link_options::ProxyName;

fn failed() -> Status {
    Status::ended(EndReason::ProxyFailed)
}

fn is_failed(status: &Status) -> bool {
    *status == failed()
}

fn through(name: &str) -> LinkOptions {
    LinkOptions { proxy: Some(ProxyName::parse(name).unwrap()), ..LinkOptions::default() }
}

#[tokio::test]
async fn linked_account_goes_on_when_its_proxy_is_back() {
    let signals = [connected(OURS), Signal::Dropped, Signal::ProxyFailed, Signal::Dropped, connected(OURS)];
    let mut stage = SessionTest::new([Script::new(signals)]).await;
    stage.connect().await;
    stage.until_connected().await;
    let reconnecting = Status::connecting(ConnectingReason::Reconnecting, Some(account(OURS)));
    assert_eq!(stage.until_connected().await, [reconnecting, failed(), Status::Connected { account: account(OURS) }]);
    assert_eq!(stage.links_opened(), 1);
}

#[tokio::test]
async fn pairing_shows_its_code_when_its_proxy_is_back() {
    let mut stage = SessionTest::new([Script::new([Signal::ProxyFailed, shows_qr()])]).await;
    stage.connect().await;
    let statuses = stage.until("a code", |status| matches!(status, Status::QrPending { .. })).await;
    assert!(statuses.iter().any(is_failed), "{statuses:?}");
}

#[tokio::test]
async fn request_while_the_proxy_fails_opens_another_link() {
    let first = Script::new([connected(OURS), Signal::ProxyFailed]);
    let mut stage = SessionTest::new([first, Script::resuming(OURS, [connected(OURS)])]).await;
    stage.connect().await;
    stage.until("a failed proxy", is_failed).await;
    stage.connect().await;
    let resuming = Status::connecting(ConnectingReason::Resuming, Some(account(OURS)));
    let statuses = stage.until_connected().await;
    // The first is of the request itself.
    assert_eq!(statuses[1..], [resuming, Status::Connected { account: account(OURS) }]);
    assert_eq!(stage.links_opened(), 2);
}

#[tokio::test]
async fn takeover_while_the_proxy_fails_shows_it_until_a_login() {
    let first = Script::new([connected(OURS), Signal::ProxyFailed]);
    let second = Script::resuming(OURS, [connected(OURS)]).silent_for(Duration::from_millis(200));
    let mut stage = SessionTest::new([first, second]).await;
    stage.connect().await;
    stage.until("a failed proxy", is_failed).await;
    stage.restart().await;
    stage.supervise();
    assert_eq!(stage.until_connected().await, [Status::Connected { account: account(OURS) }]);
}

#[tokio::test]
async fn linked_account_waits_for_a_proxy_that_is_not_configured() {
    let links = [Script::without_proxy(Some(OURS)), Script::without_proxy(Some(OURS))];
    let mut stage = SessionTest::new(links.into_iter().chain([Script::resuming(OURS, [connected(OURS)])])).await;
    stage.connect().await;
    assert_eq!(stage.until_ended().await.last(), Some(&failed()));
    assert_eq!(stage.until_connected().await, [Status::Connected { account: account(OURS) }], "no request came");
}

#[tokio::test]
async fn pairing_ends_where_its_proxy_is_not_configured() {
    let mut stage = SessionTest::new([Script::without_proxy(None)]).await;
    stage.connect().await;
    assert_eq!(stage.until_ended().await.last(), Some(&failed()));
    stage.is_over().await;
}

#[tokio::test]
async fn unlink_without_its_proxy_erases_and_reports_it() {
    let mut stage = SessionTest::new([Script::without_proxy(Some(OURS)), Script::without_proxy(Some(OURS))]).await;
    stage.connect().await;
    stage.until_ended().await;
    stage.unlinks_without_whatsapp().await;
}

#[tokio::test]
async fn later_request_without_a_name_keeps_the_proxy() {
    let mut stage = SessionTest::new([Script::new([connected(OURS)]), Script::resuming(OURS, [connected(OURS)])]).await;
    stage.connect_with(through("jakarta")).await;
    stage.until_connected().await;
    stage.connect().await;
    stage.restart().await;
    stage.supervise();
    stage.until_connected().await;
    assert_eq!(stage.opened_with(), [through("jakarta"), through("jakarta")]);
}

#[tokio::test]
async fn other_name_reopens_a_link_that_shows_codes() {
    let mut stage = SessionTest::new([Script::new([shows_qr()]), Script::new([shows_qr()])]).await;
    stage.connect_with(through("jakarta")).await;
    stage.until("a code", |status| matches!(status, Status::QrPending { .. })).await;
    stage.connect_with(through("surabaya")).await;
    stage.until("another code", |status| matches!(status, Status::QrPending { .. })).await;
    assert_eq!(stage.opened_with(), [through("jakarta"), through("surabaya")]);
}

/// The name of the proxy went with the request to link: a link for the unlink would go past it.
#[tokio::test]
async fn cancelled_pairing_is_ended_by_the_next_owner_without_a_link() {
    let mut stage = SessionTest::new([Script::new([shows_qr()])]).await;
    stage.connect_with(through("jakarta")).await;
    stage.until("a code", |status| matches!(status, Status::QrPending { .. })).await;
    stage.restart().await;
    stage.disconnect().await;
    assert_eq!(stage.until_ended().await.last(), Some(&Status::ended(EndReason::Cancelled)));
    stage.is_over().await;
    assert_eq!(stage.links_opened(), 1);
}
