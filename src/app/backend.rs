use std::{path::Path, sync::Arc, time::Duration};

use tracing::warn;

use super::StartError;
use crate::{
    clock::SharedClock,
    config,
    http::{Health, StoreState},
    store::{
        Outbox, Stores,
        crypt::MasterKey,
        embedded::{self, CommitHook, EmbeddedStore},
        redis::RedisStore,
    },
};

/// The file, beside the store, of the key that seals credentials where none is configured.
const KEY_FILE: &str = "encryption.key";
/// Longer than a Redis that is there takes to say whether it can be used; then the start goes on without it.
const REDIS_TIME_MAX: Duration = Duration::from_secs(3);

/// The one store of this process.
#[derive(Clone)]
pub(super) enum Backend {
    Embedded(EmbeddedStore),
    Redis(RedisStore),
}

impl Backend {
    pub async fn open(
        store: config::Store,
        data_dir: &Path,
        on_commit: Option<CommitHook>,
        clock: SharedClock,
    ) -> Result<Self, StartError> {
        match store {
            config::Store::Embedded { key, previous } => {
                embedded::make_directory(data_dir)?;
                let key = match key {
                    Some(key) => key,
                    None => MasterKey::load_or_create(&data_dir.join(KEY_FILE)).map_err(StartError::Key)?,
                };
                let settings = embedded::Settings { dir: data_dir.to_owned(), key, previous, on_commit };
                Ok(Self::Embedded(EmbeddedStore::open(settings, clock)?))
            }
            config::Store::Redis(settings) => {
                let store = RedisStore::open(settings, clock);
                match store.proven(REDIS_TIME_MAX).await {
                    Ok(true) => {}
                    Ok(false) => {
                        warn!("redis is away: starting all the same, the encryption key is checked when it is back")
                    }
                    Err(unfit) => {
                        store.close().await;
                        return Err(unfit.into());
                    }
                }
                Ok(Self::Redis(store))
            }
        }
    }

    pub fn stores(&self) -> Stores {
        match self {
            Self::Embedded(store) => store.stores(),
            Self::Redis(store) => store.stores(),
        }
    }

    /// Only where somebody delivers what stands there.
    pub fn outbox(&self) -> Arc<dyn Outbox> {
        match self {
            Self::Embedded(store) => store.outbox(),
            Self::Redis(store) => store.outbox(),
        }
    }

    /// Keeps `health` true, until a part of the store ended that must not. The embedded store is always there.
    pub async fn watch(&self, health: &Health) {
        let Self::Redis(store) = self else { return std::future::pending().await };
        let mut condition = store.condition();
        loop {
            let now = *condition.borrow_and_update();
            health.set_store(if now.away { StoreState::Away } else { StoreState::Ok });
            health.set_delivering(!now.deaf);
            tokio::select! {
                () = store.crashed() => return,
                _ = condition.changed() => {}
            }
        }
    }

    pub async fn close(&self) {
        match self {
            Self::Embedded(store) => store.close().await,
            Self::Redis(store) => store.close().await,
        }
    }
}
