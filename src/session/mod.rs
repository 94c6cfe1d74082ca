//! A tenant's WhatsApp link as we run it: what a session needs of WhatsApp (connector), what may follow what (machine),
//! one session (task), which run here (supervisor).

mod owner_message;
mod mailbox;
mod connector;
mod machine;
mod queue;
mod settings;
mod supervisor;
mod task;
mod status_publisher;
mod failures;

pub use connector::{ConnectError, Connector, End, Link, PasskeyAnswer, Request, Signal};
pub use settings::Settings;
pub use supervisor::{SessionError, Sessions};
