//! Which proxy our own HTTP goes through: the key set's and the webhooks'. WhatsApp is dialled without one.

use std::net::IpAddr;

/// The one that the standard variables name (`ALL_PROXY`, `HTTPS_PROXY`, `HTTP_PROXY`), but for the hosts of `NO_PROXY`.
/// This machine is never asked for through it: another one's loopback would answer, and the way there is not encrypted.
pub fn towards(host: &str) -> Option<ureq::Proxy> {
    if is_loopback(host) { None } else { ureq::Proxy::try_from_env() }
}

/// A URL's host.
pub fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}
