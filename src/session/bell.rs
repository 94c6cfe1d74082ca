use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use futures::FutureExt as _;
use tokio::{sync::Notify, time::Instant};

use super::answer::Answer;

/// What a user says to a session has to be heard by the link that he sees: it dies with it, or after this.
const ANSWER_AGE_MAX: Duration = Duration::from_secs(60);

/// Clicks that wait for one session. The oldest gives way: the newest is what the user means.
const ANSWERS_MAX: usize = 8;

/// How a running session is reached: it reads its wish when this rings, and hears what was said to it.
#[derive(Default)]
pub(super) struct Bell {
    rings: Notify,
    answers: Mutex<VecDeque<(Instant, Answer)>>,
}

impl Bell {
    pub fn notify_one(&self) {
        self.rings.notify_one();
    }

    /// Cancel safe.
    pub async fn notified(&self) {
        self.rings.notified().await;
    }

    pub fn tell(&self, answer: Answer) {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        if answers.len() == ANSWERS_MAX {
            answers.pop_front();
        }
        answers.push_back((Instant::now(), answer));
        drop(answers);
        self.notify_one();
    }

    /// Rung since it was heard last. It is not rung any more.
    pub fn take_ring(&self) -> bool {
        self.rings.notified().now_or_never().is_some()
    }

    /// What was said since the last call and is still meant.
    pub fn answers(&self) -> Vec<Answer> {
        let said = std::mem::take(&mut *self.answers.lock().unwrap_or_else(PoisonError::into_inner));
        let now = Instant::now();
        let fresh = said.into_iter().filter(|(at, _)| now.duration_since(*at) < ANSWER_AGE_MAX);
        fresh.map(|(_, answer)| answer).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        clock::Timestamp,
        events::{PairingId, Passkey, PasskeyStep},
        session::PasskeyAnswer,
    };

    fn confirmed() -> Answer {
        let step = PasskeyStep::Compare { code: "ABCD-1234".into() };
        let (expires_at, pairing) = (Timestamp::UNIX_EPOCH, PairingId::new(1));
        Answer::new(&Passkey { step, expires_at, lifetime: None, pairing }, PasskeyAnswer::Confirmed)
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_said_too_long_ago_is_not_meant_any_more() {
        let bell = Bell::default();
        bell.tell(confirmed());
        bell.notified().await;
        tokio::time::advance(ANSWER_AGE_MAX).await;
        bell.tell(confirmed());
        assert_eq!(bell.answers().len(), 1);
        assert!(bell.answers().is_empty(), "each is heard once");
    }

    #[tokio::test]
    async fn a_button_pressed_for_ever_fills_nothing() {
        let bell = Bell::default();
        (0..10 * ANSWERS_MAX).for_each(|_| bell.tell(confirmed()));
        assert_eq!(bell.answers().len(), ANSWERS_MAX);
    }
}
