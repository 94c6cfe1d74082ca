//! `tautan check`: checks whether the service could start with these settings, and reach the store and WhatsApp. It
//! prints a line for each, and fails if one of them fails.

use std::{path::Path, process::ExitCode, time::Duration};

use tokio::time::timeout;

use super::{StartError, backend::REDIS_TIME_MAX, chain};
use crate::{
    clock,
    config::{self, Config},
    proxy::Route,
    store::{
        embedded::Directory,
        redis::{self, RedisStore},
    },
    whatsapp,
};

/// The same time as a link waits for WhatsApp's answer.
const WHATSAPP_TIME_MAX: Duration = Duration::from_secs(20);

pub(super) async fn run(config: Config) -> ExitCode {
    println!("configuration: good");
    let store = match config.store {
        config::Store::Embedded { .. } => data_directory(&config.data_dir),
        config::Store::Redis(settings) => redis(settings).await,
    };
    let whatsapp = whatsapp(&config.whatsapp).await;
    if store && whatsapp { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The store file is not opened: the service may run, and one process has the file.
fn data_directory(path: &Path) -> bool {
    match Directory::inspect(path) {
        Ok(true) => println!("data directory {}: holds a store", path.display()),
        Ok(false) => println!("data directory {}: holds no store; the first start makes one", path.display()),
        Err(error) => {
            println!("data directory {}: {}", path.display(), chain(&StartError::from(error)));
            return false;
        }
    }
    true
}

/// Opens the store for a moment, as an instance without sessions: this finds everything that refuses a start, the key
/// included.
async fn redis(mut settings: redis::Settings) -> bool {
    settings.sessions_max = Some(0);
    settings.migrates = false;
    let store = RedisStore::open(settings, clock::system());
    let usable = store.proven(REDIS_TIME_MAX).await;
    store.close().await;
    match usable {
        Ok(true) => println!("redis: reachable, and the encryption key fits"),
        Ok(false) => println!("redis: no answer within {} s", REDIS_TIME_MAX.as_secs()),
        Err(unusable) => println!("redis: {}", chain(&StartError::from(unusable))),
    }
    matches!(usable, Ok(true))
}

/// Each way that a link may take.
async fn whatsapp(config::WhatsApp { url, proxies, .. }: &config::WhatsApp) -> bool {
    let common = match &proxies.common {
        Some(proxy) => (" through TAUTAN_WHATSAPP_PROXY".to_owned(), Route::Through(proxy.clone())),
        None => (String::new(), Route::Direct),
    };
    let named = proxies.named.iter();
    let named = named.map(|(name, proxy)| (format!(" through {}", name.as_str()), Route::Through(proxy.clone())));
    let mut all = true;
    for (way, route) in std::iter::once(common).chain(named) {
        let reached = timeout(WHATSAPP_TIME_MAX, whatsapp::reach(url, &route)).await;
        match &reached {
            Ok(Ok(())) => println!("whatsapp {url}{way}: reachable"),
            Ok(Err(error)) => println!("whatsapp {url}{way}: {}", chain(&**error)),
            Err(_) => println!("whatsapp {url}{way}: no answer within {} s", WHATSAPP_TIME_MAX.as_secs()),
        }
        all &= matches!(reached, Ok(Ok(())));
    }
    all
}
