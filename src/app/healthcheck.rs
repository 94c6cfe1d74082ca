//! `tautan healthcheck`: checks whether the service on this machine is up, for containers without curl.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    process::ExitCode,
    time::Duration,
};

use super::chain;
use crate::config::Config;

/// A container's runtime waits 30 s by default; a service that is up answers within milliseconds.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(5);

/// `GET /healthz`, and not `/readyz`: a service that drains is up, and must not be restarted.
pub(super) fn run(config: &Config) -> ExitCode {
    let url = format!("http://{}/healthz", reachable(config.listen));
    let settings = ureq::Agent::config_builder().timeout_global(Some(ANSWER_TIME_MAX)).proxy(None).build();
    match ureq::Agent::new_with_config(settings).get(&url).call() {
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{url}: {}", chain(&error));
            ExitCode::FAILURE
        }
    }
}

/// If the service listens on every address, the request goes to loopback.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn service_on_every_address_is_asked_on_loopback() {
        for (listen, asked) in [
            ("0.0.0.0:8080", "127.0.0.1:8080"),
            ("[::]:8080", "[::1]:8080"),
            ("192.0.2.1:80", "192.0.2.1:80"),
            ("127.0.0.1:8080", "127.0.0.1:8080"),
        ] {
            assert_eq!(reachable(listen.parse().unwrap()), asked.parse().unwrap(), "{listen}");
        }
    }
}
