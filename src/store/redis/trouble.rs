use std::time::Duration;

use redis::{ErrorKind, RedisError};

use crate::store::StoreError;

/// What went wrong with Redis, without its address: neither a log line nor an answer shows where it stands.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    #[error("redis cannot be reached ({0})")]
    Away(String),
    /// The command may have run all the same.
    #[error("redis did not answer within {0:?}")]
    Slow(Duration),
    #[error("redis refused ({0})")]
    Refused(String),
    #[error("redis answered what was not asked for ({0})")]
    Nonsense(String),
    #[error("this incarnation is not known to redis yet")]
    Unborn,
    #[error("the record changed under every try")]
    Contended,
    #[error("a newer write of the same lease was quicker")]
    Overtaken,
    #[error("the store is closed")]
    Closed,
}

impl Trouble {
    /// Whether the connection is of no use any more.
    pub fn breaks(&self) -> bool {
        matches!(self, Self::Away(_))
    }

    /// Whether the same command may be sent again at once: only where it says itself that it is a repetition.
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Away(_) | Self::Slow(_))
    }
}

impl From<RedisError> for Trouble {
    fn from(error: RedisError) -> Self {
        let code = || error.code().map_or_else(|| format!("{:?}", error.kind()), str::to_owned);
        match error.kind() {
            ErrorKind::UnexpectedReturnType | ErrorKind::Parse => Self::Nonsense(code()),
            // The parts of an I/O error that are no address.
            ErrorKind::Io => Self::Away(error.category().to_owned()),
            _ if error.is_unrecoverable_error() => Self::Away(code()),
            _ => Self::Refused(code()),
        }
    }
}

impl From<Trouble> for StoreError {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Nonsense(_) => Self::Damaged(Box::new(trouble)),
            _ => Self::Unavailable(Box::new(trouble)),
        }
    }
}
