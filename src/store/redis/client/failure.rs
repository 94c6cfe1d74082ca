use std::{error::Error as _, io, sync::Arc, time::Duration};

use redis::{ErrorKind, RedisError};

use super::{refusal::Refusal, unusable::UnusableServer};
use crate::{
    store::StoreError,
    telemetry::{
        metrics,
        words::{REDIS_AWAY, REDIS_REFUSED, REDIS_SLOW, REDIS_UNEXPECTED, REDIS_UNUSABLE},
    },
};

/// Why a command failed. Has no address of Redis, so that no log line and no answer shows it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Failure {
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
    Unregistered,
    #[error("the record changed under every try")]
    Contended,
    #[error("it could not be decided in time")]
    Late,
    #[error("a newer write of the same lease was quicker")]
    Overtaken,
    #[error("the store is closed")]
    Closed,
}

impl Failure {
    /// Whether the connection cannot be used any more.
    pub fn breaks(&self) -> bool {
        match self {
            Self::Away(_) => true,
            Self::Refused(refusal) => refusal.is_no_master(),
            _ => false,
        }
    }

    /// Whether a retry may succeed. Only for commands that recognise a repetition.
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
            Self::Unregistered | Self::Contended | Self::Late | Self::Overtaken | Self::Closed => return,
        };
        metrics().redis_errors.add(kind);
    }

    /// What the operator has to do, if Redis answered a word.
    pub fn remedy(&self) -> Option<&'static str> {
        match self {
            Self::Refused(refusal) => Some(refusal.remedy()),
            _ => None,
        }
    }

    /// For an error in the first answers of a new connection, which shows what kind of server is there.
    pub fn greeted_with(error: RedisError) -> Self {
        match error.kind() {
            ErrorKind::Parse | ErrorKind::UnexpectedReturnType => UnusableServer::NotRedis.into(),
            ErrorKind::AuthenticationFailed => UnusableServer::Password.into(),
            ErrorKind::Io if is_tls(&error) => UnusableServer::Tls.into(),
            _ => match error.into() {
                Self::Refused(Refusal::Permission) => UnusableServer::Permission.into(),
                Self::Refused(Refusal::Password) => UnusableServer::Password.into(),
                failure => failure,
            },
        }
    }
}

/// A certificate that rustls refuses is an I/O error of kind invalid data; roots that cannot be read are none. The library
/// boxes the cause.
fn is_tls(error: &RedisError) -> bool {
    type Boxed = Arc<dyn std::error::Error + Send + Sync>;
    let cause = error.source().and_then(|cause| cause.downcast_ref::<Boxed>());
    cause.is_some_and(|cause| match cause.downcast_ref::<io::Error>() {
        Some(cause) => cause.kind() == io::ErrorKind::InvalidData,
        None => true,
    })
}

impl From<RedisError> for Failure {
    fn from(error: RedisError) -> Self {
        if let Some(refusal) = Refusal::of(&error) {
            return Self::Refused(refusal);
        }
        // Only the parts of the error that hold no address.
        let category = error.category().to_owned();
        match error.kind() {
            ErrorKind::UnexpectedReturnType | ErrorKind::Parse => Self::Nonsense(category),
            ErrorKind::Io => Self::Away(category),
            _ if error.is_unrecoverable_error() => Self::Away(category),
            _ => Self::Refused(Refusal::Other(category)),
        }
    }
}

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Nonsense(_) => Self::Damaged(Box::new(failure)),
            _ => Self::Unavailable(Box::new(failure)),
        }
    }
}
