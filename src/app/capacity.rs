use std::{path::Path, time::Duration};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::{info, warn};

use super::memory;
use crate::{
    http::{Caps, ConfiguredCaps},
    session::Sessions,
    telemetry::{Episode, metrics},
};

/// Descriptors for everything except connections of browsers and links: the store, webhooks, key sets, lookups, the
/// log.
const OWN_DESCRIPTORS: usize = 64;
/// The least number of connections with which a page works.
const CONNECTIONS_MIN: usize = 16;
/// For an address and for a tenant. A browser opens six connections to a host.
const SHARE_MIN: usize = 8;
/// An idle connection takes 14 kB between two requests. One whose client does not read takes its buffers too, and some
/// of the kernel's.
const CONNECTION_BYTES: u64 = 64 << 10;
/// A connected session was measured to take 440 to 460 KiB.
const SESSION_BYTES: u64 = 512 << 10;
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// The resources that this process may use.
#[derive(Clone, Copy, Debug)]
pub(super) struct Capacity {
    descriptors: usize,
    memory_bytes: Option<u64>,
}

/// How many connections, streams and sessions fit into the resources.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Room {
    pub caps: Caps,
    /// Not a limit: more sessions may run, and the log warns.
    pub sessions: usize,
}

/// A setting that does not fit, and the number that does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Misfit {
    variable: &'static str,
    set: usize,
    fits: usize,
}

impl Capacity {
    /// Raises the limit of descriptors as far as this process may.
    pub fn take() -> Self {
        let limit = getrlimit(Resource::Nofile);
        // If it cannot be raised, the current limit counts.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
        let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let descriptors = usize::try_from(descriptors).unwrap_or(usize::MAX);
        Self { descriptors, memory_bytes: memory::limit(Path::new("/")) }
    }

    /// Logs the capacity, and the settings that do not fit.
    pub fn room(self, configured: ConfiguredCaps, sessions_max: Option<usize>) -> Room {
        let (room, misfits) = self.divided(configured, sessions_max);
        let Caps { connections, without_token, per_address, per_tenant, streams } = room.caps;
        info!(
            descriptors = self.descriptors,
            memory_mib = self.memory_bytes.map(|bytes| bytes >> 20),
            connections,
            without_token,
            per_address,
            per_tenant,
            streams,
            sessions = room.sessions,
            "limits of this instance"
        );
        metrics().sessions_max.set(room.sessions as f64);
        for Misfit { variable, set, fits } in misfits {
            warn!(variable, set, fits, "setting does not fit into the descriptors or the memory of this process");
        }
        room
    }

    /// Links have priority: connections get at most half, or what the sessions leave if their number is known.
    fn divided(self, configured: ConfiguredCaps, sessions_max: Option<usize>) -> (Room, Vec<Misfit>) {
        let mut misfits = Vec::new();
        let mut fitting = |variable, set: Option<usize>, fits: usize| {
            misfits.extend(set.filter(|set| *set > fits).map(|set| Misfit { variable, set, fits }));
            set.map(|set| set.min(fits))
        };
        let left = self.descriptors.saturating_sub(OWN_DESCRIPTORS).max(2 * CONNECTIONS_MIN);
        let bytes = self.memory_bytes.unwrap_or(u64::MAX);
        let links = sessions_max.unwrap_or(usize::MAX).min(left / 2);
        let remembered = usize::try_from(bytes / 4 / CONNECTION_BYTES).unwrap_or(usize::MAX).max(CONNECTIONS_MIN);
        let connections = fitting("TAUTAN_MAX_CONNECTIONS", configured.connections, left)
            .unwrap_or_else(|| (left - links).min(remembered));
        let without_token = fitting("TAUTAN_MAX_CONNECTIONS_WITHOUT_TOKEN", configured.without_token, connections)
            .unwrap_or(connections / 2)
            .max(1);
        let per_address = fitting("TAUTAN_MAX_CONNECTIONS_PER_ADDRESS", configured.per_address, without_token)
            .unwrap_or_else(|| (without_token / 16).max(SHARE_MIN).min(without_token));
        let per_tenant = fitting("TAUTAN_MAX_CONNECTIONS_PER_TENANT", configured.per_tenant, connections)
            .unwrap_or_else(|| (connections / 16).max(SHARE_MIN).min(connections));
        // Streams leave room for connections that have not shown a token yet.
        let most = connections.saturating_sub(without_token).max(1);
        let streams = fitting("TAUTAN_MAX_STREAMS", configured.streams, most).unwrap_or(most);
        let remembered = usize::try_from(bytes / 4 * 3 / SESSION_BYTES).unwrap_or(usize::MAX);
        let sessions = (left - connections).min(remembered);
        fitting("TAUTAN_MAX_SESSIONS", sessions_max, sessions);
        (Room { caps: Caps { connections, without_token, per_address, per_tenant, streams }, sessions }, misfits)
    }
}

