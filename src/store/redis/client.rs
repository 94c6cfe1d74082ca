//! How to reach Redis: the URL, Sentinel, the connections, and what the server answered. Returns a connection only to a server
//! that holds our data in our layout, and sorts each failure into one type. An earlier layout is migrated before anything else.
//!
//! Where to start reading: `connection`.

pub mod connection;
mod current;
pub mod failure;
pub mod health;
pub mod layout;
pub mod migration;
pub mod refusal;
pub mod sentinel;
pub mod server;
pub mod unusable;
pub mod url;
