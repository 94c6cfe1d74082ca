//! Tautan links the WhatsApp accounts of a SaaS product's customers: a browser presses a button, a QR code arrives over
//! Server-Sent Events, a phone scans it, the page says "connected".
//!
//! # The map
//!
//! Modules are listed below in reading order, and the order is law: a module may use those above it, never those below
//! (`tests/layers.rs` holds it). Asking flows one way, telling flows back through the journal:
//!
//! ```text
//! ask    browser → http → session → whatsapp → WhatsApp
//! tell   browser ← http ← store (journal) ← session ← whatsapp
//!        back end ← webhook ← store (outbox)
//! ```
//!
//! # What is always true
//!
//! - *Saving is telling.* A tenant's status changes through [`store::Journal`] and [`store::Roster`] alone, and each change
//!   is checked, numbered, kept and published in one step. A saved code that nobody was sent cannot be written.
//! - *An event is the whole status.* The newest one draws the page; replay is a courtesy.
//! - *A lease is a value.* Who writes holds a [`store::Lease`], and the store compares it in the same step.
//! - *The tenant comes from the token.* No path, query or body names one.
//! - *Nobody waits for a back end.* Who says something leaves a notice in [`store::Outbox`] in the same step; [`webhook`]
//!   delivers it, and cannot say anything itself.
//! - *`http` and `whatsapp` never meet*, and nobody but [`config`] knows a variable's name.
//! - Deliberately absent: a message store, a second way to publish, secrets with defaults, a clock that tests cannot set.
//!
//! # One request, walked
//!
//! `POST /api/whatsapp/connect`: `http::routes` names the route, `http::identity` asks [`auth::TokenVerifier`] whose it is,
//! [`session::Sessions::connect`] has the roster keep the wish (which says `connecting`/`starting` in the same step), takes
//! the lease and spawns `session::task`. The task opens a [`session::Link`]; `whatsapp::link` runs the library's client for
//! it. A ref comes, `whatsapp::translate` calls it a [`session::Signal`], `session::machine` says what follows, the task
//! appends it to the journal. The writer thread of `store::embedded` keeps it and publishes it to `store::hub`; the open
//! stream (`http::events`) wakes, draws the code once for all tabs, and writes `qr-code`.

// An impossible case is an `expect` with its reason.
#![warn(clippy::unwrap_used)]

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

// Services.
pub mod telemetry;
pub mod proxy;
pub mod auth;
pub mod store;
pub mod session;

// Edges. They never meet.
pub mod whatsapp;
pub mod http;
pub mod webhook;

// Assembly.
pub mod shutdown;
pub mod config;
pub mod app;