/// Warns while more sessions run than there is room for. Without it the first sign would be a link that cannot be opened.
pub(super) async fn watch(sessions: Sessions, room: usize) {
    let over = Episode::default();
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let running = sessions.running();
        if running > room && over.add() {
            warn!(running, room, "more sessions run than there are descriptors and memory for");
        } else if over.over().is_some() {
            info!(running, room, "sessions fit again into descriptors and memory");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNSET: ConfiguredCaps =
        ConfiguredCaps { connections: None, without_token: None, per_address: None, per_tenant: None, streams: None };

    fn capacity(descriptors: usize, memory_mib: Option<u64>) -> Capacity {
        Capacity { descriptors, memory_bytes: memory_mib.map(|mib| mib << 20) }
    }

    fn caps([connections, without_token, per_address, per_tenant, streams]: [usize; 5]) -> Caps {
        Caps { connections, without_token, per_address, per_tenant, streams }
    }

    #[test]
    fn defaults_follow_from_descriptors_and_memory() {
        for (descriptors, memory_mib, expected, sessions) in [
            (200, None, caps([68, 34, 8, 8, 34]), 68),
            (1_024, Some(8_192), caps([480, 240, 15, 30, 240]), 480),
            (1_048_576, Some(8_192), caps([32_768, 16_384, 1_024, 2_048, 16_384]), 12_288),
            (1_048_576, Some(512), caps([2_048, 1_024, 64, 128, 1_024]), 768),
            (10, Some(1), caps([16, 8, 8, 8, 8]), 1),
        ] {
            let room = capacity(descriptors, memory_mib).divided(UNSET, None);
            assert_eq!(room, (Room { caps: expected, sessions }, vec![]), "{descriptors} {memory_mib:?}");
        }
    }

    #[test]
    fn connections_leave_the_descriptors_of_links() {
        for descriptors in [0, 64, 100, 200, 1_024, 20_000] {
            for sessions_max in [None, Some(1), Some(50), Some(100_000)] {
                for connections in [None, Some(10), Some(1_000_000)] {
                    let (room, _) =
                        capacity(descriptors, None).divided(ConfiguredCaps { connections, ..UNSET }, sessions_max);
                    let left = descriptors.saturating_sub(OWN_DESCRIPTORS).max(2 * CONNECTIONS_MIN);
                    assert_eq!(room.caps.connections + room.sessions, left);
                    assert!(connections.is_some() || room.sessions >= sessions_max.unwrap_or(left).min(left / 2));
                    let Caps { connections, without_token, per_address, per_tenant, streams } = room.caps;
                    assert!(without_token <= connections && per_address <= without_token);
                    assert!(per_tenant <= connections && streams <= connections);
                }
            }
        }
    }

    #[test]
    fn settings_that_do_not_fit_are_named() {
        let configured = ConfiguredCaps {
            connections: Some(1_000),
            without_token: Some(100),
            per_address: Some(101),
            per_tenant: Some(1_001),
            streams: Some(950),
        };
        let (room, misfits) = capacity(1_064, None).divided(configured, Some(1));
        assert_eq!(room, Room { caps: caps([1_000, 100, 100, 1_000, 900]), sessions: 0 });
        let named: Vec<_> = misfits.iter().map(|misfit| (misfit.variable, misfit.set, misfit.fits)).collect();
        assert_eq!(
            named,
            [
                ("TAUTAN_MAX_CONNECTIONS_PER_ADDRESS", 101, 100),
                ("TAUTAN_MAX_CONNECTIONS_PER_TENANT", 1_001, 1_000),
                ("TAUTAN_MAX_STREAMS", 950, 900),
                ("TAUTAN_MAX_SESSIONS", 1, 0),
            ]
        );
        let (_, misfits) = capacity(1_064, None).divided(UNSET, Some(5_000));
        assert_eq!(misfits, [Misfit { variable: "TAUTAN_MAX_SESSIONS", set: 5_000, fits: 500 }]);
    }
}
