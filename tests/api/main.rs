//! The service as a client sees it: real sockets and the real store. Of the inside only the events are used that a
//! session owner would append to the journal.

mod assets;
mod clocks;
mod commands;
mod connections;
mod cookies;
mod detached;
mod hosts;
mod key_sets;
mod keys;
mod limits;
mod origins;
mod passkeys;
mod qr;
mod request_ids;
mod resuming;
mod routes;
mod server;
mod sign_in;
mod stream;
mod support;
mod tokens;
mod weak_keys;
