use std::{fmt, time::Duration};

use redis::{
    Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _,
    io::tcp::{TcpSettings, socket2::TcpKeepalive},
};

use super::{failure::Failure, sentinel::Sentinels};

const SENTINEL_PORT: u16 = 26_379;

/// The address of Redis, or of its sentinels. `Debug` does not show it: it may hold a password.
#[derive(Clone)]
pub struct Url(Whereabouts);

#[derive(Clone)]
enum Whereabouts {
    Server(Box<Client>),
    Sentinels(Box<Sentinels>),
}

/// Why a URL is refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// Is not a Redis URL.
    #[error("is not a Redis URL (redis://[user:password@]host[:port][/database], or rediss:// for TLS)")]
    Form,
    /// The URL of sentinels names no service.
    #[error(
        "is not a URL of sentinels (redis+sentinel://[user:password@]host[:port],host[:port]/SERVICE[/database]\
         [?sentinel_user=…&sentinel_password=…], or rediss+sentinel:// for TLS)"
    )]
    Sentinels,
    /// Names a cluster, which is not supported: use a single server.
    #[error("names a cluster, which is not supported: use a single server (redis://) or Sentinel (redis+sentinel://)")]
    Cluster,
    /// Asks for TLS without a check of the certificate; trust its root instead (SSL_CERT_FILE names a file).
    #[error("asks for TLS without a check of the certificate; trust its root instead (SSL_CERT_FILE names a file)")]
    Insecure,
}

impl Url {
    /// Reads `redis[s]://` or `redis[s]+sentinel://`.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        match text.split_once("://") {
            Some(("redis+sentinel", rest)) => Ok(Self(Whereabouts::Sentinels(Box::new(sentinels("redis", rest)?)))),
            Some(("rediss+sentinel", rest)) => Ok(Self(Whereabouts::Sentinels(Box::new(sentinels("rediss", rest)?)))),
            Some((scheme, _)) if scheme.contains("cluster") => Err(UrlError::Cluster),
            _ => Ok(Self(Whereabouts::Server(Box::new(client(info(text)?)?)))),
        }
    }

    /// How to connect now. The next connection asks again.
    pub(super) async fn client(&self) -> Result<Client, Failure> {
        match &self.0 {
            Whereabouts::Server(client) => Ok((**client).clone()),
            Whereabouts::Sentinels(sentinels) => sentinels.master().await,
        }
    }
}

fn sentinels(scheme: &str, rest: &str) -> Result<Sentinels, UrlError> {
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, path) = rest.split_once('/').ok_or(UrlError::Sentinels)?;
    let (user, hosts) = authority.rsplit_once('@').map_or((None, authority), |(user, hosts)| (Some(user), hosts));
    let (service, database) = path.split_once('/').unwrap_or((path, ""));
    if service.is_empty() {
        return Err(UrlError::Sentinels);
    }
    let (mut sentinel_user, mut sentinel_password) = ("", None);
    for setting in query.split('&').filter(|setting| !setting.is_empty()) {
        match setting.split_once('=') {
            Some(("sentinel_user", user)) => sentinel_user = user,
            Some(("sentinel_password", password)) => sentinel_password = Some(password),
            _ => return Err(UrlError::Sentinels),
        }
    }
    let watcher = sentinel_password.map(|password| format!("{sentinel_user}:{password}"));
    // The library parses a URL with one host.
    let one = |user: Option<&str>, host: &str, database: &str| {
        let user = user.map(|user| format!("{user}@")).unwrap_or_default();
        info(&format!("{scheme}://{user}{host}/{database}")).map_err(|_| UrlError::Sentinels)
    };
    let mut clients = Vec::new();
    for host in hosts.split(',') {
        let has_port = host.rsplit_once(':').is_some_and(|(_, port)| !port.ends_with(']'));
        let host = if has_port { host.to_owned() } else { format!("{host}:{SENTINEL_PORT}") };
        clients.push(client(one(watcher.as_deref(), &host, "")?)?);
    }
    // The sentinels name the host that replaces this one.
    let master = one(user, "master", database)?;
    Ok(Sentinels { sentinels: clients, service: service.to_owned(), master })
}

fn info(text: &str) -> Result<ConnectionInfo, UrlError> {
    let info = text.into_connection_info().map_err(|_| UrlError::Form)?;
    if matches!(info.addr(), ConnectionAddr::TcpTls { insecure: true, .. }) {
        return Err(UrlError::Insecure);
    }
    let keepalive = TcpKeepalive::new().with_time(Duration::from_secs(10)).with_interval(Duration::from_secs(5));
    let tcp =
        TcpSettings::default().set_nodelay(true).set_keepalive(keepalive).set_user_timeout(Duration::from_secs(5));
    // CLIENT SETINFO has no use here, and a user with few rights may not send it.
    let settings = info.redis_settings().clone().set_skip_set_lib_name();
    Ok(info.set_tcp_settings(tcp).set_redis_settings(settings))
}

fn client(info: ConnectionInfo) -> Result<Client, UrlError> {
    Client::open(info).map_err(|_| UrlError::Form)
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("redis::Url(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watched(text: &str) -> Sentinels {
        match Url::parse(text).unwrap().0 {
            Whereabouts::Sentinels(sentinels) => *sentinels,
            Whereabouts::Server(_) => panic!("it names sentinels"),
        }
    }

    fn address(client: &Client) -> String {
        client.get_connection_info().addr().to_string()
    }

    #[test]
    fn sentinels_are_read_with_service_and_own_passwords() {
        let plain = watched("redis+sentinel://a,b:26380,[::1]:26381,[::1]/mymaster");
        let addresses: Vec<_> = plain.sentinels.iter().map(address).collect();
        assert_eq!(addresses, ["a:26379", "b:26380", "::1:26381", "::1:26379"]);
        assert_eq!((plain.service.as_str(), plain.master.redis_settings().db()), ("mymaster", 0));
        assert_eq!(plain.sentinels[0].get_connection_info().redis_settings().password(), None);

        let full = "rediss+sentinel://app:p%40ss@a/mymaster/3?sentinel_user=watch&sentinel_password=se%2Fcret";
        let full = watched(full);
        let master = full.master.redis_settings();
        assert_eq!((master.username(), master.password(), master.db()), (Some("app"), Some("p@ss"), 3));
        assert!(matches!(full.master.addr(), ConnectionAddr::TcpTls { .. }));
        let sentinel = full.sentinels[0].get_connection_info();
        let settings = sentinel.redis_settings();
        assert_eq!((settings.username(), settings.password()), (Some("watch"), Some("se/cret")));
        assert_eq!(settings.db(), 0);
        assert!(matches!(sentinel.addr(), ConnectionAddr::TcpTls { .. }));
    }

    #[test]
    fn what_cannot_be_served_is_refused_for_its_own_reason() {
        let refused = |text: &str| Url::parse(text).unwrap_err();
        for cluster in ["redis+cluster://a,b", "rediss+cluster://a", "redis-cluster://a:1", "rediss-cluster://a"] {
            assert_eq!(refused(cluster), UrlError::Cluster, "{cluster}");
        }
        for sentinels in
            ["redis+sentinel://a", "redis+sentinel://a/", "redis+sentinel:///s", "redis+sentinel://a/s?db=1"]
        {
            assert_eq!(refused(sentinels), UrlError::Sentinels, "{sentinels}");
        }
        assert_eq!(refused("rediss://a/#insecure"), UrlError::Insecure);
        for form in ["a:6379", "http://a", "redis://a/x", "redis://:hunter2@[bad"] {
            assert_eq!(refused(form), UrlError::Form, "{form}");
        }
    }
}
