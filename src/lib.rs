//! Tautan links the WhatsApp accounts of a SaaS product's customers.
//!
//! # The map
//!
//! Modules are listed in reading order, and the order is law: a module may use those above it, never those below
//! (`tests/layers.rs` holds it). Asking flows down this list to WhatsApp, telling flows back through the journal.

// Nouns, no I/O.
pub mod clock;
pub mod events;
pub mod qr;
pub mod tenant;

// Services.
pub mod auth;
pub mod session;
pub mod store;
pub mod telemetry;

// Edges. They never meet.
pub mod http;
pub mod whatsapp;

// Assembly.
pub mod app;
pub mod config;
pub mod shutdown;
