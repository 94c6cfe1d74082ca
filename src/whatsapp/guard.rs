//! A build that accepts any certificate must not reach WhatsApp.
//!
//! Tests and the demo switch the library's certificate check off with a cargo feature, and cargo may unify that feature
//! into another binary. So the program tests the check when it starts.

use std::net::IpAddr;

use hyper::Uri;
use whatsapp_rust::{
    buffa::{Message, MessageField},
    wacore::handshake::HandshakeUtils,
    waproto::whatsapp::{CertChain, cert_chain},
};

/// What this build's library does with a certificate chain that WhatsApp has not signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// WhatsApp's certificate chain is checked.
    Strict,
    /// It is not: only for tests, on loopback.
    Skipped,
}

/// Why a WhatsApp URL is refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum UrlRefused {
    /// The WhatsApp URL is not a ws:// or wss:// URL with a host.
    #[error("the WhatsApp URL is not a ws:// or wss:// URL with a host")]
    Malformed,
    /// This build skips WhatsApp's certificate check.
    #[error("this build skips WhatsApp's certificate check, so it may only talk to a simulator on a loopback address")]
    NotLoopback,
}

/// Tests the library's check with a forged chain.
pub fn certificate_check() -> Check {
    let key = [7; 32];
    match HandshakeUtils::verify_server_cert(&forged_chain(key), &key) {
        Ok(_) => Check::Skipped,
        Err(_) => Check::Strict,
    }
}

/// Refuses what is no WebSocket URL, and in a build without the check all that is not loopback.
pub fn ensure_url_allowed(url: &str, check: Check) -> Result<(), UrlRefused> {
    let uri = websocket(url).ok_or(UrlRefused::Malformed)?;
    match check {
        Check::Strict => Ok(()),
        Check::Skipped if is_loopback(&uri) => Ok(()),
        Check::Skipped => Err(UrlRefused::NotLoopback),
    }
}

/// The host and port of a simulator's URL.
pub(super) fn loopback(url: &str) -> Option<String> {
    let uri = websocket(url).filter(is_loopback)?;
    uri.authority().map(|authority| authority.as_str().to_owned())
}

fn websocket(url: &str) -> Option<Uri> {
    let uri: Uri = url.parse().ok()?;
    (matches!(uri.scheme_str(), Some("ws" | "wss")) && uri.host().is_some_and(|host| !host.is_empty())).then_some(uri)
}

/// Literal addresses only: `localhost` may resolve to another address.
fn is_loopback(uri: &Uri) -> bool {
    let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// A chain that is valid except for its two signatures, so that only they can be the reason for a refusal.
fn forged_chain(key: [u8; 32]) -> Vec<u8> {
    use cert_chain::{NoiseCertificate, noise_certificate::Details};
    let certificate = |serial, issuer_serial| NoiseCertificate {
        details: Some(
            Details {
                serial: Some(serial),
                issuer_serial: Some(issuer_serial),
                key: Some(key.to_vec()),
                not_before: Some(0),
                not_after: Some(u64::from(u32::MAX)),
            }
            .encode_to_vec(),
        ),
        signature: Some(vec![0; 64]),
    };
    CertChain { intermediate: MessageField::some(certificate(1, 0)), leaf: MessageField::some(certificate(2, 1)) }
        .encode_to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_build_accepts_a_chain_with_forged_signatures() {
        // Tests are built with the feature. If this fails the forgery is refused for another reason than its
        // signatures, and the guard would call every build strict.
        assert_eq!(certificate_check(), Check::Skipped);
    }

    #[test]
    fn build_without_certificate_check_may_reach_only_loopback() {
        for url in ["ws://127.0.0.1:1/ws/chat", "wss://127.9.9.9/ws", "ws://[::1]:8080/"] {
            assert_eq!(ensure_url_allowed(url, Check::Skipped), Ok(()), "{url}");
        }
        for url in [
            "wss://web.whatsapp.com/ws/chat",
            "ws://localhost:1/",
            "ws://127.0.0.1.example.com/",
            "ws://127.0.0.1@example.com/",
            "ws://0.0.0.0:1/",
            "ws://10.0.0.1/",
        ] {
            assert_eq!(ensure_url_allowed(url, Check::Skipped), Err(UrlRefused::NotLoopback), "{url}");
            assert_eq!(ensure_url_allowed(url, Check::Strict), Ok(()), "{url}");
        }
    }

    #[test]
    fn url_that_is_no_websocket_is_refused_by_every_build() {
        for url in ["", "web.whatsapp.com", "https://web.whatsapp.com/ws/chat", "ws:///x", "ws://"] {
            assert_eq!(ensure_url_allowed(url, Check::Strict), Err(UrlRefused::Malformed), "{url:?}");
        }
    }
}
