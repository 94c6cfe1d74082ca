//! Tautan links the WhatsApp accounts of a SaaS product's customers: a browser presses a button, a QR code arrives over
//! Server-Sent Events, a phone scans it, the page says "connected".
//!
//! # The map
//!
//! Modules are listed below in reading order, and the order is a rule: a module may use those above it, never those
//! below (`tests/layers.rs` checks it). Commands go one way, events come back through the journal:
//!
//! ```text
//! commands   browser → http → session → whatsapp → WhatsApp
//! events     browser ← http ← store (journal) ← session ← whatsapp
//!            back end ← webhook ← store (outbox)
//! ```
//!
//! # What is always true
//!
//! - *Saving is publishing.* A tenant's status changes only through [`store::Journal`], [`store::Commands`] and
//!   [`store::Ownership`], and in the recovery of Redis. Each change is checked, numbered, saved and published in one
//!   step, so no code can be saved and sent to no page.
//! - *An event is the whole status.* The newest event alone is enough to draw the page.
//! - *A lease is a value.* Writing needs a [`store::Lease`], which the store compares in the step that writes.
//! - *The tenant comes from the token.* No path, query or body of a user's request names one. Only a back end's request
//!   names the tenant that it is about, in the body, on a listener of its own.
//! - *Sessions do not wait for a back end.* The step that publishes a status puts it into [`store::Outbox`] too.
//!   [`webhook`] delivers it, and cannot change a status.
//! - *`http` does not know `whatsapp`*, and only [`config`] knows the names of environment variables.
//! - Deliberately absent: a message store, a second way to publish, secrets with defaults, a clock that tests cannot set.
//!
//! # One request, walked
//!
//! `POST /api/whatsapp/connect`: `http::routes` names the route, `http::identity` asks [`auth::TokenVerifier`] whose it
//! is, [`session::Sessions::connect`] saves the request (which publishes `connecting`/`starting` in the same step),
//! acquires the lease and spawns `session::task`. The task opens a [`session::Link`]; `whatsapp::link` runs the
//! library's client for it. WhatsApp sends a reference for a QR code, `whatsapp::translate` turns it into a
//! [`session::Signal`], `session::machine` decides the next status, and the task appends it to the journal. The writer
//! thread of `store::embedded` saves it and publishes it to `store::hub`. The open stream (`http::events`) wakes, draws
//! the code once for all streams of the tenant, and writes `qr-code`. `docs/architecture.md` has this walk with file
//! names.

// An impossible case is an `expect` with its reason.
#![warn(clippy::unwrap_used)]
// What a module exports is its interface: shapes, units and errors belong there.
#![warn(missing_docs)]

// For tests of every module.
#[cfg(test)]
pub mod fuzz;

// Nouns, no I/O.
pub mod clock;
pub mod bucket;
pub mod limit;
pub mod strength;
pub mod tenant;
pub mod qr;
pub mod events;
pub mod link_options;

// Services.
pub mod telemetry;
pub mod proxy;
pub mod auth;
pub mod store;
pub mod session;

// Edges. None of them uses another one.
pub mod whatsapp;
pub mod http;
pub mod webhook;

// Assembly.
pub mod shutdown;
pub mod config;
pub mod app;

/// glibc's allocator keeps the most memory that the process ever had. With this one a burst of connections leaves 6 MB instead
/// of 50 (docs/measurements.md). Its settings are in `.cargo/config.toml`.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;
