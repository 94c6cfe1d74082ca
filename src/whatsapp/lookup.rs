use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use whatsapp_rust::{
    anyhow,
    http::{HttpClient, HttpRequest, HttpResponse},
    version::fetch_latest_app_version,
};

use super::{
    guard::Check,
    http::{Clients, Http, Limits},
};
use crate::proxy::Route;

pub(super) type Version = (u32, u32, u32);

/// Opening a link waits for the lookup. WhatsApp's answer has some 20 KB.
const LIMITS: Limits = Limits { time_max: Duration::from_secs(5), body_bytes_max: 4 << 20 };

/// Looks up the newest version of WhatsApp's own web client, as the library does.
pub(super) struct Lookup(Box<ClientOn>);

/// Makes the client for a way.
type ClientOn = dyn Fn(&Route) -> Arc<dyn HttpClient> + Send + Sync;

/// Has no source: the library's errors may print the answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum LookupError {
    #[error("whatsapp cannot be asked")]
    Away,
    #[error("whatsapp's answer names no version")]
    Nameless,
}

impl Lookup {
    /// `None`: links connect to a simulator, and then no request leaves the machine. Only a build that can connect to
    /// nothing else requests the version from the simulator, at the same address.
    pub fn new(url: &str, check: Check) -> Option<Self> {
        let clients = Clients::new(url, check, LIMITS);
        if clients.reach_nothing() {
            return None;
        }
        let simulated = clients.simulator().map(|address| format!("http://{address}/sw.js"));
        Some(Self(Box::new(move |route| {
            let http = clients.on(route);
            match simulated.clone() {
                Some(url) => Arc::new(Detour { url, http }),
                None => Arc::new(http),
            }
        })))
    }

    #[cfg(test)]
    pub fn with(client: impl HttpClient + 'static) -> Self {
        let client: Arc<dyn HttpClient> = Arc::new(client);
        Self(Box::new(move |_| client.clone()))
    }

    /// Asks on the way of the link that needs the answer.
    pub async fn newest(&self, route: &Route) -> Result<Version, LookupError> {
        match fetch_latest_app_version(&(self.0)(route)).await {
            // The library returns this for a page that it understands in part. WhatsApp accepts no login with it.
            Ok((_, _, 0)) => Err(LookupError::Nameless),
            Ok(version) => Ok(version),
            Err(_) => Err(LookupError::Away),
        }
    }
}

/// Redirects the library's request to a simulator.
struct Detour {
    url: String,
    http: Http,
}

#[async_trait]
impl HttpClient for Detour {
    async fn execute(&self, request: HttpRequest) -> anyhow::Result<HttpResponse> {
        self.http.execute(HttpRequest { url: self.url.clone(), ..request }).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lookup_reaches_only_what_the_build_may_reach() {
        let (real, simulator) = ("wss://web.whatsapp.com/ws/chat", "ws://127.0.0.1:1/ws/chat");
        assert!(Lookup::new(real, Check::Strict).is_some());
        assert!(Lookup::new(simulator, Check::Strict).is_none());
        assert!(Lookup::new(real, Check::Skipped).is_none());
        assert!(Lookup::new(simulator, Check::Skipped).is_some());
    }

    struct Answers(u16, &'static str);

    #[async_trait]
    impl HttpClient for Answers {
        async fn execute(&self, _: HttpRequest) -> anyhow::Result<HttpResponse> {
            Ok(HttpResponse { status_code: self.0, body: self.1.as_bytes().to_vec() })
        }
    }

    #[tokio::test]
    async fn only_a_version_with_a_number_is_one() {
        let page = r#"{\"client_revision\":1026131876,\"push_phase\":\"C3\"}"#;
        assert_eq!(Lookup::with(Answers(200, page)).newest(&Route::Direct).await.unwrap(), (2, 3000, 1_026_131_876));
        for (status, page) in [(503, page), (200, "<html>sign in</html>"), (200, "assets-manifest-98765 ")] {
            assert!(Lookup::with(Answers(status, page)).newest(&Route::Direct).await.is_err(), "{page}");
        }
    }
}
