use std::{path::Path, sync::Arc, time::Duration};

use tokio::time::interval;
use tracing::warn;

use super::StartError;
use crate::{
    clock::SharedClock,
    config,
    http::{Health, StoreState},
    store::{
        Outbox, Stores,
        crypt::MasterKey,
        embedded::{self, CommitHook, Directory, EmbeddedStore, KEY_FILE, Moved},
        redis::RedisStore,
    },
};

/// Longer than a running Redis takes to show whether it can be used. After that the start goes on without it.
pub(super) const REDIS_TIME_MAX: Duration = Duration::from_secs(3);
/// How often the store checks its file when it has nothing to write.
const LOOK_EVERY: Duration = Duration::from_secs(1);

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
            config::Store::Embedded { key, previous, limits, forget_after } => {
                Moved::refuse(data_dir)?;
                // Before the key is made: the key file would look like one of an earlier start.
                let directory = Directory::enter(data_dir)?;
                let key_file = data_dir.join(KEY_FILE);
                let key = match key {
                    Some(key) => Ok(key),
                    None if directory.has_store() => MasterKey::load(&key_file),
                    None => MasterKey::load_or_create(&key_file),
                };
                let key = key.map_err(StartError::Key)?;
                let dir = data_dir.to_owned();
                let migrations = embedded::MIGRATIONS;
                let settings = embedded::Settings { dir, key, previous, limits, forget_after, migrations, on_commit };
                Ok(Self::Embedded(EmbeddedStore::open(settings, clock)?))
            }
            config::Store::Redis(settings) => {
                let store = RedisStore::open(settings, clock);
                match store.proven(REDIS_TIME_MAX).await {
                    Ok(true) => {
                        // An instance that cannot read them now goes on trying, see `store::redis`.
                        if let Err(error) = store.read_revocations().await {
                            warn!(%error, "revocations cannot be read yet: starting all the same");
                        }
                    }
                    Ok(false) => {
                        warn!(
                            "redis cannot be used yet: starting all the same, the encryption key is checked once it can be"
                        )
                    }
                    Err(unusable) => {
                        store.close().await;
                        return Err(unusable.into());
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

    /// Call it only with a dispatcher: from then on the store keeps entries.
    pub fn outbox(&self) -> Arc<dyn Outbox> {
        match self {
            Self::Embedded(store) => store.outbox(),
            Self::Redis(store) => store.outbox(),
        }
    }

    /// Keeps `health` up to date. Returns when a task of the store ended that must not.
    pub async fn watch(&self, health: &Health) {
        match self {
            Self::Embedded(store) => tokio::select! {
                () = watch_embedded(store, health) => {}
                () = store.keep_forgetting() => {}
            },
            Self::Redis(store) => watch_redis(store, health).await,
        }
    }

    pub async fn close(&self) {
        match self {
            Self::Embedded(store) => store.close().await,
            Self::Redis(store) => store.close().await,
        }
    }
}

async fn watch_embedded(store: &EmbeddedStore, health: &Health) {
    let mut writable = store.writable();
    let mut looks = interval(LOOK_EVERY);
    loop {
        let state = if *writable.borrow_and_update() { StoreState::Ok } else { StoreState::ReadOnly };
        health.set_store(state);
        tokio::select! {
            () = store.ended() => {
                health.set_store(StoreState::Away);
                return;
            }
            _ = looks.tick() => store.look(),
            _ = writable.changed() => {}
        }
    }
}

async fn watch_redis(store: &RedisStore, health: &Health) {
    let mut condition = store.condition();
    loop {
        let now = condition.borrow_and_update().clone();
        health.set_store(match now.refuses {
            _ if now.away => StoreState::Away,
            Some(_) => StoreState::ReadOnly,
            None => StoreState::Ok,
        });
        health.set_delivering(!now.not_delivering);
        tokio::select! {
            () = store.crashed() => return,
            _ = condition.changed() => {}
        }
    }
}
