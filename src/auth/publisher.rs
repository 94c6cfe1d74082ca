use std::{io, path::PathBuf, time::Duration};

use ureq::http::Uri;

use super::KeyError;
use crate::proxy;

const SIZE_MAX_BYTES: u64 = 256 * 1024;
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);

/// Fetches a key set from where it is published. Blocks: call it on a thread that may block.
pub trait Fetch: Send + Sync + 'static {
    fn fetch(&self) -> io::Result<Vec<u8>>;

    fn pace(&self) -> Pace;
}

#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// How old an answer may become before it is fetched again.
    pub age_max: Duration,
    /// Tokens with an unknown key cause three fetches at once, and then one each time this has passed.
    pub unknown_every: Duration,
}

pub struct FileFetch(pub PathBuf);

impl Fetch for FileFetch {
    fn fetch(&self) -> io::Result<Vec<u8>> {
        std::fs::read(&self.0)
    }

    fn pace(&self) -> Pace {
        Pace { age_max: Duration::from_secs(10), unknown_every: Duration::from_secs(1) }
    }
}

pub struct UrlFetch(Uri);

impl UrlFetch {
    /// Over `http://` a host on the way could add a key of its own to the set: only loopback is asked that way.
    pub fn new(url: &str) -> Result<Self, KeyError> {
        let url: Uri = url.parse().map_err(|_| KeyError::NotAUrl)?;
        let host = url.host().filter(|host| !host.is_empty() && !host.contains('*')).ok_or(KeyError::NotAUrl)?;
        match url.scheme_str() {
            Some("https") => Ok(Self(url)),
            Some("http") if proxy::is_loopback(host) => Ok(Self(url)),
            Some("http") => Err(KeyError::ExposedSet),
            _ => Err(KeyError::NotAUrl),
        }
    }
}

impl Fetch for UrlFetch {
    /// No redirect is followed: where it leads was not configured, and may be `http://`.
    fn fetch(&self) -> io::Result<Vec<u8>> {
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(FETCH_TIMEOUT))
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(proxy::towards(self.0.host().unwrap_or_default()))
            .build();
        let mut answer = ureq::Agent::new_with_config(config).get(&self.0).call().map_err(io::Error::other)?;
        let status = answer.status();
        if status.is_redirection() {
            let message = format!("the publisher answers {status}: redirects are not followed, configure the address");
            return Err(io::Error::other(message));
        }
        answer.body_mut().with_config().limit(SIZE_MAX_BYTES).read_to_vec().map_err(io::Error::other)
    }

    fn pace(&self) -> Pace {
        Pace { age_max: Duration::from_secs(600), unknown_every: Duration::from_secs(10) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_set_is_fetched_over_http_from_loopback_only() {
        for good in ["https://login.example/jwks.json", "http://127.0.0.1:1/x", "http://localhost/x", "http://[::1]:9/"]
        {
            assert!(UrlFetch::new(good).is_ok(), "{good}");
        }
        for bad in ["http://login.example/x", "http://10.0.0.1/x", "http://localhost.example/", "HTTP://login.example/"]
        {
            assert!(matches!(UrlFetch::new(bad), Err(KeyError::ExposedSet)), "{bad}");
        }
        for bad in ["ftp://login.example/x", "https://", "file:///etc/keys", "https://*.example/"] {
            assert!(matches!(UrlFetch::new(bad), Err(KeyError::NotAUrl)), "{bad}");
        }
    }
}
