use std::fmt;

use serde::{Deserialize, Serialize};

use super::Cursor;

/// Identifies one tenant's journal: 64 random bits, made with its first event.
///
/// Cursors of two journals can be equal. Without this number, a browser that keeps its `Last-Event-ID` while another
/// user signs in would count as a reader of the new user's journal, and would go on showing the old user's account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct JournalId(u64);

impl JournalId {
    /// For an event that is in no journal.
    pub const NONE: Self = Self(0);

    /// An id of these bits, which the caller draws at random.
    pub fn new(bits: u64) -> Self {
        Self(bits)
    }

    /// For an event that was stored before journals had a number: no reader can have its id.
    pub(super) fn random() -> Self {
        Self(rand::random())
    }
}

/// The `id` of an event on the stream: its journal and its position there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EventId {
    /// The journal that the event is in.
    pub journal: JournalId,
    /// Its position there.
    pub cursor: Cursor,
}

impl EventId {
    /// Reads what a client sent back as `Last-Event-ID`. `None` for anything that we cannot have written: the stream then
    /// begins with the present. An error would end the client's EventSource for good.
    pub fn parse(text: &str) -> Option<Self> {
        let (journal, cursor) = text.split_once('-')?;
        let id = Self { journal: JournalId(u64::from_str_radix(journal, 16).ok()?), cursor: Cursor::parse(cursor)? };
        (id.to_string() == text).then_some(id)
    }

    /// Whether this is the very next event after `other`.
    pub fn follows(&self, other: &Self) -> bool {
        self.journal == other.journal
            && self.cursor.epoch == other.cursor.epoch
            && Some(self.cursor.sequence) == other.cursor.sequence.checked_add(1)
    }

    /// Whether a reader that has seen `seen` has seen this event too. Cursors of two journals cannot be compared.
    pub fn is_seen_by(&self, seen: &Self) -> bool {
        self.journal == seen.journal && self.cursor <= seen.cursor
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{}", self.journal.0, self.cursor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(journal: u64, epoch: u64, sequence: u64) -> EventId {
        EventId { journal: JournalId(journal), cursor: Cursor { epoch, sequence } }
    }

    #[test]
    fn event_id_parses_only_what_it_wrote() {
        let written = id(0xfeed, 0xbeef, 42).to_string();
        assert_eq!(written, "000000000000feed-beef-42");
        assert_eq!(EventId::parse(&written), Some(id(0xfeed, 0xbeef, 42)));
        for other in ["", "-", "beef-42", "feed-beef-42", "000000000000FEED-beef-42", "000000000000feed-beef-042"] {
            assert_eq!(EventId::parse(other), None, "{other:?}");
        }
    }

    #[test]
    fn event_ids_of_two_journals_are_not_ordered() {
        assert!(id(1, 5, 3).follows(&id(1, 5, 2)) && !id(1, 5, 4).follows(&id(1, 5, 2)));
        assert!(!id(2, 5, 3).follows(&id(1, 5, 2)) && !id(1, 6, 3).follows(&id(1, 5, 2)));
        assert!(id(1, 5, 2).is_seen_by(&id(1, 5, 2)) && id(1, 5, 2).is_seen_by(&id(1, 6, 1)));
        assert!(!id(2, 5, 2).is_seen_by(&id(1, 5, 2)) && !id(1, 5, 3).is_seen_by(&id(1, 5, 2)));
    }
}
