use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use futures::FutureExt as _;
use tokio::{sync::Notify, time::Instant};

use super::owner_message::OwnerMessage;

/// A user's message is for the link whose question the user sees: it is dropped with that link, or after this time.
const MESSAGE_AGE_MAX: Duration = Duration::from_secs(60);

/// Messages that wait for one session. The oldest is dropped first: the newest is what the user means.
const MESSAGES_MAX: usize = 8;

/// How a running session is reached: a notification makes it read its desired state and take its messages.
#[derive(Default)]
pub(super) struct Mailbox {
    notification: Notify,
    messages: Mutex<VecDeque<(Instant, OwnerMessage)>>,
}

impl Mailbox {
    pub fn notify(&self) {
        self.notification.notify_one();
    }

    /// Cancel safe.
    pub async fn notified(&self) {
        self.notification.notified().await;
    }

    pub fn deliver(&self, answer: OwnerMessage) {
        let mut messages = self.messages.lock().unwrap_or_else(PoisonError::into_inner);
        if messages.len() == MESSAGES_MAX {
            messages.pop_front();
        }
        messages.push_back((Instant::now(), answer));
        drop(messages);
        self.notify();
    }

    /// Whether it was notified since the last look. Clears the notification.
    pub fn take_notification(&self) -> bool {
        self.notification.notified().now_or_never().is_some()
    }

    /// The messages since the last call that are not too old.
    pub fn take_messages(&self) -> Vec<OwnerMessage> {
        let received = std::mem::take(&mut *self.messages.lock().unwrap_or_else(PoisonError::into_inner));
        let now = Instant::now();
        let fresh = received.into_iter().filter(|(at, _)| now.duration_since(*at) < MESSAGE_AGE_MAX);
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

    fn confirmed() -> OwnerMessage {
        let step = PasskeyStep::Compare { code: "ABCD-1234".into() };
        let (expires_at, pairing) = (Timestamp::UNIX_EPOCH, PairingId::new(1));
        OwnerMessage::new(&Passkey { step, expires_at, lifetime: None, pairing }, PasskeyAnswer::Confirmed)
    }

    #[tokio::test(start_paused = true)]
    async fn message_older_than_a_minute_is_dropped() {
        let mailbox = Mailbox::default();
        mailbox.deliver(confirmed());
        mailbox.notified().await;
        tokio::time::advance(MESSAGE_AGE_MAX).await;
        mailbox.deliver(confirmed());
        assert_eq!(mailbox.take_messages().len(), 1);
        assert!(mailbox.take_messages().is_empty(), "each is taken once");
    }

    #[tokio::test]
    async fn mailbox_keeps_at_most_its_limit_of_messages() {
        let mailbox = Mailbox::default();
        (0..10 * MESSAGES_MAX).for_each(|_| mailbox.deliver(confirmed()));
        assert_eq!(mailbox.take_messages().len(), MESSAGES_MAX);
    }
}
