//! Runs one session for each linked tenant: it opens links to WhatsApp, publishes what they report, and does what the
//! user asks for.
//!
//! What it guarantees: at most one session of a tenant runs here, and only under a lease. A panic in one session ends
//! no other. A command that was saved is carried out even if its caller is cancelled.
//!
//! What it must not do: use `http` or the WhatsApp library. Links come through the trait [`Connector`].
//!
//! Where to start reading: `supervisor` decides which sessions run here, `task` runs one from its lease to its end,
//! `machine` is the pure table of statuses, and `connector` is the interface to WhatsApp.

mod administration;
mod owner_message;
mod mailbox;
mod connector;
mod machine;
mod queue;
mod request_spans;
mod settings;
mod supervisor;
mod task;
mod status_publisher;
mod failures;
mod figures;

pub use administration::{EraseError, Erased, LinkedPage};
pub use connector::{ConnectError, Connector, End, Link, PasskeyAnswer, Request, Signal};
pub use settings::Settings;
pub use supervisor::{SessionError, Sessions};
