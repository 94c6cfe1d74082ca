use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{ConnectingReason, Cursor, EndReason, EventId, JournalId, Status, StatusBody, vocabulary};
use crate::clock::Timestamp;

/// A status with its position and time. Made by a store, in the step that saves and publishes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// The journal that it is in.
    #[serde(default = "JournalId::random")]
    pub journal: JournalId,
    /// Its position there.
    pub cursor: Cursor,
    /// When it was appended.
    pub at: Timestamp,
    /// Since when the status word has been the same: a new QR code does not restart it.
    pub since: Timestamp,
    /// The whole status.
    #[serde(deserialize_with = "vocabulary::status")]
    pub status: Status,
    /// Which parts differ from its predecessor.
    pub news: News,
}

/// Which parts of an event differ from its predecessor. It decides which events a live stream writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct News {
    /// The status itself.
    pub status: bool,
    /// The QR code, or the question of a passkey step: only the newest one is valid.
    pub qr: bool,
    /// The pairing code, or its refusal.
    pub pair: bool,
}

impl Event {
    /// The event that follows `previous` in a journal.
    pub fn after(previous: Option<&Event>, id: EventId, at: Timestamp, status: Status) -> Self {
        let EventId { journal, cursor } = id;
        let same_word = previous.filter(|p| p.status.word() == status.word());
        let since = same_word.map_or(at, |p| p.since);
        let news = News::between(same_word.map(|p| &p.status), &status);
        Self { journal, cursor, at, since, status, news }
    }

    /// Stands for an event that is stored and cannot be read here.
    pub fn unread(cursor: Cursor, at: Timestamp) -> Self {
        let status = Status::connecting(ConnectingReason::Moving, None);
        let news = News { status: true, qr: false, pair: false };
        Self { journal: JournalId::NONE, cursor, at, since: at, status, news }
    }

    /// Tells readers that nothing is kept of the tenant any more.
    pub fn never_linked(at: Timestamp) -> Self {
        Self::of_no_journal(EndReason::NeverLinked, at)
    }

    /// Tells readers that the tenant has rows that cannot be read, and that no session runs until they can.
    pub fn unreadable(at: Timestamp) -> Self {
        Self::of_no_journal(EndReason::CredentialsUnreadable, at)
    }

    fn of_no_journal(reason: EndReason, at: Timestamp) -> Self {
        let nowhere = Cursor { epoch: 0, sequence: 0 };
        Self { status: Status::ended(reason), ..Self::unread(nowhere, at) }
    }

    /// Its `id` on the stream.
    pub fn id(&self) -> EventId {
        EventId { journal: self.journal, cursor: self.cursor }
    }

    /// Whether a webhook is sent for it: the next code to pair with changes nothing for the back end.
    pub fn is_news_after(&self, previous: Option<&Event>) -> bool {
        previous.is_none_or(|previous| StatusBody::of_event(previous) != StatusBody::of_event(self))
    }
}

impl News {
    fn between(previous: Option<&Status>, status: &Status) -> Self {
        match (previous, status) {
            (Some(Status::QrPending { qr: old_qr, pair: old_pair }), Status::QrPending { qr, pair }) => Self {
                status: qr.pairing != old_qr.pairing,
                qr: qr != old_qr,
                // A page forgets the codes of another window.
                pair: pair.is_some() && (pair != old_pair || qr.pairing != old_qr.pairing),
            },
            (_, Status::QrPending { pair, .. }) => Self { status: true, qr: true, pair: pair.is_some() },
            (previous, status) => {
                let news = previous != Some(status);
                let asks = matches!(status, Status::Connecting { passkey: Some(_), .. });
                Self { status: news, qr: news && asks, pair: false }
            }
        }
    }
}

/// The current status for a reader: the newest event, and whether it is stale.
#[derive(Clone, Debug)]
pub struct Shown {
    /// The newest event.
    pub event: Arc<Event>,
    /// The store cannot be read now, or a status that needs a live owner has none. Computed, never stored.
    pub stale: bool,
}

impl Shown {
    /// The status to show: a stale `connected` is shown as `connecting`, reason `moving`.
    pub fn status(&self) -> Status {
        match &self.event.status {
            Status::Connected { account } if self.stale => {
                Status::connecting(ConnectingReason::Moving, Some(account.clone()))
            }
            status => status.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::{PairCode, PairingId, PhoneNumber, QrCode};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn id(sequence: u64) -> EventId {
        EventId { journal: JournalId::new(7), cursor: Cursor { epoch: 1, sequence } }
    }

    fn qr(text: &str, expires: i64) -> Status {
        Status::QrPending { qr: QrCode::new(text.into(), at(expires), 1, 6, PairingId::new(1)).unwrap(), pair: None }
    }

    #[test]
    fn new_qr_code_changes_the_code_and_not_the_status() {
        let first = Event::after(None, id(1), at(10), qr("a", 70));
        let second = Event::after(Some(&first), id(2), at(70), qr("b", 90));
        assert_eq!(first.news, News { status: true, qr: true, pair: false });
        assert_eq!(second.news, News { status: false, qr: true, pair: false });
        assert_eq!(second.since, at(10));
        assert!(first.is_news_after(None) && !second.is_news_after(Some(&first)));
    }

    #[test]
    fn status_word_change_restarts_since() {
        let first = Event::after(None, id(1), at(10), qr("a", 70));
        let ended = Event::after(Some(&first), id(2), at(170), Status::ended(EndReason::QrExpired));
        assert_eq!(ended.since, at(170));
        assert!(ended.news.status);
    }

    /// The page forgets the codes of the window before, this one included.
    #[test]
    fn pair_code_is_news_again_in_another_window() {
        let phone = PhoneNumber::parse("6281234567890").unwrap();
        let pair = PairCode { code: "ABCD-1234".into(), phone, expires_at: at(200), lifetime: None };
        let status = |window| {
            let qr = QrCode::new("a".into(), at(70), 1, 6, PairingId::new(window)).unwrap();
            Status::QrPending { qr, pair: Some(pair.clone()) }
        };
        let first = Event::after(None, id(1), at(10), status(1));
        let second = Event::after(Some(&first), id(2), at(70), status(2));
        assert_eq!(second.news, News { status: true, qr: true, pair: true });
    }

    #[test]
    fn first_code_of_another_window_is_news_of_the_status() {
        let other = QrCode::new("b".into(), at(90), 1, 6, PairingId::new(2)).unwrap();
        let first = Event::after(None, id(1), at(10), qr("a", 70));
        let second = Event::after(Some(&first), id(2), at(70), Status::QrPending { qr: other, pair: None });
        assert_eq!(second.news, News { status: true, qr: true, pair: false });
    }
}
