use warp::http::{HeaderValue, Request, header};

use super::error::{Code, Problem};

/// A host with its port, without the scheme: behind a proxy that ends TLS this service cannot know its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    host: String,
    port: u16,
}

impl HostPort {
    /// Parses a `Host` header. `default_port` is that of the scheme that it is compared with. `None`: there is no host.
    pub fn parse(authority: &str, default_port: u16) -> Option<Self> {
        let (host, port) = split(authority).filter(|(host, _)| !host.is_empty())?;
        Some(Self { host: host.to_ascii_lowercase(), port: port.unwrap_or(default_port) })
    }

    /// The form of its origin that browsers send: lower-case, without the scheme's own port.
    pub fn origin(&self, scheme: &str, default_port: u16) -> String {
        let Self { host, port } = self;
        if *port == default_port { format!("{scheme}://{host}") } else { format!("{scheme}://{host}:{port}") }
    }
}

/// Leaves at most one `Host`, which says where the request was sent. Two of them, or one that cannot be read, are refused
/// (RFC 9112 section 3.2): a proxy before us may have looked at another one than we would. Health checks send none.
pub fn normalize<B>(request: &mut Request<B>) -> Result<(), Problem> {
    let refuse = |what| Err(Problem::new(Code::BadHost, what));
    let mut lines = request.headers().get_all(header::HOST).iter();
    match (lines.next().map(|line| line.to_str().ok().and_then(split)), lines.next()) {
        (_, Some(_)) => return refuse("the request has several Host lines; send one"),
        (Some(None), None) => {
            return refuse("Host is not a host with an optional port, such as wa.example.com:8443");
        }
        (Some(Some(_)) | None, None) => {}
    }
    // Beside an absolute target, Host does not count (RFC 9112 section 3.2.2).
    if let Some(authority) = request.uri().authority() {
        let Ok(named) = HeaderValue::from_str(authority.as_str()) else {
            return refuse("the request's target names no host");
        };
        request.headers_mut().insert(header::HOST, named);
    }
    Ok(())
}

/// Host and port of `uri-host [ ":" port ]` (RFC 3986 section 3.2); an empty port is none.
fn split(authority: &str) -> Option<(&str, Option<u16>)> {
    let end = match authority.strip_prefix('[') {
        Some(address) => address.find(']')? + 2,
        None => authority.find(':').unwrap_or(authority.len()),
    };
    let (host, rest) = authority.split_at(end);
    let bracketed = |b: u8| b.is_ascii_alphanumeric() || b":.%-_~".contains(&b);
    let named = |b: u8| b.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=".contains(&b);
    let good = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(address) => !address.is_empty() && address.bytes().all(bracketed),
        None => host.bytes().all(named),
    };
    let port = match rest.strip_prefix(':') {
        None if rest.is_empty() => None,
        Some("") => None,
        Some(port) if port.bytes().all(|b| b.is_ascii_digit()) => Some(port.parse().ok()?),
        Some(_) | None => return None,
    };
    good.then_some((host, port))
}
