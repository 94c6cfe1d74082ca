//! A tenant's WhatsApp link as we run it: what may follow what (machine), one session (task), which run here (supervisor).

mod connector;
mod supervisor;

pub use connector::{ConnectError, Connector, End, Link, Signal};
pub use supervisor::{SessionError, Sessions};
