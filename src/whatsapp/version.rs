//! Which version of WhatsApp's web client every link claims to be: the one that is configured, or the newest one that was
//! looked up, once for all links of this process and, over the store, for all instances.

use std::{sync::Arc, time::Duration};

use tokio::{sync::Mutex, time::Instant};
use tracing::{info, warn};
use whatsapp_rust::wacore::store::Device;

use super::{
    guard::Check,
    lookup::{Lookup, LookupError, Version},
    settings::Settings,
};
use crate::{
    clock::{SharedClock, Timestamp},
    store::{ClientVersion, ClientVersions},
};

/// As long as the library itself relies on what it has looked up.
const LIFE: Duration = Duration::from_secs(24 * 3600);
/// After a look that failed links are opened with what is known; doubled up to the other one.
const PAUSE_MIN: Duration = Duration::from_secs(60);
const PAUSE_MAX: Duration = Duration::from_secs(3600);
/// However many links WhatsApp turns away as too old, it is asked once in this time.
const RENEW_EVERY: Duration = Duration::from_secs(60);

pub(super) struct Versions {
    source: Source,
    kept: Arc<dyn ClientVersions>,
    clock: SharedClock,
    /// Held while somebody looks, so that everybody else waits for the same answer.
    known: Mutex<Known>,
}

enum Source {
    Given(Version),
    Looked(Lookup),
}

#[derive(Default)]
struct Known {
    newest: Option<ClientVersion>,
    failures: u32,
    again_at: Option<Instant>,
    renewed_at: Option<Instant>,
}

impl Versions {
    pub fn new(settings: &Settings, check: Check, kept: Arc<dyn ClientVersions>, clock: SharedClock) -> Self {
        let source = match settings.version {
            Some(version) => Source::Given(version),
            None => Lookup::new(&settings.url, check).map_or_else(|| Source::Given(bundled()), Source::Looked),
        };
        Self { source, kept, clock, known: Mutex::default() }
    }

    /// For the next link. Waits for a look where nothing recent is known; one that fails is no reason not to dial.
    pub async fn current(&self) -> Version {
        let lookup = match &self.source {
            Source::Given(version) => return *version,
            Source::Looked(lookup) => lookup,
        };
        let mut known = self.known.lock().await;
        if !known.is_fresh(self.clock.now()) && known.again_at.is_none_or(|at| Instant::now() >= at) {
            self.recall(&mut known).await;
            if !known.is_fresh(self.clock.now()) {
                self.look_up(lookup, &mut known).await;
            }
        }
        known.best()
    }

    /// Whether there is a newer one than the one that WhatsApp does not take any more.
    pub async fn has_newer_than(&self, refused: Version) -> bool {
        let Source::Looked(lookup) = &self.source else { return false };
        let mut known = self.known.lock().await;
        if known.best() <= refused {
            // Another instance may have looked.
            self.recall(&mut known).await;
        }
        if known.best() <= refused && known.renewed_at.is_none_or(|at| at.elapsed() >= RENEW_EVERY) {
            known.renewed_at = Some(Instant::now());
            self.look_up(lookup, &mut known).await;
        }
        known.best() > refused
    }

    async fn recall(&self, known: &mut Known) {
        match self.kept.client_version().await {
            Ok(Some(kept)) if known.newest.is_none_or(|ours| kept.at > ours.at || kept.version > ours.version) => {
                known.newest = Some(kept);
            }
            Ok(_) => {}
            Err(error) => warn!(%error, "the whatsapp client version that was looked up last could not be read"),
        }
    }

    async fn look_up(&self, lookup: &Lookup, known: &mut Known) {
        match lookup.newest().await {
            Ok(version) => {
                let (primary, secondary, tertiary) = version;
                info!(version = format!("{primary}.{secondary}.{tertiary}"), "whatsapp client version looked up");
                let newest = ClientVersion { version, at: self.clock.now() };
                *known = Known { newest: Some(newest), renewed_at: known.renewed_at, ..Known::default() };
                if let Err(error) = self.kept.keep_client_version(newest).await {
                    warn!(%error, "the whatsapp client version could not be kept: the next start looks it up again");
                }
            }
            Err(error) => known.failed(&error),
        }
    }
}

impl Known {
    fn is_fresh(&self, now: Timestamp) -> bool {
        // Another instance's clock may be ahead.
        self.newest.is_some_and(|newest| now.duration_since(newest.at).unsigned_abs() < LIFE)
    }

    /// However old.
    fn best(&self) -> Version {
        self.newest.map_or(bundled(), |newest| newest.version.max(bundled()))
    }

    fn failed(&mut self, error: &LookupError) {
        let pause = PAUSE_MIN.saturating_mul(1 << self.failures.min(8)).min(PAUSE_MAX);
        self.failures += 1;
        self.again_at = Some(Instant::now() + pause);
        warn!(%error, "the whatsapp client version could not be looked up, links claim the newest that is known");
    }
}

/// The one that the library was released with.
fn bundled() -> Version {
    let device = Device::new();
    (device.app_version_primary, device.app_version_secondary, device.app_version_tertiary)
}

#[cfg(test)]
mod tests;
