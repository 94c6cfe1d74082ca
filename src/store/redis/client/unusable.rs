/// Why a server that is there cannot be used. Waiting does not help, so a start is refused; later it is an outage. Shows
/// neither the server's address nor a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnusableServer {
    /// What is in this Redis was sealed with another encryption key.
    #[error("what is in this Redis was sealed with another encryption key")]
    WrongKey,
    /// A later version of this program uses the server.
    #[error(
        "a later version of this program has changed how this Redis is laid out: start that version, or restore a \
             backup from before it"
    )]
    Later,
    /// An earlier version of this program, from before its first release, has written into this Redis.
    #[error(
        "an earlier version of this program, from before its first release, has written into this Redis: stop its \
             instances, and start this version on an empty Redis"
    )]
    Earlier,
    /// An earlier version of this program has written into this Redis. The start of an instance of this version migrates it.
    #[error(
        "an earlier version of this program has written into this Redis: the start of an instance of this version \
             migrates it"
    )]
    Unmigrated,
    /// Instances of an earlier version run on this Redis, or ran a few seconds ago: stop them before this version migrates it.
    #[error(
        "instances of an earlier version run on this Redis, or ran a few seconds ago: stop them before this version \
             migrates it"
    )]
    EarlierRuns,
    /// A tenant cannot be migrated, as the log says: restore a backup from before the upgrade.
    #[error("a tenant cannot be migrated, as the log says: restore a backup from before the upgrade")]
    Unmigratable,
    /// `tautan move` has begun to fill this Redis and has not finished: run it again.
    #[error("`tautan move` has begun to fill this Redis and has not finished: run it again")]
    Moving,
    /// What answers there is no Redis.
    #[error("what answers there is no Redis")]
    NotRedis,
    /// This Redis refuses the user or the password.
    #[error("this Redis refuses the user or the password")]
    Password,
    /// This Redis does not let the user run a command that is needed (docs/redis.md has the ACL rule).
    #[error("this Redis does not let the user run a command that is needed (docs/redis.md has the ACL rule)")]
    Permission,
    /// This Redis is a node of a cluster, which is not supported: use a single server or Sentinel.
    #[error("this Redis is a node of a cluster, which is not supported: use a single server or Sentinel")]
    Cluster,
    /// This is a Sentinel and not the Redis it watches: write redis+sentinel://host:port/SERVICE.
    #[error("this is a Sentinel and not the Redis it watches: write redis+sentinel://host:port/SERVICE")]
    Sentinel,
    /// The sentinels know no service of that name.
    #[error("the sentinels know no service of that name")]
    Service,
    /// The server's certificate is not accepted.
    #[error(
        "TLS with this Redis fails: its certificate has to be for this very host, and from a root that this system \
             trusts (SSL_CERT_FILE may name others)"
    )]
    Tls,
}
