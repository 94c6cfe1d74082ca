//! The version of WhatsApp's web client that every link sends: the configured one, or the newest one that was looked
//! up, once for all links of this process and, through the store, for all instances.

use std::{collections::HashMap, sync::Arc, time::Duration};

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
    proxy::Route,
    store::{ClientVersion, ClientVersions},
};

/// How long a lookup is used. The library uses its own for the same time.
const LIFE: Duration = Duration::from_secs(24 * 3600);
/// The pause after a failed lookup, doubled up to [`PAUSE_MAX`]. Links are opened with the newest known version
/// meanwhile.
const PAUSE_MIN: Duration = Duration::from_secs(60);
const PAUSE_MAX: Duration = Duration::from_secs(3600);
/// At most one lookup in this time, however many links WhatsApp refuses as too old.
const RENEW_EVERY: Duration = Duration::from_secs(60);

pub(super) struct Versions {
    source: Source,
    kept: Arc<dyn ClientVersions>,
    clock: SharedClock,
    /// Held during a lookup, so that other callers wait for the same result.
    known: Mutex<Known>,
}

enum Source {
    Given(Version),
    Looked(Lookup),
}

#[derive(Default)]
struct Known {
    newest: Option<ClientVersion>,
    /// The lookups that failed, by their way: a proxy that is away must not keep links on other ways from looking up.
    failures: HashMap<Route, Failures>,
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

    /// The version for the next link. Waits for a lookup if no recent version is known. If it fails, the newest known
    /// version is used.
    /// `route`: the way of that link.
    pub async fn current(&self, route: &Route) -> Version {
        let lookup = match &self.source {
            Source::Given(version) => return *version,
            Source::Looked(lookup) => lookup,
        };
        let mut known = self.known.lock().await;
        if !known.is_fresh(self.clock.now()) && known.may_look_up(route) {
            self.recall(&mut known).await;
            if !known.is_fresh(self.clock.now()) {
                self.look_up(lookup, route, &mut known).await;
            }
        }
        known.best()
    }

    /// Whether there is a newer version than the one that WhatsApp refuses.
    pub async fn has_newer_than(&self, refused: Version, route: &Route) -> bool {
        let Source::Looked(lookup) = &self.source else { return false };
        let mut known = self.known.lock().await;
        if known.best() <= refused {
            // Another instance may have looked it up.
            self.recall(&mut known).await;
        }
        if known.best() <= refused && known.renewed_at.is_none_or(|at| at.elapsed() >= RENEW_EVERY) {
            known.renewed_at = Some(Instant::now());
            self.look_up(lookup, route, &mut known).await;
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

    async fn look_up(&self, lookup: &Lookup, route: &Route, known: &mut Known) {
        match lookup.newest(route).await {
            Ok(version) => {
                let (primary, secondary, tertiary) = version;
                info!(version = format!("{primary}.{secondary}.{tertiary}"), "whatsapp client version looked up");
                let newest = ClientVersion { version, at: self.clock.now() };
                *known = Known { newest: Some(newest), renewed_at: known.renewed_at, ..Known::default() };
                if let Err(error) = self.kept.keep_client_version(newest).await {
                    warn!(%error, "the whatsapp client version could not be kept: the next start looks it up again");
                }
            }
            Err(error) => known.failed(route, &error),
        }
    }
}

#[derive(Default)]
struct Failures {
    count: u32,
    again_at: Option<Instant>,
}

impl Known {
    fn may_look_up(&self, route: &Route) -> bool {
        self.failures.get(route).and_then(|failures| failures.again_at).is_none_or(|at| Instant::now() >= at)
    }

    fn is_fresh(&self, now: Timestamp) -> bool {
        // Another instance's clock may be ahead.
        self.newest.is_some_and(|newest| now.duration_since(newest.at).unsigned_abs() < LIFE)
    }

    /// The newest known version, however old.
    fn best(&self) -> Version {
        self.newest.map_or(bundled(), |newest| newest.version.max(bundled()))
    }

    fn failed(&mut self, route: &Route, error: &LookupError) {
        let failures = self.failures.entry(route.clone()).or_default();
        let pause = PAUSE_MIN.saturating_mul(1 << failures.count.min(8)).min(PAUSE_MAX);
        failures.count += 1;
        failures.again_at = Some(Instant::now() + pause);
        warn!(%error, "the whatsapp client version could not be looked up, links send the newest that is known");
    }
}

/// The version that the library was released with.
fn bundled() -> Version {
    let device = Device::new();
    (device.app_version_primary, device.app_version_secondary, device.app_version_tertiary)
}

#[cfg(test)]
mod tests;
