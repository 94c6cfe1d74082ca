use std::{
    io,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
};

use super::*;

const SET: &str =
    r#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"one","x":"mTbalCscyWPOwD1dVN-S7DRIBkflDoyfecVzaY1qlEI"}]}"#;
const ROTATED: &str =
    r#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"two","x":"mTbalCscyWPOwD1dVN-S7DRIBkflDoyfecVzaY1qlEI"}]}"#;
const SECOND: Duration = Duration::from_secs(1);

/// Answers one after the other, the last of them for ever; and not while it holds them back.
struct Script {
    answers: &'static [Option<&'static str>],
    asked: AtomicUsize,
    age_max: Duration,
    holds: AtomicBool,
}

impl Script {
    fn new(answers: &'static [Option<&'static str>], age_max: Duration) -> (Arc<Self>, Arc<Jwks>) {
        let source = Arc::new(Self { answers, asked: AtomicUsize::new(0), age_max, holds: AtomicBool::new(false) });
        (source.clone(), Arc::new(Jwks::new(source)))
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    fn hold(&self, holds: bool) {
        self.holds.store(holds, Ordering::SeqCst);
    }
}

impl Fetch for Script {
    fn fetch(&self) -> io::Result<Vec<u8>> {
        let number = self.asked.fetch_add(1, Ordering::SeqCst).min(self.answers.len() - 1);
        while self.holds.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(1));
        }
        self.answers[number].map(Into::into).ok_or_else(|| io::Error::other("away"))
    }

    fn pace(&self) -> Pace {
        Pace { age_max: self.age_max, unknown_every: 10 * SECOND }
    }
}

async fn finds(set: &Arc<Jwks>, id: &str) -> Result<usize, Away> {
    set.find(Some(id)).await.map(|keys| keys.len())
}

