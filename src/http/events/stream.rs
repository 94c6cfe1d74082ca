use std::{mem, pin::Pin, time::Duration};

use bytes::Bytes;
use futures_util::Stream;
use serde_json::json;
use tokio::time::{Instant, Sleep, sleep};
use tokio_util::sync::CancellationToken;

use super::{
    frame::{Frame, Name},
    places::Place,
    pulse::Beats,
    teller::Teller,
};
use crate::{
    clock::{SharedClock, Timestamp},
    store::Subscription,
};

/// One open response. Nothing runs for it: it is polled by the connection that it is written to, and dropped with it.
pub struct EventStream {
    /// The first write.
    pub opening: Option<String>,
    /// The second one, if the first does not hold everything that is known.
    pub present: String,
    pub subscription: Subscription,
    pub teller: Teller,
    pub clock: SharedClock,
    pub token_ends_at: Timestamp,
    pub beats: Beats,
    /// All end at once: that their readers do not come back together is the work of `retry:`, another one for each.
    pub drain: CancellationToken,
    /// Given back when the stream is dropped.
    pub _place: Place,
}

struct Running {
    stream: EventStream,
    token_end: Pin<Box<Sleep>>,
    /// Its last words are said.
    over: bool,
}

/// Time for a proxy to read the first write alone: two writes that it reads at once are one large write to it.
const SECOND_WRITE_AFTER: Duration = Duration::from_millis(50);

/// A tokio timer of many years overflows nothing, but a token may be valid until the end of time.
const SLEEP_MAX: Duration = Duration::from_secs(24 * 3600);

impl EventStream {
    pub fn into_stream(self) -> impl Stream<Item = Result<Bytes, std::convert::Infallible>> + Send + Sync {
        let token_end = Box::pin(sleep(self.token_left()));
        let running = Box::new(Running { stream: self, token_end, over: false });
        futures_util::stream::unfold(running, |mut running| async move {
            let bytes = running.next().await?;
            Some((Ok(bytes), running))
        })
    }

    fn token_left(&self) -> Duration {
        let left = self.token_ends_at.duration_since(self.clock.now());
        Duration::try_from(left).unwrap_or(Duration::ZERO).min(SLEEP_MAX)
    }
}

impl Running {
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(opening) = self.stream.opening.take() {
            return Some(opening.into());
        }
        if !self.stream.present.is_empty() {
            sleep(SECOND_WRITE_AFTER).await;
            return Some(mem::take(&mut self.stream.present).into());
        }
        while !self.over {
            tokio::select! {
                // The end comes first: a busy stream must not outlive its token.
                biased;
                () = &mut self.token_end => {
                    if let Some(goodbye) = self.expired() {
                        return Some(goodbye.into());
                    }
                    let left = self.stream.token_left();
                    self.token_end.as_mut().reset(Instant::now() + left);
                }
                () = self.stream.drain.cancelled() => return None,
                // `None`: this reader was too slow, or the store closes. It comes back with its cursor.
                update = self.stream.subscription.next() => {
                    let text = self.stream.teller.live(&update?, self.stream.clock.now());
                    if !text.is_empty() {
                        return Some(text.into());
                    }
                }
                beat = self.stream.beats.next() => {
                    let beat = beat?;
                    // The wall clock may have jumped where the timer has not: a laptop that slept, for one.
                    return Some(self.expired().map_or(beat, Bytes::from));
                }
            }
        }
        None
    }

    fn expired(&mut self) -> Option<String> {
        if self.stream.clock.now() < self.stream.token_ends_at {
            return None;
        }
        self.over = true;
        let mut text = String::new();
        Frame::new(Name::TokenExpired, &json!({})).write(None, &mut text);
        tracing::info!(tenant = %self.stream.teller.tenant(), "stream ended with its token for tenant");
        Some(text)
    }
}
