//! Helpers of the promises: tenants, statuses, and the updates of a subscription.

use std::time::Duration;

use tautan::{
    clock::Timestamp,
    events::{Account, ConnectingReason, EndReason, PairCode, PairingId, PhoneNumber, Platform, QrCode, Status},
    store::{Subscription, Update},
    tenant::TenantId,
};

pub const PHONE: &str = "6281234567890";
pub const NAME: &str = "Toko Sari";
pub const QR: &str = "2@qr-secret";
pub const PAIR_CODE: &str = "ABCD-1234";

pub fn tenant(name: &str) -> TenantId {
    TenantId::parse(name).unwrap()
}

pub fn phone() -> PhoneNumber {
    PhoneNumber::parse(PHONE).unwrap()
}

pub fn account() -> Account {
    Account { phone: phone(), name: Some(NAME.into()), platform: Some(Platform::parse("android").unwrap()) }
}

pub fn connected() -> Status {
    Status::Connected { account: account() }
}

pub fn reconnecting() -> Status {
    Status::connecting(ConnectingReason::Reconnecting, Some(account()))
}

pub fn resuming() -> Status {
    Status::connecting(ConnectingReason::Resuming, Some(account()))
}

pub fn starting() -> Status {
    Status::connecting(ConnectingReason::Starting, None)
}

pub fn ended(reason: EndReason) -> Status {
    Status::ended(reason)
}

pub fn qr(number: u32) -> Status {
    let expires_at = Timestamp::from_second(1_900_000_000).unwrap();
    let code = PairCode { code: PAIR_CODE.into(), phone: phone(), expires_at, lifetime: None };
    let qr = QrCode::new(format!("{QR}-{number}"), expires_at, number, 6, PairingId::new(1)).unwrap();
    Status::QrPending { qr, pair: Some(code) }
}

/// A status that differs for each number, and that must be saved.
pub fn numbered(number: u64) -> Status {
    Status::Connected { account: Account { name: Some(format!("{NAME} {number}")), ..account() } }
}

/// An update that a reader received, as far as the promises compare it.
#[derive(Debug, PartialEq)]
pub enum Received {
    Event(Status),
    Stale(Status),
    Fresh(Status),
}

impl From<Update> for Received {
    fn from(update: Update) -> Self {
        match update {
            Update::Event(event) => Self::Event(event.status.clone()),
            Update::Refresh(shown) if shown.stale => Self::Stale(shown.event.status.clone()),
            Update::Refresh(shown) => Self::Fresh(shown.event.status.clone()),
        }
    }
}

pub async fn next(subscription: &mut Subscription) -> Option<Received> {
    subscription.next().await.map(Received::from)
}

/// The updates that are available now, from the backlog and live.
pub async fn all(subscription: &mut Subscription) -> Vec<Received> {
    let mut updates = Vec::new();
    while let Some(update) = waiting(subscription).await {
        updates.push(update.into());
    }
    updates
}

/// What has been published is there at once, or as soon as Redis has sent it round; only for what has not a moment is
/// waited.
pub async fn waiting(subscription: &mut Subscription) -> Option<Update> {
    tokio::time::timeout(Duration::from_millis(100), subscription.next()).await.ok().flatten()
}
