//! A WhatsApp server and phones on loopback that speak the real wire protocol, so that real client libraries pair with
//! them, log in and read their messages. For tests and the demo.
//!
//! [`Simulator`] is the server, [`Phone`] an account's phone, [`DeviceId`] a device that a phone has linked. What can go
//! wrong is in [`Fault`] (the server misbehaves) and [`Refusal`] (it says no).
//!
//! Beside all that `front` tells who asks which release of WhatsApp's own client is the newest.
//!
//! A client goes through it like this: `connection` opens the Noise channel (`handshake` over `wire`), then either
//! `registration` shows it QR refs until a phone scans one, or has a code entered that the client made (`link_code`), and
//! its `adv` statement is countersigned; or `session` serves a device that is linked (`answers` to its questions, messages
//! from `message`). What all of them share is in `world`.

mod account;
mod adv;
mod answers;
mod certificate;
mod connection;
mod device;
mod faults;
mod flood;
mod front;
mod handshake;
mod keys;
mod link_code;
mod message;
mod pairing;
mod passkey;
mod phone;
mod phone_code;
mod phone_passkey;
mod refusal;
mod registration;
mod session;
mod signal;
mod simulator;
mod stanza;
mod tally;
mod wire;
mod world;

pub use device::DeviceId;
pub use faults::{Fault, Faults};
pub use flood::Flood;
pub use handshake::Pattern;
pub use passkey::Passkey;
pub use phone::{Phone, ScanError, TextError};
pub use phone_code::CodeError;
pub use refusal::{CodeRefusal, Refusal};
pub use simulator::{NotSo, Simulator};
pub use tally::PresenceCounts;
