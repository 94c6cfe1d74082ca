//! The statuses of a tenant and the events that carry them: types without I/O.
//!
//! What it guarantees: an event is the whole status, so the newest one alone is enough to draw the page. Codes, numbers
//! and names hide themselves in `Debug`. A status that a later version wrote is read as the closest known one.
//!
//! What it must not do: I/O. Start with `status`, then `event`; `id` and `cursor` order events, `body` is their JSON.

mod account;
mod body;
mod cursor;
mod event;
#[cfg(test)]
mod fuzz;
mod id;
mod pairing;
mod passkey;
mod status;
mod vocabulary;
mod webhook;

pub use account::{Account, InvalidPhoneNumber, InvalidPlatform, PhoneNumber, Platform, cut_name, shown_name};
pub use body::{StatusBody, one_of};
pub use cursor::Cursor;
pub use event::{Event, News, Shown};
pub use id::{EventId, JournalId};
pub use pairing::{PairCode, PairResult, PairingId, QrCode};
pub use passkey::{Passkey, PasskeyStep};
pub use status::{ConnectingReason, EndReason, PairRefusal, Status, StatusWord};
pub use vocabulary::VOCABULARY;
pub use webhook::WebhookBody;
