use std::{fmt, time::Duration};

use ureq::{
    Agent,
    http::{StatusCode, Uri, header::RETRY_AFTER},
};

use super::webhook_request::WebhookRequest;
use crate::proxy::{self, is_loopback};

/// The time limit of a delivery. Well below the outbox's visibility timeout.
pub const TIME_MAX: Duration = Duration::from_secs(10);

/// Where webhooks are sent. Hides all but its host in `Debug`: paths and queries often carry a token.
#[derive(Clone)]
pub struct Endpoint(Uri);

/// Why an address is refused.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// Is not a URL.
    #[error("is not a URL such as https://app.example.com/webhooks/whatsapp")]
    Malformed,
    /// Is not https://.
    #[error("is not https:// (http:// is for a receiver on this machine alone, at a loopback address)")]
    Exposed,
}

/// The result of a delivery.
pub enum Outcome {
    Delivered,
    /// The receiver answered 410: it does not want this tenant's webhooks any more.
    Gone,
    Failed {
        failure: Failure,
        /// `Retry-After` as it came, from a receiver that is too busy.
        retry_after: Option<String>,
    },
}

#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error("the receiver answers {0}")]
    Status(u16),
    #[error("the receiver cannot be reached")]
    Away(#[source] ureq::Error),
}

impl Endpoint {
    /// Accepts `https://`, and `http://` on loopback.
    pub fn parse(text: &str) -> Result<Self, EndpointError> {
        let uri: Uri = text.trim().parse().map_err(|_| EndpointError::Malformed)?;
        let host = uri.host().filter(|_| proxy::names_a_place(&uri)).ok_or(EndpointError::Malformed)?;
        match uri.scheme_str() {
            Some("https") => Ok(Self(uri)),
            Some("http") if is_loopback(host) => Ok(Self(uri)),
            Some("http") => Err(EndpointError::Exposed),
            _ => Err(EndpointError::Malformed),
        }
    }

    /// Follows no redirect: its target was not configured. Keeps no connection open: one that was closed meanwhile
    /// would look like a receiver that failed.
    pub fn agent(&self) -> Agent {
        let config = Agent::config_builder()
            .timeout_global(Some(TIME_MAX))
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .max_idle_connections(0)
            .proxy(proxy::towards(self.0.host().unwrap_or_default()))
            .user_agent(concat!("tautan/", env!("CARGO_PKG_VERSION")));
        Agent::new_with_config(config.build())
    }

    /// Blocks.
    pub fn post(&self, agent: &Agent, webhook_request: &WebhookRequest) -> Outcome {
        let request = agent
            .post(&self.0)
            .header("content-type", "application/json")
            .header("webhook-id", &webhook_request.id)
            .header("webhook-timestamp", webhook_request.timestamp.to_string())
            .header("webhook-signature", &webhook_request.signature);
        match request.send(webhook_request.body.as_slice()) {
            Ok(answer) if answer.status().is_success() => Outcome::Delivered,
            Ok(answer) if answer.status() == 410 => Outcome::Gone,
            Ok(answer) => {
                let busy = matches!(answer.status(), StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
                let retry_after = answer.headers().get(RETRY_AFTER).filter(|_| busy);
                let retry_after = retry_after.and_then(|value| value.to_str().ok()).map(str::to_owned);
                Outcome::Failed { failure: Failure::Status(answer.status().as_u16()), retry_after }
            }
            Err(error) => Outcome::Failed { failure: Failure::Away(error), retry_after: None },
        }
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint({})", self.0.host().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn webhook_url_over_http_is_accepted_for_loopback_only() {
        for good in ["https://a.example/x?y", "http://127.0.0.1:1/", "http://localhost:80/x", "http://[::1]:9/"] {
            assert!(Endpoint::parse(good).is_ok(), "{good}");
        }
        for bad in ["http://a.example/", "http://10.0.0.1/", "http://localhost.example/", "http://127.0.0.1.example/"] {
            assert!(matches!(Endpoint::parse(bad), Err(EndpointError::Exposed)), "{bad}");
        }
        for bad in
            ["", "a.example", "/path", "ftp://a.example", "https://", "https://*.example/", "https://a.example:0/"]
        {
            assert!(matches!(Endpoint::parse(bad), Err(EndpointError::Malformed)), "{bad}");
        }
    }

    #[test]
    fn webhook_url_shows_only_its_host_in_debug() {
        let endpoint = Endpoint::parse("https://user:word@a.example/hooks/token?key=1").unwrap();
        assert_eq!(format!("{endpoint:?}"), "Endpoint(a.example)");
    }
}
