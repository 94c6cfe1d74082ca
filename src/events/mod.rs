//! What is told: a tenant's whole status, numbered. The newest event alone is enough to draw the page.

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

pub use account::{Account, InvalidPhoneNumber, InvalidPlatform, PhoneNumber, Platform, cut_name, shown_name};
pub use body::StatusBody;
pub use cursor::Cursor;
pub use event::{Event, News, Shown};
pub use id::{EventId, JournalId};
pub use pairing::{PairCode, PairResult, PairingId, QrCode};
pub use passkey::{Passkey, PasskeyStep};
pub use status::{ConnectingReason, EndReason, PairRefusal, Status, StatusWord};
pub use vocabulary::VOCABULARY;
