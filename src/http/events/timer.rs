use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::time::{Instant, Sleep, sleep_until};

/// The only timer of a stream. It exists only while it is set: in an idle stream it would take a seventh of the memory.
#[derive(Default)]
pub struct Timer(Option<Pin<Box<Sleep>>>);

impl Timer {
    pub fn set(&mut self, at: Instant) {
        match &mut self.0 {
            Some(sleep) => sleep.as_mut().reset(at),
            None => self.0 = Some(Box::pin(sleep_until(at))),
        }
    }

    pub fn clear(&mut self) {
        self.0 = None;
    }

    /// Pending for ever if it is not set. Cleared once it is ready.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(sleep) = &mut self.0 else { return Poll::Pending };
        ready!(sleep.as_mut().poll(cx));
        self.clear();
        Poll::Ready(())
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, time::Duration};

    use futures::FutureExt as _;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn timer_is_ready_once_at_the_last_time_that_was_set() {
        let (mut timer, start) = (Timer::default(), Instant::now());
        assert_eq!(poll_fn(|cx| timer.poll(cx)).now_or_never(), None, "it is not set");
        timer.set(start + Duration::from_secs(1));
        timer.set(start + Duration::from_secs(3));
        poll_fn(|cx| timer.poll(cx)).await;
        assert_eq!(start.elapsed().as_secs(), 3);
        assert_eq!(poll_fn(|cx| timer.poll(cx)).now_or_never(), None);
        timer.set(start);
        timer.clear();
        assert_eq!(poll_fn(|cx| timer.poll(cx)).now_or_never(), None);
    }
}
