use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

use super::Request;

/// What a user says to a session has to be heard by the link that he sees: it dies with it, or after this.
const REQUEST_AGE_MAX: Duration = Duration::from_secs(60);

/// Clicks that wait for one session. The oldest gives way: the newest is what the user means.
const REQUESTS_MAX: usize = 8;

/// How a running session is reached: it reads its wish when this rings, and hears what was said to it.
#[derive(Default)]
pub(super) struct Bell {
    rings: Notify,
    requests: Mutex<VecDeque<(Instant, Request)>>,
}

impl Bell {
    pub fn notify_one(&self) {
        self.rings.notify_one();
    }

    /// Cancel safe.
    pub async fn notified(&self) {
        self.rings.notified().await;
    }

    pub fn tell(&self, request: Request) {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        if requests.len() == REQUESTS_MAX {
            requests.pop_front();
        }
        requests.push_back((Instant::now(), request));
        drop(requests);
        self.notify_one();
    }

    /// What was said since the last call and is still meant.
    pub fn requests(&self) -> Vec<Request> {
        let said = std::mem::take(&mut *self.requests.lock().unwrap_or_else(PoisonError::into_inner));
        let now = Instant::now();
        let fresh = said.into_iter().filter(|(at, _)| now.duration_since(*at) < REQUEST_AGE_MAX);
        fresh.map(|(_, request)| request).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::PasskeyAnswer;

    const CONFIRMED: Request = Request::Passkey(PasskeyAnswer::Confirmed);

    #[tokio::test(start_paused = true)]
    async fn what_was_said_too_long_ago_is_not_meant_any_more() {
        let bell = Bell::default();
        bell.tell(CONFIRMED);
        bell.notified().await;
        tokio::time::advance(REQUEST_AGE_MAX).await;
        bell.tell(CONFIRMED);
        assert_eq!(bell.requests().len(), 1);
        assert!(bell.requests().is_empty(), "each is heard once");
    }

    #[tokio::test]
    async fn a_button_pressed_for_ever_fills_nothing() {
        let bell = Bell::default();
        (0..10 * REQUESTS_MAX).for_each(|_| bell.tell(CONFIRMED));
        assert_eq!(bell.requests().len(), REQUESTS_MAX);
    }
}
