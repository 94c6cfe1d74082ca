//! Starts the program as a process of its own, beside a simulator, and talks to it as clients do: over HTTP, with tokens
//! that a SaaS product would have signed. Knows nothing of the inside.

mod admin;
mod api;
mod deployment;
mod fenced_block;
mod forward_proxy;
mod gateway;
mod hostile;
mod monitor;
mod network;
mod packages;
mod port;
mod program;
mod qr;
mod receiver;
mod redis;
pub mod stage;
mod stream;
mod token;
mod credentials;

use std::time::Duration;

pub use admin::Admin;
pub use api::Api;
pub use credentials::{CREDENTIALS, damage_credentials, with_store};
pub use deployment::{Certificates, RedisNode, SERVICE, Watched, stranger};
pub use fenced_block::FencedBlock;
pub use forward_proxy::{ForwardProxy, PROXY_PASSWORD, RunningProxy};
pub use gateway::{Gateway, RunningGateway};
pub use hostile::{Attack, Kind};
pub use monitor::{Command, Monitor};
pub use network::{Network, Way};
pub use packages::{npm_packages, pip_packages};
pub use port::Port;
pub use program::{Binary, Program, Settings};
pub use qr::{read_data_url, read_png};
pub use receiver::{Delivery, Mood, Receiver, in_order, secret};
pub use redis::{Backup, RedisServer, redis_is_installed};
pub use stream::{Event, EventStream, Frame, ids, rank};
pub use token::{SECRET, in_seconds, token, token_with};

/// Longer than any step on loopback takes, and short enough for a test that hangs.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// Waits for a condition, or panics with its description.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future).await.unwrap_or_else(|_| panic!("{what} did not come within {DEADLINE:?}"))
}
