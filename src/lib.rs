//! Tautan links the WhatsApp accounts of a SaaS product's customers.
//!
//! # The map
//!
//! Modules are listed in reading order, and the order is law: a module may use those above it, never those below
//! (`tests/layers.rs` holds it). Asking flows down this list to WhatsApp, telling flows back through the journal.

// Nouns, no I/O.
pub mod clock;
pub mod tenant;
pub mod qr;
pub mod events;

// Services.
pub mod telemetry;
pub mod auth;
pub mod store;
pub mod session;

// Edges. They never meet.
pub mod whatsapp;
pub mod http;

// Assembly.
pub mod shutdown;
pub mod config;
pub mod app;
