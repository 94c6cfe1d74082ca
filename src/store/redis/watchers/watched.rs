use std::{collections::VecDeque, sync::Arc};

use tokio::time::Instant;

use crate::{
    events::{Cursor, Event, Shown},
    store::redis::journal::{read::Reading, record::is_pairing},
};

/// How a stream's own reading relates to what other streams have received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Based {
    Well,
    /// A message arrived meanwhile: the caller has to catch up.
    Behind,
    /// Another stream read later and was based first. The events between the two readings are not published: this stream has
    /// to read again.
    Overtaken,
    /// The stream has joined, or read, in an earlier run, and has to do both again.
    Gone,
}

/// The cursor before all events.
pub const NOWHERE: Cursor = Cursor { epoch: 0, sequence: 0 };

/// The journal keeps as many: a reading that missed more could not find them either.
const WAITING_MAX: usize = 32;

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
    pub delivered: Delivered,
    /// What all others had received when a reader came that had seen less, until the next event is published.
    pub before_assumption: Option<Cursor>,
    /// Where the publishing began. Earlier events were read by each stream itself, and never published.
    pub began: Option<Cursor>,
    pub reader: Reader,
    /// Another reading has to follow the one under way.
    pub again: bool,
    /// What arrived while a reading was under way, in its order, each with the run of the server that it is of. Without this, a
    /// reading would have to find it, and an unlink removes events before a reading that comes late.
    pub waiting: VecDeque<(String, Message)>,
    /// The current status as readers here know it.
    pub shown: Option<Shown>,
    /// Since when the status has no owner and readers here have not seen it as stale.
    pub unowned_since: Option<Instant>,
    pub owner: Option<String>,
    pub deserted: Option<Instant>,
    /// How many readers began stale.
    pub doubted: u64,
}

impl ReadFrom {
    /// The event at the cursor is not there any more, so there may have been others behind it.
    pub fn is_missed_by(&self, reading: &Reading) -> bool {
        let newest = reading.record.newest.as_ref().map(|newest| newest.cursor);
        reading.follows.is_none() && self.cursor.is_some_and(|cursor| cursor != NOWHERE && newest > Some(cursor))
    }
}

/// An event as a message brings it.
pub struct Message {
    /// The event before it.
    pub previous: Option<Cursor>,
    pub event: Arc<Event>,
    pub owner: Option<String>,
}

/// The position of a message after those that readers here have received.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum MessageOrder {
    Next,
    Known,
    /// An event before it was missed.
    Later,
}

/// Who reads the tenant now and publishes the result. A message that arrives meanwhile waits until that is done.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Reader {
    None,
    /// The stream that opens: with its reading the publishing begins.
    First,
    Task,
}

/// The newest event that every reader here has received.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Delivered {
    /// Nothing has been read yet.
    Unknown,
    /// Nothing has been read yet. Readers that began stale name an event up to which they have seen all, the oldest of them
    /// this one. Another reader may have seen less, so it counts only until something is read.
    Assumed(Cursor),
    Nothing,
    UpTo(Cursor),
}

impl Delivered {
    /// Where the next reading for all begins. `None`: with the newest event alone.
    pub fn cursor(self) -> Option<Cursor> {
        match self {
            Self::UpTo(cursor) | Self::Assumed(cursor) => Some(cursor),
            // Every event is news. With the newest alone, a stream that has read an earlier one would miss some between.
            Self::Nothing => Some(NOWHERE),
            Self::Unknown => None,
        }
    }

    /// A reader begins stale: assumes that it has seen the events up to `after`.
    pub fn assumed_up_to(self, after: Cursor) -> Self {
        match self {
            Self::UpTo(cursor) => Self::UpTo(cursor.min(after)),
            Self::Assumed(cursor) => Self::Assumed(cursor.min(after)),
            Self::Unknown => Self::Assumed(after),
            Self::Nothing => Self::Nothing,
        }
    }
}

impl From<Option<Cursor>> for Delivered {
    fn from(cursor: Option<Cursor>) -> Self {
        cursor.map_or(Self::Nothing, Self::UpTo)
    }
}

