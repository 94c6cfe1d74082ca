//! Sends status changes to the SaaS product's own back end: signed POST requests as Standard Webhooks 1.0.0 describes
//! them (<https://www.standardwebhooks.com>).
//!
//! What it guarantees: each tenant's statuses are delivered in order and at least once; of those that were not
//! delivered only the newest is sent. A receiver that hangs or fails delays no session and no other tenant's webhooks.
//!
//! What it must not do: change a status. It takes entries out of [`crate::store::Outbox`] and acknowledges them.
//!
//! Where to start reading: `dispatcher`, then `webhook_request` for what is sent and `backoff` for when it is sent
//! again.

mod backoff;
mod dispatcher;
mod endpoint;
mod gone;
mod webhook_request;
mod signature;

pub use dispatcher::Dispatcher;
pub use endpoint::{Endpoint, EndpointError};
pub use signature::{SigningKey, SigningKeyError};

/// Where webhooks go, and how they are signed.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The receiver's address.
    pub endpoint: Endpoint,
    /// The key of their signatures.
    pub key: SigningKey,
}
