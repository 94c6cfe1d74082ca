//! The two version numbers of the data in Redis. They are kept beside the key check.
//!
//! The layout is the format of keys and rows. A program with another layout would read wrong values: an earlier one is migrated
//! if there is a step for it, and any other refuses the start. The vocabulary only grows: an unknown word is shown as the
//! general case, so a higher number is a log line.

use redis::aio::MultiplexedConnection;

use super::{failure::Failure, migration::Step, unusable::UnusableServer};
use crate::{
    events::VOCABULARY,
    store::{
        Migration,
        migration::way,
        redis::{
            schema,
            script::{Call, VOCABULARY as RAISE},
        },
    },
};

/// In layout 1 each tenant had its own hash tag.
pub const LAYOUT: u64 = 2;

/// The numbers that a connection finds.
pub struct Numbers {
    pub layout: Option<u64>,
    /// The layout of the data, while it is being migrated.
    pub migrating: Option<u64>,
    pub vocabulary: Option<u64>,
}

impl Numbers {
    /// Refuses a server with another layout. `proven`: there is a key check, so the server is not empty. True: our vocabulary
    /// has to be written, once the key check has succeeded.
    pub fn check(&self, proven: bool, begins: bool, migrations: &[Migration<Step>]) -> Result<bool, UnusableServer> {
        if self.layout.is_some_and(|layout| layout > LAYOUT) {
            return Err(UnusableServer::Later);
        }
        match self.migrating.or(self.layout) {
            Some(LAYOUT) => {}
            // This version would find no record there, and start sessions beside owners that still run.
            Some(earlier) if way(migrations, earlier, LAYOUT).is_some() => return Err(UnusableServer::Unmigrated),
            Some(_) => return Err(UnusableServer::Earlier),
            None if proven => return Err(UnusableServer::Earlier),
            None => {}
        }
        let known = self.vocabulary.unwrap_or_default();
        if known > VOCABULARY && begins {
            tracing::warn!(
                vocabulary = known,
                ours = VOCABULARY,
                "a later version has written to this redis, its new words are shown as the general case"
            );
        }
        Ok(known < VOCABULARY)
    }
}

pub async fn raise_vocabulary(connection: &mut MultiplexedConnection) -> Result<(), Failure> {
    Call::on_keys(&RAISE, [schema::PROOF.to_owned()]).arg(VOCABULARY).greet(connection).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_of_another_layout_is_refused() {
        let numbers = |layout, migrating| Numbers { layout, migrating, vocabulary: Some(VOCABULARY) };
        let check = |layout, proven| numbers(layout, None).check(proven, true, &[]);
        assert_eq!(check(None, false), Ok(false), "an empty server");
        assert_eq!(check(Some(LAYOUT), true), Ok(false));
        assert_eq!(check(Some(LAYOUT + 1), true), Err(UnusableServer::Later));
        assert_eq!(check(Some(LAYOUT - 1), true), Err(UnusableServer::Earlier));
        assert_eq!(check(None, true), Err(UnusableServer::Earlier), "of a version that had no number");
        let half = numbers(Some(LAYOUT), Some(LAYOUT - 1)).check(true, true, &[]);
        assert_eq!(half, Err(UnusableServer::Earlier), "half migrated by a version that knew how");
    }
}
