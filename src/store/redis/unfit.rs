/// Why a server that is there cannot be used. Waiting does not help, so a start is refused; later it is an outage. Shows
/// neither the server's address nor a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnusableServer {
    #[error("what is in this Redis was sealed with another encryption key")]
    WrongKey,
    #[error(
        "a later version of this program has changed how this Redis is laid out: start that version, or restore a \
             backup from before it"
    )]
    Later,
    #[error("what answers there is no Redis")]
    NotRedis,
    #[error("this Redis refuses the user or the password")]
    Password,
    #[error("this Redis does not let the user run a command that is needed (docs/redis.md has the ACL rule)")]
    Permission,
    #[error("this Redis is a node of a cluster, which is not supported: use a single server or Sentinel")]
    Cluster,
    #[error("this is a Sentinel and not the Redis it watches: write redis+sentinel://host:port/SERVICE")]
    Sentinel,
    #[error("the sentinels know no service of that name")]
    Service,
    #[error(
        "TLS with this Redis fails: its certificate has to be for this very host, and from a root that this system \
             trusts (SSL_CERT_FILE may name others)"
    )]
    Tls,
}
