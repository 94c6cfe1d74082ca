//! The service as a client meets it: real sockets, the real store, and nothing of the inside but what a session owner
//! would write into the journal.

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
mod resuming;
mod routes;
mod server;
mod sign_in;
mod stream;
mod support;
mod tokens;
mod weak_keys;
