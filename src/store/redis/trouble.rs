use std::{error::Error as _, io, sync::Arc, time::Duration};

use redis::{ErrorKind, RedisError, ServerErrorKind};

use super::unfit::Unfit;
use crate::store::StoreError;

/// What went wrong with Redis, without its address: neither a log line nor an answer shows where it stands.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Trouble {
    #[error("redis cannot be reached ({0})")]
    Away(String),
    /// The command may have run all the same.
    #[error("redis did not answer within {0:?}")]
    Slow(Duration),
    #[error("redis cannot be used: {0}")]
    Unfit(#[from] Unfit),
    #[error("redis refused ({0})")]
    Refused(String),
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
        matches!(self, Self::Away(_))
    }

    /// Whether the same command may be sent again at once: only where it says itself that it is a repetition.
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Away(_) | Self::Slow(_))
    }

    /// What the first answers of a new connection say of who is there.
    pub fn greeted_with(error: RedisError) -> Self {
        match error.kind() {
            ErrorKind::Parse | ErrorKind::UnexpectedReturnType => Unfit::NotRedis.into(),
            ErrorKind::AuthenticationFailed => Unfit::Password.into(),
            ErrorKind::Server(ServerErrorKind::NoPerm) => Unfit::Permission.into(),
            ErrorKind::Extension if matches!(error.code(), Some("NOAUTH" | "WRONGPASS")) => Unfit::Password.into(),
            ErrorKind::Io if is_tls(&error) => Unfit::Tls.into(),
            _ => error.into(),
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
        let code = || error.code().map_or_else(|| format!("{:?}", error.kind()), str::to_owned);
        match error.kind() {
            ErrorKind::UnexpectedReturnType | ErrorKind::Parse => Self::Nonsense(code()),
            // The parts of an I/O error that are no address.
            ErrorKind::Io => Self::Away(error.category().to_owned()),
            // It is not, or not yet, the master: another one may be by now, and is asked for with the next connection.
            ErrorKind::Server(
                ServerErrorKind::ReadOnly | ServerErrorKind::BusyLoading | ServerErrorKind::MasterDown,
            ) => Self::Away(code()),
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
