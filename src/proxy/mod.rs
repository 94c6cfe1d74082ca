//! Chooses the proxy of outgoing connections. Key sets and webhooks use the HTTP proxy of the standard variables;
//! connections to WhatsApp use those that the operator has set for them, and none of the standard variables.
//!
//! What it guarantees: a password hides itself in `Debug` and in errors. What it must not do: connect. Start with
//! `proxies`.

mod proxies;
mod url;

use std::net::IpAddr;

pub use proxies::{Proxies, Route, UnknownProxy, read_list};
use ureq::http::Uri;
pub use url::{InvalidProxy, ProxyKind, ProxyUrl};

/// The proxy in the standard variables (`ALL_PROXY`, `HTTPS_PROXY`, `HTTP_PROXY`), except for the hosts in `NO_PROXY`.
/// Loopback addresses never use it: the proxy's own loopback would answer, and the connection to it is not encrypted.
pub fn towards(host: &str) -> Option<ureq::Proxy> {
    if is_loopback(host) { None } else { ureq::Proxy::try_from_env() }
}

/// Whether a URL's host is a loopback address or `localhost`.
pub fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// Whether the URL has a host and a port that can exist: no name has a `*` in it, and no port is 0. Without a port it is the
/// scheme's own.
pub fn names_a_place(uri: &Uri) -> bool {
    let Some(authority) = uri.authority() else { return false };
    let host = authority.host();
    let port = authority.as_str().rsplit('@').next().and_then(|place| place.strip_prefix(host)).unwrap_or_default();
    let port = port.strip_prefix(':').unwrap_or(port);
    !host.is_empty() && !host.contains('*') && (port.is_empty() || port.parse::<u16>().is_ok_and(|port| port > 0))
}