impl Default for Watched {
    fn default() -> Self {
        Self {
            listening: false,
            delivered: Delivered::Unknown,
            before_assumption: None,
            began: None,
            reader: Reader::First,
            again: false,
            waiting: VecDeque::new(),
            shown: None,
            unowned_since: None,
            owner: None,
            deserted: None,
            doubted: 0,
        }
    }
}

impl Watched {
    /// The owner of the pairing that readers here see, if it is one.
    pub fn paired_by(&self) -> Option<&String> {
        let is_pairing = self.shown.as_ref().is_some_and(|shown| is_pairing(&shown.event.status, false));
        self.owner.as_ref().filter(|_| is_pairing)
    }

    pub fn read_from(&self) -> ReadFrom {
        ReadFrom { cursor: self.delivered.cursor(), doubted: self.doubted }
    }

    /// The publishing begins with this reading.
    pub fn begin(&mut self, newest: Option<Cursor>) {
        self.delivered = match (self.delivered, newest) {
            // The task publishes from the assumption on. No other reader has received the events that it names beyond
            // this reading.
            (Delivered::Assumed(assumed), Some(newest)) => Delivered::UpTo(assumed.min(newest)),
            (Delivered::Assumed(_) | Delivered::Unknown | Delivered::Nothing | Delivered::UpTo(_), newest) => {
                newest.into()
            }
        };
        self.began = newest;
    }

    /// A reader begins stale: assumes that it has seen the events up to `after`.
    pub fn assume(&mut self, after: Cursor) {
        let assumed = self.delivered.assumed_up_to(after);
        if let Delivered::UpTo(delivered) = self.delivered
            && assumed != self.delivered
        {
            self.before_assumption = self.before_assumption.max(Some(delivered));
        }
        self.delivered = assumed;
    }

    /// A reading may begin after the events that only the reader of the assumption has not seen: an unlink has removed them. Then
    /// the messages that follow what all others have received are the next.
    pub fn give_up_assumption(&mut self, reading: &Reading) {
        let oldest = reading.events.first().map(|event| event.cursor);
        if let Some(delivered) = self.before_assumption.take_if(|delivered| oldest > Some(*delivered)) {
            self.delivered = Delivered::UpTo(delivered);
        }
    }

    /// Readers here have received the event.
    pub fn deliver(&mut self, newest: Option<Cursor>) {
        (self.delivered, self.before_assumption) = (newest.into(), None);
    }

    /// Keeps a message until the reading under way is done.
    pub fn wait(&mut self, server: &str, message: Message) {
        if self.waiting.len() == WAITING_MAX {
            self.waiting = VecDeque::new();
            self.again = true;
        }
        self.waiting.push_back((server.to_owned(), message));
    }

    pub fn order_of(&self, Message { previous, event, .. }: &Message) -> MessageOrder {
        if self.delivered == Delivered::from(*previous) {
            return MessageOrder::Next;
        }
        let is_known = |known: Cursor| known.epoch == event.cursor.epoch && event.cursor <= known;
        if self.delivered.cursor().is_some_and(is_known) { MessageOrder::Known } else { MessageOrder::Later }
    }

    /// The reading is done, and so are the messages that waited for it. True: a task has to read again.
    pub fn read_on(&mut self) -> bool {
        let again = std::mem::take(&mut self.again);
        self.reader = if again { Reader::Task } else { Reader::None };
        again
    }

    /// True: the caller has to read the tenant. False: the reading under way is repeated.
    pub fn suspect(&mut self) -> bool {
        if self.reader != Reader::None {
            self.again = true;
            return false;
        }
        self.reader = Reader::Task;
        true
    }

    pub fn know(&mut self, reading: &Reading) {
        self.shown = reading.shown();
        self.unowned_since = self.unowned_since.filter(|_| self.shown.as_ref().is_some_and(|shown| shown.stale));
        self.owner = reading.record.owner.as_ref().filter(|_| reading.is_owned).map(|owner| owner.incarnation.clone());
    }
}
