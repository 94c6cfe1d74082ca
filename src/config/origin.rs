//! Origins in the one form in which browsers send them. An origin that no browser sends would have no effect, so it is
//! refused.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::proxy::is_loopback;

const FORM: &str = "is not an origin such as https://app.example.com: scheme, host and port, no path";

pub fn origins(text: &str) -> Result<Vec<String>, String> {
    let named: Vec<_> = text.split(',').filter(|part| !part.trim().is_empty()).collect();
    if named.is_empty() {
        return Err(format!("{text:?} names no origin"));
    }
    named.into_iter().map(origin).collect()
}

pub fn origin(text: &str) -> Result<String, String> {
    let wrong = |what: &str| format!("{text:?} {what}");
    let (scheme, rest) = text.trim().split_once("://").ok_or_else(|| wrong(FORM))?;
    let known = [("https", 443), ("http", 80)].into_iter().find(|(known, _)| known.eq_ignore_ascii_case(scheme));
    let (scheme, default_port) = known.ok_or_else(|| wrong(FORM))?;
    let (host, port) = split(rest.trim_end_matches('/')).ok_or_else(|| wrong(FORM))?;
    let host = self::host(host).map_err(wrong)?;
    Ok(match port.filter(|port| *port != default_port) {
        Some(port) => format!("{scheme}://{host}:{port}"),
        None => format!("{scheme}://{host}"),
    })
}

/// Whether browsers keep a cookie for https alone away from this origin. They count loopback as safe.
pub fn is_exposed(origin: &str) -> bool {
    let host = origin.strip_prefix("http://").and_then(split).map(|(host, _)| host);
    host.is_some_and(|host| !is_loopback(host))
}

/// Host and port. Browsers leave an empty port out, and never reach port 0.
fn split(authority: &str) -> Option<(&str, Option<u16>)> {
    let address = authority.find(']').unwrap_or(0);
    let Some(colon) = authority[address..].find(':') else { return Some((authority, None)) };
    let (host, port) = (&authority[..address + colon], &authority[address + colon + 1..]);
    if port.is_empty() {
        return Some((host, None));
    }
    let port = Some(port).filter(|port| port.bytes().all(|b| b.is_ascii_digit()))?.parse().ok()?;
    (port > 0).then_some((host, Some(port)))
}

fn host(text: &str) -> Result<String, &'static str> {
    if let Some(address) = text.strip_prefix('[') {
        let address: Ipv6Addr = address.strip_suffix(']').and_then(|address| address.parse().ok()).ok_or(FORM)?;
        return Ok(match address.to_ipv4_mapped() {
            // Browsers write no dots in it.
            Some(_) => format!("[::ffff:{:x}:{:x}]", address.segments()[6], address.segments()[7]),
            None => format!("[{address}]"),
        });
    }
    if text.contains('*') {
        return Err("has a * in its host, which matches nothing: name each origin, with commas between");
    }
    if !text.is_ascii() {
        return Err(
            "has letters in its host that browsers send in another form: write it as they do, beginning with xn--",
        );
    }
    let named =
        |label: &str| !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
    // A single dot at the end is part of the name.
    if !text.strip_suffix('.').unwrap_or(text).split('.').all(named) {
        return Err(FORM);
    }
    // Browsers read a host as an IPv4 address if its last label is a number, and write it as four decimal ones.
    let last = text.rsplit('.').find(|label| !label.is_empty()).unwrap_or_default();
    let number = last.bytes().all(|b| b.is_ascii_digit()) || last.starts_with("0x") || last.starts_with("0X");
    if number && text.parse::<Ipv4Addr>().is_err() {
        return Err("has a host that browsers take for an IPv4 address: write it as four decimal numbers");
    }
    Ok(text.to_ascii_lowercase())
}
