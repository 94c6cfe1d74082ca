use tokio::time::Instant;

use super::NOWHERE;
use crate::{
    events::{Cursor, Shown},
    store::redis::reading::Reading,
};

/// Where a reading for all readers of a tenant begins.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ReadFrom {
    pub cursor: Option<Cursor>,
    pub(super) doubted: u64,
}

/// A tenant that has readers here, or had them a moment ago.
pub struct Watched {
    /// The channel is subscribed.
    pub listening: bool,
    pub told: Told,
    /// Where telling began: what came before was read by those who were there, and never told.
    pub began: Option<Cursor>,
    pub reader: Reader,
    /// Something arrived that is not told, since somebody was reading.
    pub again: bool,
    /// The present as readers here know it.
    pub shown: Option<Shown>,
    /// Since when nobody stands behind what is shown and readers here were not told so.
    pub unattended: Option<Instant>,
    pub owner: Option<String>,
    pub deserted: Option<Instant>,
    /// How many readers began in doubt.
    pub doubted: u64,
}

/// Who reads the tenant now, and will tell what is found: what arrives meanwhile is only a reason to read again.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Reader {
    Nobody,
    /// The stream that opens: its reading is where telling begins.
    First,
    Task,
}

/// Up to where every reader here has been told.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// Nothing has been read yet.
    Unknown,
    /// Nothing has been read yet. Readers in doubt claim to have seen the events up to here, or more. Another reader may
    /// have seen less, so the claim counts only until something is read.
    Claimed(Cursor),
    Nothing,
    UpTo(Cursor),
}

impl Told {
    /// Where the next reading for all begins. `None`: with the newest event alone.
    pub fn cursor(self) -> Option<Cursor> {
        match self {
            Self::UpTo(cursor) | Self::Claimed(cursor) => Some(cursor),
            // Every event is news. With the newest alone, a stream that has read an earlier one would miss some between.
            Self::Nothing => Some(NOWHERE),
            Self::Unknown => None,
        }
    }

    /// A reader comes in doubt that claims to have seen the events up to `after`.
    pub fn claimed(self, after: Cursor) -> Self {
        match self {
            Self::UpTo(cursor) => Self::UpTo(cursor.min(after)),
            Self::Claimed(cursor) => Self::Claimed(cursor.min(after)),
            Self::Unknown => Self::Claimed(after),
            Self::Nothing => Self::Nothing,
        }
    }
}

impl From<Option<Cursor>> for Told {
    fn from(cursor: Option<Cursor>) -> Self {
        cursor.map_or(Self::Nothing, Self::UpTo)
    }
}

impl Default for Watched {
    fn default() -> Self {
        Self {
            listening: false,
            told: Told::Unknown,
            began: None,
            reader: Reader::First,
            again: false,
            shown: None,
            unattended: None,
            owner: None,
            deserted: None,
            doubted: 0,
        }
    }
}

impl Watched {
    pub fn read_from(&self) -> ReadFrom {
        ReadFrom { cursor: self.told.cursor(), doubted: self.doubted }
    }

    /// Telling begins with this reading.
    pub fn begin(&mut self, newest: Option<Cursor>) {
        self.told = match (self.told, newest) {
            // The task publishes from the claim on. No other reader has received the events that a claim names beyond
            // this reading.
            (Told::Claimed(claimed), Some(newest)) => Told::UpTo(claimed.min(newest)),
            (Told::Claimed(_) | Told::Unknown | Told::Nothing | Told::UpTo(_), newest) => newest.into(),
        };
        self.began = newest;
    }

    /// The reading is done. True: a task has to read again.
    pub fn read_on(&mut self) -> bool {
        let again = std::mem::take(&mut self.again);
        self.reader = if again { Reader::Task } else { Reader::Nobody };
        again
    }

    /// True: the caller has to read it; otherwise who reads it does so again.
    pub fn suspect(&mut self) -> bool {
        if self.reader != Reader::Nobody {
            self.again = true;
            return false;
        }
        self.reader = Reader::Task;
        true
    }

    pub fn know(&mut self, reading: &Reading) {
        self.shown = reading.shown();
        self.unattended = self.unattended.filter(|_| self.shown.as_ref().is_some_and(|shown| shown.stale));
        self.owner = reading.record.owner.as_ref().filter(|_| reading.living).map(|owner| owner.incarnation.clone());
    }
}
