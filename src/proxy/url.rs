use std::fmt;

use percent_encoding::percent_decode_str;

/// The library that speaks SOCKS5 has one buffer for user, password and host.
const SOCKS_CREDENTIALS_BYTES_MAX: usize = 160;

/// A proxy for connections to WhatsApp, with its user and password. Hides itself in `Debug`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ProxyUrl {
    /// How it is asked for a connection.
    pub kind: ProxyKind,
    /// Its name or address, without brackets.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// User and password.
    pub credentials: Option<(String, String)>,
}

/// How a proxy is asked for a connection. Each kind is given the host's name, and resolves it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProxyKind {
    /// HTTP's `CONNECT`.
    Connect,
    /// SOCKS5 (RFC 1928).
    Socks5,
}

/// Why a proxy's URL is refused. Repeats nothing of the URL, which may hold a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidProxy {
    /// It is no such URL.
    #[error(
        "is not http://, socks5:// or socks5h:// with a host and a port, such as socks5h://user:password@proxy:1080"
    )]
    Form,
    /// The user or the password cannot be sent.
    #[error(
        "has a user or a password that is not percent-encoded UTF-8, or too long, or has a control character in it"
    )]
    Credentials,
}

impl ProxyUrl {
    /// Reads a URL. User and password are percent-encoded.
    pub fn parse(text: &str) -> Result<Self, InvalidProxy> {
        let (scheme, rest) = text.split_once("://").ok_or(InvalidProxy::Form)?;
        let kind = match scheme {
            "http" => ProxyKind::Connect,
            // Both give the proxy the name: with another meaning of socks5 the look-up would go past the proxy.
            "socks5" | "socks5h" => ProxyKind::Socks5,
            _ => return Err(InvalidProxy::Form),
        };
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        let (user, place) = authority.rsplit_once('@').map_or((None, authority), |(user, place)| (Some(user), place));
        let (host, port) = place.rsplit_once(':').ok_or(InvalidProxy::Form)?;
        let port = port.parse().ok().filter(|port| *port != 0).ok_or(InvalidProxy::Form)?;
        let host = host_of(host).ok_or(InvalidProxy::Form)?;
        let credentials = user.map(credentials).transpose()?;
        let length = credentials.as_ref().map_or(0, |(user, password)| user.len() + password.len());
        let has_colon = credentials.as_ref().is_some_and(|(user, _)| user.contains(':'));
        match kind {
            ProxyKind::Socks5 if length > SOCKS_CREDENTIALS_BYTES_MAX => Err(InvalidProxy::Credentials),
            // In HTTP's Basic scheme the user ends at the first colon.
            ProxyKind::Connect if has_colon => Err(InvalidProxy::Credentials),
            ProxyKind::Connect | ProxyKind::Socks5 => Ok(Self { kind, host, port, credentials }),
        }
    }

    /// Host and port for a URL.
    pub fn authority(&self) -> String {
        let Self { host, port, .. } = self;
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    }
}

fn host_of(text: &str) -> Option<String> {
    if let Some(address) = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
        return address.parse::<std::net::Ipv6Addr>().ok().map(|address| address.to_string());
    }
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    (!text.is_empty() && text.bytes().all(is_name)).then(|| text.to_owned())
}

fn credentials(text: &str) -> Result<(String, String), InvalidProxy> {
    let (user, password) = text.split_once(':').unwrap_or((text, ""));
    let decoded = |part: &str| {
        let part = percent_decode_str(part).decode_utf8().ok()?.into_owned();
        (!part.chars().any(char::is_control)).then_some(part)
    };
    decoded(user).zip(decoded(password)).ok_or(InvalidProxy::Credentials)
}

impl fmt::Debug for ProxyUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProxyUrl(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxy_url_is_read_with_its_credentials() {
        let read = |text: &str| {
            let ProxyUrl { kind, host, port, credentials } = ProxyUrl::parse(text).unwrap();
            (kind, host, port, credentials)
        };
        let both = |user: &str, password: &str| Some((user.to_owned(), password.to_owned()));
        assert_eq!(read("http://proxy:3128"), (ProxyKind::Connect, "proxy".into(), 3128, None));
        assert_eq!(
            read("socks5://a-b:p%40%3Ass%2F@192.0.2.7:1080/"),
            (ProxyKind::Socks5, "192.0.2.7".into(), 1080, both("a-b", "p@:ss/"))
        );
        assert_eq!(read("socks5h://u:p:q@[::1]:9"), (ProxyKind::Socks5, "::1".into(), 9, both("u", "p:q")));
        assert_eq!(read("http://user@proxy:1").3, both("user", ""));
        assert_eq!(ProxyUrl::parse("http://[::1]:9").unwrap().authority(), "[::1]:9");
    }

    #[test]
    fn what_is_no_proxy_url_is_refused_without_its_password() {
        for form in [
            "",
            "proxy:3128",
            "https://proxy:3128",
            "socks4://proxy:1080",
            "http://proxy",
            "http://:3128",
            "http://proxy:0",
            "http://proxy:99999",
            "http://proxy:3128/path",
            "http://proxy:3128?x=1",
            "http://u:hunter2@:3128",
            "http://a b:3128",
            "http://[proxy]:3128",
            "http://proxy\r\nx:3128",
        ] {
            assert_eq!(ProxyUrl::parse(form), Err(InvalidProxy::Form), "{form:?}");
        }
        let long = format!("socks5://u:{}@proxy:1080", "x".repeat(SOCKS_CREDENTIALS_BYTES_MAX));
        for credentials in ["http://u:%ff@proxy:1", "http://u:%0d%0a@proxy:1", "http://a%3Ab:c@proxy:1", &long] {
            assert_eq!(ProxyUrl::parse(credentials), Err(InvalidProxy::Credentials), "{credentials:?}");
        }
        let printed = format!("{:?}", ProxyUrl::parse("http://u:hunter2@proxy:1").unwrap());
        assert!(!printed.contains("hunter2"), "{printed}");
    }
}
