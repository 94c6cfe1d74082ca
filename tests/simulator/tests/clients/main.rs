//! Real client libraries against the simulator.

mod baileys;
mod codes;
mod endings;
mod library;
mod pairing;
mod passkeys;
mod refusals;
mod sessions;

use std::time::Duration;

/// No wait in these tests is meant to come near it; a machine under load may.
const DEADLINE: Duration = Duration::from_secs(20);
