use std::{collections::VecDeque, sync::Arc};

use tokio::sync::broadcast;

use crate::events::{Cursor, Event, Shown};

/// What a reader is told next.
#[derive(Clone, Debug)]
pub enum Update {
    /// An event, in order and none twice.
    Event(Arc<Event>),
    /// The present again, outside the order and without a cursor: it became stale, or is vouched for again.
    Notice(Shown),
}

/// One reader's view of a tenant's journal: the backlog, then what comes.
pub struct Subscription {
    backlog: VecDeque<Update>,
    live: broadcast::Receiver<Update>,
    /// Events at or below it were in the backlog: the hub was joined before the backlog was read.
    seen: Option<Cursor>,
}

impl Subscription {
    pub(in crate::store) fn new(
        backlog: impl IntoIterator<Item = Update>,
        live: broadcast::Receiver<Update>,
        seen: Option<Cursor>,
    ) -> Self {
        Self { backlog: backlog.into_iter().collect(), live, seen }
    }

    /// How many of the next updates were kept before the reader came: they are replayed, and may be out of date.
    pub fn backlog(&self) -> usize {
        self.backlog.len()
    }

    /// `None`: the reader fell too far behind, or the store closes. It comes back with its cursor and misses nothing.
    /// Cancel safe.
    pub async fn next(&mut self) -> Option<Update> {
        if let Some(update) = self.backlog.pop_front() {
            return Some(update);
        }
        loop {
            let update = self.live.recv().await.ok()?;
            match &update {
                Update::Event(event) if self.seen.is_some_and(|seen| event.cursor <= seen) => continue,
                Update::Event(event) => self.seen = Some(event.cursor),
                Update::Notice(_) => {}
            }
            return Some(update);
        }
    }
}
