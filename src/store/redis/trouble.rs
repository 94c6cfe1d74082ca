use std::{error::Error as _, io, sync::Arc, time::Duration};

use redis::{ErrorKind, RedisError};

use super::{refusal::Refusal, unfit::UnusableServer};
use crate::{
    store::StoreError,
    telemetry::{
        metrics,
        words::{REDIS_AWAY, REDIS_REFUSED, REDIS_SLOW, REDIS_UNEXPECTED, REDIS_UNUSABLE},
    },
};

/// What went wrong with Redis, without its address: neither a log line nor an answer shows where it stands.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Trouble {
    #[error("redis cannot be reached ({0})")]
    Away(String),
    /// The command may have run all the same.
    #[error("redis did not answer within {0:?}")]
    Slow(Duration),
    #[error("redis cannot be used: {0}")]
    UnusableServer(#[from] UnusableServer),
    #[error("redis refused ({0})")]
    Refused(Refusal),
    #[error("redis answered what was not asked for ({0})")]
    Nonsense(String),
    #[error("this incarnation is not known to redis yet")]
    Unborn,
    #[error("the record changed under every try")]
    Contended,
    #[error("it could not be decided in time")]
    Late,
    #[error("a newer write of the same lease was quicker")]
    Overtaken,
    #[error("the store is closed")]
    Closed,
}

impl Trouble {
    /// Whether the connection is of no use any more.
    pub fn breaks(&self) -> bool {
        match self {
            Self::Away(_) => true,
            Self::Refused(refusal) => refusal.is_no_master(),
            _ => false,
        }
    }

    /// Whether the same command may be sent again at once: only where it says itself that it is a repetition.
    pub fn is_passing(&self) -> bool {
        self.breaks() || matches!(self, Self::Slow(_))
    }

    /// For the metrics, where Redis or the way to it is at fault.
    pub fn count(&self) {
        let kind = match self {
            Self::Away(_) => REDIS_AWAY,
            Self::Slow(_) => REDIS_SLOW,
            Self::UnusableServer(_) => REDIS_UNUSABLE,
            Self::Refused(_) => REDIS_REFUSED,
            Self::Nonsense(_) => REDIS_UNEXPECTED,
            Self::Unborn | Self::Contended | Self::Late | Self::Overtaken | Self::Closed => return,
        };
        metrics().redis_errors.add(kind);
    }

    /// What to do about it, where Redis says what it is about.
    pub fn remedy(&self) -> Option<&'static str> {
        match self {
            Self::Refused(refusal) => Some(refusal.remedy()),
            _ => None,
        }
    }

    /// What the first answers of a new connection say of who is there.
    pub fn greeted_with(error: RedisError) -> Self {
        match error.kind() {
            ErrorKind::Parse | ErrorKind::UnexpectedReturnType => UnusableServer::NotRedis.into(),
            ErrorKind::AuthenticationFailed => UnusableServer::Password.into(),
            ErrorKind::Io if is_tls(&error) => UnusableServer::Tls.into(),
            _ => match error.into() {
                Self::Refused(Refusal::Permission) => UnusableServer::Permission.into(),
                Self::Refused(Refusal::Password) => UnusableServer::Password.into(),
                trouble => trouble,
            },
        }
    }
}

/// What rustls does not accept is invalid data; roots that cannot be read are no I/O error at all. The library hands out
/// its cause in a box.
fn is_tls(error: &RedisError) -> bool {
    type Boxed = Arc<dyn std::error::Error + Send + Sync>;
    let cause = error.source().and_then(|cause| cause.downcast_ref::<Boxed>());
    cause.is_some_and(|cause| match cause.downcast_ref::<io::Error>() {
        Some(cause) => cause.kind() == io::ErrorKind::InvalidData,
        None => true,
    })
}

impl From<RedisError> for Trouble {
    fn from(error: RedisError) -> Self {
        if let Some(refusal) = Refusal::of(&error) {
            return Self::Refused(refusal);
        }
        // The parts of an error that are no address.
        let category = error.category().to_owned();
        match error.kind() {
            ErrorKind::UnexpectedReturnType | ErrorKind::Parse => Self::Nonsense(category),
            ErrorKind::Io => Self::Away(category),
            _ if error.is_unrecoverable_error() => Self::Away(category),
            _ => Self::Refused(Refusal::Other(category)),
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
