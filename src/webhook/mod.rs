//! Tells the SaaS product's own back end of status changes: signed POST requests as Standard Webhooks 1.0.0 describes them
//! (<https://www.standardwebhooks.com>). It reads the store's [`crate::store::Outbox`] and can change nothing but what stands there: who
//! says something leaves a notice in the same step, and nobody ever waits for its delivery.

mod backoff;
mod dispatcher;
mod endpoint;
mod gone;
mod webhook_request;
mod signature;

pub use dispatcher::Dispatcher;
pub use endpoint::{Endpoint, EndpointError};
pub use signature::{SigningKey, SigningKeyError};

#[derive(Clone, Debug)]
pub struct Settings {
    pub endpoint: Endpoint,
    pub key: SigningKey,
}
