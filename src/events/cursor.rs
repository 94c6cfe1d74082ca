use std::fmt;

use serde::{Deserialize, Serialize};

/// An event's position in its tenant's journal. On the stream it follows the journal's number: see [`super::EventId`].
///
/// An epoch is one creation of a journal. Sequences of different epochs cannot be compared, so a reader with another
/// epoch begins with the current status. Within an epoch the sequence rises strictly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Cursor {
    /// The creation of the journal that it belongs to.
    pub epoch: u64,
    /// Counts from 1 within the epoch.
    pub sequence: u64,
}

impl Cursor {
    /// `None` for anything that `Display` cannot have written.
    pub fn parse(text: &str) -> Option<Self> {
        let (epoch, sequence) = text.split_once('-')?;
        let cursor = Self { epoch: u64::from_str_radix(epoch, 16).ok()?, sequence: sequence.parse().ok()? };
        (cursor.to_string() == text).then_some(cursor)
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}-{}", self.epoch, self.sequence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursor_parses_only_what_it_wrote() {
        let cursor = Cursor { epoch: 0xbeef, sequence: 42 };
        assert_eq!(Cursor::parse(&cursor.to_string()), Some(cursor));
        for other in
            ["", "-", "beef", "beef-", "-42", "BEEF-42", "beef-042", "+beef-42", "beef-42 ", "z-1", "beef-42-1"]
        {
            assert_eq!(Cursor::parse(other), None, "{other:?}");
        }
    }
}
