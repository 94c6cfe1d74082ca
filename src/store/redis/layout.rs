//! Two numbers that say which version of this program wrote into the server. They stand beside the key check.
//!
//! The layout is how keys and rows are made. A version that does not know it would read wrong values, so its start is
//! refused. The vocabulary only grows: an unknown word is shown as the general case, so a higher number is a log line.

use redis::aio::MultiplexedConnection;

use super::{
    keys,
    script::{Call, LAYOUT as WRITE},
    trouble::Trouble,
    unfit::UnusableServer,
};
use crate::events::VOCABULARY;

pub const LAYOUT: u64 = 1;

/// Refuses a server with a later layout. True: our numbers are to be written, once our key has proved to be the right
/// one.
pub fn check(layout: Option<u64>, vocabulary: Option<u64>, begins: bool) -> Result<bool, UnusableServer> {
    if layout.is_some_and(|layout| layout > LAYOUT) {
        return Err(UnusableServer::Later);
    }
    let known = vocabulary.unwrap_or_default();
    if known > VOCABULARY && begins {
        tracing::warn!(
            vocabulary = known,
            ours = VOCABULARY,
            "a later version has written to this redis, its new words are shown as the general case"
        );
    }
    Ok(layout.is_none() || known < VOCABULARY)
}

pub async fn write(connection: &mut MultiplexedConnection) -> Result<(), Trouble> {
    Call::on_keys(&WRITE, [keys::PROOF.to_owned()]).arg(LAYOUT).arg(VOCABULARY).greet(connection).await
}
