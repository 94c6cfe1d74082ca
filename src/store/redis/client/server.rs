use std::time::Duration;

use redis::aio::MultiplexedConnection;

use super::{failure::Failure, refusal::Refusal, unusable::UnusableServer};
use crate::store::redis::random_name;

/// The server's answer to INFO. Empty for a user without the right to INFO, who is served as well.
#[derive(Default)]
pub struct Server {
    info: String,
}

impl From<String> for Server {
    fn from(info: String) -> Self {
        Self { info }
    }
}

const NO_AOF: &str = "redis keeps no append-only file: a restart of it loses every link (set appendonly yes)";
const EVICTS: &str =
    "redis evicts keys when its memory is full, credentials among them (set maxmemory-policy noeviction)";
const UNACKNOWLEDGED: &str = "redis has replicas and takes writes that none of them has: a failover can lose \
                              credentials (set min-replicas-to-write 1 and min-replicas-max-lag 3)";

impl Server {
    pub async fn ask(connection: &mut MultiplexedConnection) -> Result<Self, Failure> {
        match redis::cmd("INFO").query_async(connection).await {
            Ok(info) => Ok(Self { info }),
            Err(error) if Refusal::of(&error) == Some(Refusal::Permission) => Ok(Self::default()),
            Err(error) => Err(Failure::greeted_with(error)),
        }
    }

    /// Differs from start to start of a server, and after it has followed another one. If it is not known, each connection counts
    /// as another run.
    pub fn run(&self) -> String {
        match (self.field("run_id"), self.replication()) {
            (Some(start), Some(replication)) => format!("{start}-{replication}"),
            _ => random_name(),
        }
    }

    /// The name of the server's sequence of writes. A server that follows another one takes over that one's, and begins its own
    /// when it is promoted.
    pub fn replication(&self) -> Option<&str> {
        self.field("master_replid")
    }

    /// In whole seconds. `None`: not known, like the run.
    pub fn uptime(&self) -> Option<Duration> {
        self.field("run_id")?;
        Some(Duration::from_secs(self.field("uptime_in_seconds")?.parse().ok()?))
    }

    /// It has been a replica, and may lack its master's last writes.
    pub fn has_followed(&self) -> bool {
        self.field("second_repl_offset").is_some_and(|offset| offset != "-1")
    }

    /// Whether it can be used at all.
    pub fn check(&self) -> Result<(), Failure> {
        if self.field("redis_mode") == Some("sentinel") {
            return Err(UnusableServer::Sentinel.into());
        }
        if self.field("cluster_enabled") == Some("1") || self.field("redis_mode") == Some("cluster") {
            return Err(UnusableServer::Cluster.into());
        }
        // The next connection may lead to the master, or the replica may be promoted.
        match self.field("role") {
            None | Some("master") => Ok(()),
            Some(_) => Err(Failure::Refused(Refusal::Replica)),
        }
    }

    /// How it can lose confirmed writes.
    pub fn dangers(&self) -> Vec<&'static str> {
        let is = |name: &str, value: &str| self.field(name) == Some(value);
        let there = |name: &str, none: &str| self.field(name).is_some_and(|value| value != none);
        let mut dangers = Vec::new();
        if is("aof_enabled", "0") {
            dangers.push(NO_AOF);
        }
        if there("maxmemory", "0") && there("maxmemory_policy", "noeviction") {
            dangers.push(EVICTS);
        }
        // INFO has this field only with min-replicas-to-write.
        if there("connected_slaves", "0") && self.field("min_slaves_good_slaves").is_none() {
            dangers.push(UNACKNOWLEDGED);
        }
        dangers
    }

    fn field(&self, name: &str) -> Option<&str> {
        self.info.lines().find_map(|line| line.trim_end().strip_prefix(name)?.strip_prefix(':'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(info: &str) -> Server {
        Server { info: info.replace('\n', "\r\n") }
    }

    #[test]
    fn each_way_to_lose_data_is_a_danger() {
        let careful = "role:master\naof_enabled:1\nmaxmemory:0\nmaxmemory_policy:allkeys-lru\nconnected_slaves:0";
        assert!(server(careful).dangers().is_empty(), "without a limit nothing is evicted");
        assert_eq!(server("aof_enabled:0").dangers(), [NO_AOF]);
        assert_eq!(server("maxmemory:1048576\nmaxmemory_policy:volatile-ttl").dangers(), [EVICTS]);
        assert!(server("maxmemory:1048576\nmaxmemory_policy:noeviction").dangers().is_empty());
        assert_eq!(server("connected_slaves:2").dangers(), [UNACKNOWLEDGED]);
        assert!(server("connected_slaves:2\nmin_slaves_good_slaves:2").dangers().is_empty());
    }

    #[test]
    fn unknown_server_is_usable_and_each_connection_a_run() {
        let unknown = Server::default();
        assert!(unknown.check().is_ok() && unknown.dangers().is_empty());
        assert_ne!(unknown.run(), unknown.run());
    }

    #[test]
    fn server_that_has_followed_another_is_another_run() {
        let run = |info| server(info).run();
        let first = run("run_id:a\nrole:master\nmaster_replid:x");
        assert_eq!(first, run("run_id:a\nrole:master\nmaster_replid:x"));
        assert_ne!(first, run("run_id:a\nrole:master\nmaster_replid:y"), "same start, other writes");
        assert_ne!(first, run("run_id:b\nrole:master\nmaster_replid:x"), "a restart may keep the name");
    }

    #[test]
    fn only_the_master_of_a_single_data_set_is_used() {
        assert!(server("redis_mode:standalone\nrun_id:abc\nrole:master\ncluster_enabled:0").check().is_ok());
        let check = |info| server(info).check().unwrap_err();
        assert!(matches!(check("redis_mode:cluster\nrole:master"), Failure::UnusableServer(UnusableServer::Cluster)));
        assert!(matches!(check("redis_mode:sentinel"), Failure::UnusableServer(UnusableServer::Sentinel)));
        assert!(matches!(check("redis_mode:standalone\nrole:slave"), Failure::Refused(Refusal::Replica)));
    }
}
