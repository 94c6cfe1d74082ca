use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// A wave without another occurrence for this long is over.
const QUIET: Duration = Duration::from_secs(60);

/// Logs something that comes in waves: one line when a wave begins and one when it is over. With a line for each
/// occurrence, a client that can cause them could fill the disk.
#[derive(Debug, Default)]
pub struct Episode(Mutex<Option<Wave>>);

#[derive(Debug)]
struct Wave {
    last: Instant,
    times: u64,
}

impl Episode {
    /// True: this occurrence begins a wave.
    pub fn add(&self) -> bool {
        let (mut wave, now) = (self.0.lock().unwrap_or_else(PoisonError::into_inner), Instant::now());
        match &mut *wave {
            Some(wave) => {
                (wave.last, wave.times) = (now, wave.times + 1);
                false
            }
            None => {
                *wave = Some(Wave { last: now, times: 1 });
                true
            }
        }
    }

    /// How often it happened in a wave that is over. Once for each wave.
    pub fn over(&self) -> Option<u64> {
        let mut wave = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        wave.take_if(|wave| wave.last.elapsed() >= QUIET).map(|wave| wave.times)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn episode_begins_once_and_is_over_once() {
        let episode = Episode::default();
        assert_eq!(episode.over(), None);
        for _ in 0..2 {
            assert!(episode.add() && !episode.add());
            tokio::time::advance(QUIET - Duration::from_millis(1)).await;
            assert_eq!(episode.over(), None);
            assert!(!episode.add());
            tokio::time::advance(QUIET).await;
            assert_eq!((episode.over(), episode.over()), (Some(3), None));
        }
    }
}
