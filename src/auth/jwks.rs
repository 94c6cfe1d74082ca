use std::{
    fmt, io,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;
use ureq::http::Uri;

use super::keys::{Key, KeyError};
use crate::proxy;

const SIZE_MAX_BYTES: u64 = 256 * 1024;
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);

/// Brings a key set from where it is published. Blocks: called where that is allowed.
pub trait Fetch: Send + Sync + 'static {
    fn fetch(&self) -> io::Result<Vec<u8>>;

    /// How old the answer may become before it is asked for again, and how soon a token with an unknown key may ask.
    fn pace(&self) -> Pace;
}

#[derive(Clone, Copy, Debug)]
pub struct Pace {
    pub age_max: Duration,
    pub retry_min: Duration,
}

pub struct FileFetch(pub PathBuf);

impl Fetch for FileFetch {
    fn fetch(&self) -> io::Result<Vec<u8>> {
        std::fs::read(&self.0)
    }

    fn pace(&self) -> Pace {
        Pace { age_max: Duration::from_secs(10), retry_min: Duration::from_secs(1) }
    }
}

pub struct UrlFetch(pub Uri);

impl Fetch for UrlFetch {
    fn fetch(&self) -> io::Result<Vec<u8>> {
        let proxy = proxy::towards(self.0.host().unwrap_or_default());
        let config = ureq::Agent::config_builder().timeout_global(Some(FETCH_TIMEOUT)).proxy(proxy).build();
        let mut answer = ureq::Agent::new_with_config(config).get(&self.0).call().map_err(io::Error::other)?;
        answer.body_mut().with_config().limit(SIZE_MAX_BYTES).read_to_vec().map_err(io::Error::other)
    }

    fn pace(&self) -> Pace {
        Pace { age_max: Duration::from_secs(600), retry_min: Duration::from_secs(60) }
    }
}

/// A key set that keeps itself fresh. While its source is away the last known keys go on counting.
pub struct Jwks {
    source: Arc<dyn Fetch>,
    keys: Mutex<Arc<[Key]>>,
    /// When the source was last asked, with whatever result. Held while asking: others do not ask meanwhile.
    asked: tokio::sync::Mutex<Option<Instant>>,
}

impl Jwks {
    /// A file is read at once, so that a mistake stops the start; a URL when the first token comes.
    pub fn open(place: &str) -> Result<Self, KeyError> {
        if place.starts_with("https://") || place.starts_with("http://") {
            let url: Uri = place.parse().map_err(|_| KeyError::NotAUrl)?;
            return Ok(Self::new(Arc::new(UrlFetch(url))));
        }
        let set = Self::new(Arc::new(FileFetch(place.into())));
        set.reload()?;
        Ok(set)
    }

    pub fn new(source: Arc<dyn Fetch>) -> Self {
        Self { source, keys: Mutex::new(Arc::new([])), asked: tokio::sync::Mutex::new(None) }
    }

    /// The keys that may have signed a token with this `kid`. Empty: we know of none, even after asking.
    pub async fn find(self: &Arc<Self>, id: Option<&str>) -> Vec<Key> {
        let pace = self.source.pace();
        self.ask(pace.age_max).await;
        let known = self.matching(id);
        if !known.is_empty() {
            return known;
        }
        self.ask(pace.retry_min).await;
        self.matching(id)
    }

    /// Whether there never was a set: then a token's key is not unknown, we are.
    pub fn is_empty(&self) -> bool {
        self.known().is_empty()
    }

    fn matching(&self, id: Option<&str>) -> Vec<Key> {
        let known = self.known();
        // Without a `kid` every key may be meant; publishers with a single key often leave it out.
        known.iter().filter(|key| id.is_none() || key.id.as_deref() == id).cloned().collect()
    }

    fn known(&self) -> Arc<[Key]> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn ask(self: &Arc<Self>, age_max: Duration) {
        // Whoever finds somebody asking goes on with what is known, unless nothing is.
        let mut asked = match self.asked.try_lock() {
            Ok(asked) => asked,
            Err(_) if !self.is_empty() => return,
            Err(_) => self.asked.lock().await,
        };
        if asked.is_some_and(|at| at.elapsed() < age_max) {
            return;
        }
        *asked = Some(Instant::now());
        let set = Arc::clone(self);
        match tokio::task::spawn_blocking(move || set.reload()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(error = chain(&error), "the key set could not be refreshed"),
            Err(error) => tracing::warn!(%error, "the key set could not be refreshed"),
        }
    }

    fn reload(&self) -> Result<(), KeyError> {
        let json = self.source.fetch().map_err(KeyError::UnreadableSet)?;
        let keys = Key::from_set(&json)?;
        *self.keys.lock().unwrap_or_else(PoisonError::into_inner) = keys.into();
        Ok(())
    }
}

impl fmt::Debug for Jwks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Jwks({} keys)", self.known().len())
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    const SET: &str =
        r#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"one","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;

    /// Answers the first time only.
    struct Failing {
        asked: AtomicUsize,
        pace: Pace,
    }

    impl Failing {
        fn new(age_max: Duration, retry_min: Duration) -> Arc<Self> {
            Arc::new(Self { asked: AtomicUsize::new(0), pace: Pace { age_max, retry_min } })
        }
    }

    impl Fetch for Failing {
        fn fetch(&self) -> io::Result<Vec<u8>> {
            match self.asked.fetch_add(1, Ordering::SeqCst) {
                0 => Ok(SET.into()),
                _ => Err(io::Error::other("away")),
            }
        }

        fn pace(&self) -> Pace {
            self.pace
        }
    }

    #[tokio::test]
    async fn a_flood_of_unknown_keys_asks_the_source_once_a_while() {
        let source = Failing::new(Duration::from_secs(600), Duration::from_secs(60));
        let set = Arc::new(Jwks::new(source.clone()));
        for _ in 0..100 {
            assert!(set.find(Some("other")).await.is_empty());
        }
        assert_eq!(source.asked.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn known_keys_go_on_counting_while_their_source_is_away() {
        let source = Failing::new(Duration::ZERO, Duration::ZERO);
        let set = Arc::new(Jwks::new(source.clone()));
        assert_eq!(set.find(Some("one")).await.len(), 1);
        assert_eq!(set.find(Some("one")).await.len(), 1);
        assert_eq!(set.find(None).await.len(), 1);
        assert_eq!(source.asked.load(Ordering::SeqCst), 3);
    }
}
