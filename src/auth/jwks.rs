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

    fn pace(&self) -> Pace;
}

#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// How old an answer may become before it is asked for again.
    pub age_max: Duration,
    /// How soon after an answer a token with an unknown key may ask.
    pub retry_min: Duration,
    /// How soon after a failure one may.
    pub failure_min: Duration,
}

/// None of the keys that are known is meant, and whoever publishes them could not be asked.
#[derive(Debug, PartialEq, Eq)]
pub struct Away;

pub struct FileFetch(pub PathBuf);

impl Fetch for FileFetch {
    fn fetch(&self) -> io::Result<Vec<u8>> {
        std::fs::read(&self.0)
    }

    fn pace(&self) -> Pace {
        let second = Duration::from_secs(1);
        Pace { age_max: 10 * second, retry_min: second, failure_min: second }
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
        let second = Duration::from_secs(1);
        Pace { age_max: 600 * second, retry_min: 60 * second, failure_min: 5 * second }
    }
}

/// A key set that keeps itself fresh. While its source is away the last known keys go on counting.
pub struct Jwks {
    source: Arc<dyn Fetch>,
    keys: Mutex<Arc<[Key]>>,
    /// Held while asking: others do not ask meanwhile.
    asked: tokio::sync::Mutex<Asked>,
}

/// How the source was asked last.
#[derive(Default)]
struct Asked {
    at: Option<Instant>,
    failed: bool,
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
        Self { source, keys: Mutex::new(Arc::new([])), asked: tokio::sync::Mutex::default() }
    }

    /// The keys that may have signed a token with this `kid`; none: there is no such key, and the source was asked.
    pub async fn find(self: &Arc<Self>, id: Option<&str>) -> Result<Vec<Key>, Away> {
        let pace = self.source.pace();
        // Whoever finds somebody asking goes on with what is known.
        if let Ok(mut asked) = self.asked.try_lock() {
            self.ask(&mut asked, pace.age_max).await;
        }
        let known = self.matching(id);
        if !known.is_empty() {
            return Ok(known);
        }
        // It may have been published since, and be in the answer that somebody else waits for.
        let mut asked = self.asked.lock().await;
        let age_max = if asked.failed { pace.failure_min } else { pace.retry_min };
        self.ask(&mut asked, age_max).await;
        let known = self.matching(id);
        if known.is_empty() && asked.failed { Err(Away) } else { Ok(known) }
    }

    fn matching(&self, id: Option<&str>) -> Vec<Key> {
        let known = self.known();
        // Without a `kid` every key may be meant; publishers with a single key often leave it out.
        known.iter().filter(|key| id.is_none() || key.id.as_deref() == id).cloned().collect()
    }

    fn known(&self) -> Arc<[Key]> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn ask(self: &Arc<Self>, asked: &mut Asked, age_max: Duration) {
        if asked.at.is_some_and(|at| at.elapsed() < age_max) {
            return;
        }
        // A caller that goes away meanwhile leaves a failure behind, and the next one asks soon.
        *asked = Asked { at: Some(Instant::now()), failed: true };
        let set = Arc::clone(self);
        match tokio::task::spawn_blocking(move || set.reload()).await {
            Ok(Ok(())) => asked.failed = false,
            Ok(Err(error)) => tracing::warn!(error = chain(&error), "the key set could not be refreshed"),
            Err(error) => tracing::warn!(%error, "the key set could not be refreshed"),
        }
        // Counted from its end: a source that hangs is not asked by everybody who waited, one after the other.
        asked.at = Some(Instant::now());
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
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    const SET: &str =
        r#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"one","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;

    const ROTATED: &str =
        r#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"two","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
    const SECOND: Duration = Duration::from_secs(1);

    /// Answers one after the other, then nothing; and not while it holds them back.
    struct Script {
        answers: &'static [Option<&'static str>],
        asked: AtomicUsize,
        pace: Pace,
        holds: AtomicBool,
    }

    impl Script {
        fn new(answers: &'static [Option<&'static str>], pace: [Duration; 3]) -> Arc<Self> {
            let [age_max, retry_min, failure_min] = pace;
            let pace = Pace { age_max, retry_min, failure_min };
            Arc::new(Self { answers, asked: AtomicUsize::new(0), pace, holds: AtomicBool::new(false) })
        }
    }

    impl Fetch for Script {
        fn fetch(&self) -> io::Result<Vec<u8>> {
            let number = self.asked.fetch_add(1, Ordering::SeqCst);
            while self.holds.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(1));
            }
            self.answers.get(number).copied().flatten().map(Into::into).ok_or_else(|| io::Error::other("away"))
        }

        fn pace(&self) -> Pace {
            self.pace
        }
    }

    #[tokio::test]
    async fn a_flood_of_unknown_keys_asks_the_source_once_a_while() {
        let source = Script::new(&[Some(SET)], [600 * SECOND, 60 * SECOND, SECOND]);
        let set = Arc::new(Jwks::new(source.clone()));
        for _ in 0..100 {
            assert!(set.find(Some("other")).await.unwrap().is_empty());
        }
        assert_eq!(source.asked.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn known_keys_go_on_counting_while_their_source_is_away() {
        let source = Script::new(&[Some(SET)], [Duration::ZERO; 3]);
        let set = Arc::new(Jwks::new(source.clone()));
        assert_eq!(set.find(Some("one")).await.unwrap().len(), 1);
        assert_eq!(set.find(Some("one")).await.unwrap().len(), 1);
        assert_eq!(set.find(None).await.unwrap().len(), 1);
        assert_eq!(source.asked.load(Ordering::SeqCst), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_is_not_unknown_while_the_source_cannot_be_asked_and_it_is_asked_again_soon() {
        let source = Script::new(&[Some(SET), None, Some(ROTATED)], [600 * SECOND, 60 * SECOND, 5 * SECOND]);
        let set = Arc::new(Jwks::new(source.clone()));
        assert_eq!(set.find(Some("one")).await.unwrap().len(), 1);
        tokio::time::advance(60 * SECOND).await;
        for _ in 0..10 {
            assert_eq!(set.find(Some("two")).await.unwrap_err(), Away);
            assert_eq!(set.find(Some("one")).await.unwrap().len(), 1, "what is known goes on counting");
        }
        assert_eq!(source.asked.load(Ordering::SeqCst), 2);
        tokio::time::advance(5 * SECOND).await;
        assert_eq!(set.find(Some("two")).await.unwrap().len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_key_is_known_to_all_who_come_while_it_is_fetched() {
        let source = Script::new(&[Some(SET), Some(ROTATED)], [600 * SECOND, 60 * SECOND, SECOND]);
        let set = Arc::new(Jwks::new(source.clone()));
        assert_eq!(set.find(Some("one")).await.unwrap().len(), 1);
        tokio::time::advance(60 * SECOND).await;
        source.holds.store(true, Ordering::SeqCst);
        // In this order: the second one comes before there is an answer.
        let answer = async { source.holds.store(false, Ordering::SeqCst) };
        let (first, second, ()) = tokio::join!(set.find(Some("two")), set.find(Some("two")), answer);
        assert_eq!((first.unwrap().len(), second.unwrap().len()), (1, 1));
        assert_eq!(source.asked.load(Ordering::SeqCst), 2);
    }
}