#[tokio::test(start_paused = true)]
async fn unknown_keys_fetch_three_times_and_then_every_10_s() {
    let (source, set) = Script::new(&[Some(SET)], 600 * SECOND);
    assert_eq!(finds(&set, "one").await, Ok(1));
    let start = Instant::now();
    for fetches in [2, 3, 4] {
        assert_eq!(finds(&set, "other").await, Ok(0));
        assert_eq!(source.asked(), fetches);
    }
    assert!(start.elapsed() < SECOND, "at once");
    for _ in 0..11 {
        assert_eq!(finds(&set, "other").await, Ok(0));
        assert_eq!(finds(&set, "one").await, Ok(1), "known keys do not wait");
        // Otherwise a wait ends at the very moment at which the next fetch may begin.
        tokio::time::advance(SECOND / 5).await;
    }
    assert!((50..60).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
    assert_eq!(source.asked(), 4 + 5);
}

#[tokio::test(start_paused = true)]
async fn key_published_after_a_made_up_one_is_found_at_once() {
    let (_, set) = Script::new(&[Some(SET), Some(SET), Some(ROTATED)], 600 * SECOND);
    assert_eq!(finds(&set, "one").await, Ok(1));
    let start = Instant::now();
    assert_eq!(finds(&set, "made up").await, Ok(0));
    assert_eq!(finds(&set, "two").await, Ok(1));
    assert!(start.elapsed() < SECOND);
}

#[tokio::test(start_paused = true)]
async fn request_waits_5_s_for_the_next_fetch() {
    let (source, set) = Script::new(&[Some(SET), Some(SET), Some(SET), Some(SET), Some(ROTATED)], 600 * SECOND);
    assert_eq!(finds(&set, "one").await, Ok(1));
    for _ in 0..3 {
        assert_eq!(finds(&set, "made up").await, Ok(0));
    }
    let start = Instant::now();
    assert_eq!(finds(&set, "two").await, Ok(0), "the bucket is empty");
    assert_eq!((start.elapsed().as_secs(), source.asked()), (5, 4));
    tokio::time::advance(SECOND).await;
    assert_eq!(finds(&set, "two").await, Ok(1), "one has come back meanwhile");
    assert_eq!(start.elapsed().as_secs(), 10);
}

#[tokio::test(start_paused = true)]
async fn key_is_not_unknown_while_its_publisher_is_away() {
    let (source, set) = Script::new(&[Some(SET), None, Some(ROTATED)], 600 * SECOND);
    assert_eq!(finds(&set, "one").await, Ok(1));
    assert_eq!(finds(&set, "two").await, Err(Away));
    assert_eq!(finds(&set, "one").await, Ok(1), "what is known goes on counting");
    assert_eq!(source.asked(), 2);
    assert_eq!(finds(&set, "two").await, Ok(1), "it is asked again at once");
}

#[tokio::test]
async fn known_keys_go_on_counting_while_their_publisher_is_away() {
    let (source, set) = Script::new(&[Some(SET), None], Duration::ZERO);
    assert_eq!(finds(&set, "one").await, Ok(1));
    assert_eq!(finds(&set, "one").await, Ok(1));
    assert_eq!(set.find(None).await.unwrap().len(), 1);
    assert_eq!(source.asked(), 3);
}

#[tokio::test]
async fn requests_that_come_during_a_fetch_share_the_next_one() {
    let (source, set) = Script::new(&[Some(SET)], 600 * SECOND);
    assert_eq!(finds(&set, "one").await, Ok(1));
    source.hold(true);
    // In this order: all but the first come before there is an answer.
    let answer = async { source.hold(false) };
    let all = futures::future::join_all((0..WAITING_MAX).map(|number| {
        let set = set.clone();
        async move { finds(&set, &format!("made up {number}")).await }
    }));
    let (found, ()) = tokio::join!(all, answer);
    assert!(found.iter().all(|found| *found == Ok(0)), "{found:?}");
    assert_eq!(source.asked(), 3, "the first, that of one of them, and one for all who came meanwhile");
}

#[tokio::test]
async fn request_beyond_64_waiting_ones_is_answered_at_once() {
    let (source, set) = Script::new(&[Some(SET)], 600 * SECOND);
    assert_eq!(finds(&set, "one").await, Ok(1));
    source.hold(true);
    let beyond = async {
        let answered = tokio::time::timeout(SECOND, finds(&set, "made up")).await;
        let known = finds(&set, "one").await;
        // Before anything may fail: the test could not end while the fetch hangs.
        source.hold(false);
        assert_eq!((answered, known), (Ok(Err(Away)), Ok(1)));
    };
    let all = futures::future::join_all((0..WAITING_MAX).map(|_| finds(&set, "other")));
    let (found, ()) = tokio::join!(all, beyond);
    assert!(found.iter().all(|found| *found == Ok(0)), "{found:?}");
}

/// The caller disconnected, which must not count as a failed fetch.
#[tokio::test]
async fn fetch_goes_on_when_its_request_is_cancelled() {
    let (source, set) = Script::new(&[Some(SET), Some(ROTATED)], 600 * SECOND);
    assert_eq!(finds(&set, "one").await, Ok(1));
    source.hold(true);
    let mut cancelled = Vec::new();
    for _ in 0..10 {
        cancelled.push(tokio::time::timeout(Duration::from_millis(20), finds(&set, "two")).await.is_err());
    }
    source.hold(false);
    assert_eq!(cancelled, [true; 10]);
    assert_eq!(finds(&set, "two").await, Ok(1));
    assert_eq!(source.asked(), 2);
}

#[tokio::test]
async fn request_waits_5_s_at_most_for_a_publisher_that_hangs() {
    let (source, set) = Script::new(&[Some(SET)], 600 * SECOND);
    source.hold(true);
    let start = Instant::now();
    let (first, second) = tokio::join!(finds(&set, "one"), finds(&set, "one"));
    let waited = start.elapsed().as_secs_f64();
    source.hold(false);
    assert_eq!((first, second), (Err(Away), Err(Away)));
    assert!((4.9..6.0).contains(&waited), "{waited}");
}
