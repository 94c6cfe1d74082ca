use std::{
    collections::VecDeque,
    future::poll_fn,
    sync::Arc,
    task::{Context, Poll},
};

use super::hub::{Listener, Memo, Missed, Published};
use crate::events::{Cursor, Event, EventId, Shown};

/// What a reader receives.
#[derive(Clone, Debug)]
pub enum Update {
    /// An event, in order and none twice.
    Event(Arc<Event>),
    /// The current status again, outside the order and without a cursor: it became stale, or is no longer stale. If the
    /// status is stale when a subscription begins, this replaces the newest event. A reader that never saw the status
    /// as stale may receive one as well.
    Refresh(Shown),
}

/// One reader's view of a tenant's journal: the backlog, then what comes.
pub struct Subscription {
    backlog: VecDeque<Update>,
    /// Updates of one [`Published::Missed`] that wait to be returned.
    missed: VecDeque<Update>,
    /// `None` once it ended: after a gap, a reader that fell behind must not receive later updates.
    live: Option<Listener>,
    /// The reader needs no event up to this one: it has received them, or the backlog has them, or it has received a later
    /// status. A later epoch is a higher one.
    seen: Option<Cursor>,
    /// The last update was a refresh, and it did not confirm the newest event that the reader has seen.
    stale: bool,
    /// The last event id of the reader, which the store has not checked yet. It is compared within its own journal
    /// only.
    claimed: Option<EventId>,
}

impl Subscription {
    /// `seen`: the newest event that the backlog covers.
    pub(in crate::store) fn new(
        backlog: impl IntoIterator<Item = Update>,
        live: Listener,
        seen: Option<Cursor>,
    ) -> Self {
        let backlog: VecDeque<Update> = backlog.into_iter().collect();
        let stale = matches!(backlog.back(), Some(Update::Refresh(shown)) if shown.stale);
        Self { backlog, missed: VecDeque::new(), live: Some(live), seen, stale, claimed: None }
    }

    /// For a reader that comes while the store cannot be read.
    pub(in crate::store) fn stale(stale_update: Update, live: Listener, claimed: Option<EventId>) -> Self {
        Self { claimed, ..Self::new([stale_update], live, None) }
    }

    /// How many of the next updates were saved before the reader came: they are replayed, and may be out of date.
    pub fn backlog(&self) -> usize {
        self.backlog.len()
    }

    /// `None`: the reader fell too far behind, or the store closes; it stays so. The reader comes back with its cursor
    /// and misses nothing. Cancel safe.
    pub async fn next(&mut self) -> Option<Update> {
        poll_fn(|cx| self.poll_next_shared(cx)).await.map(|(update, _)| update)
    }

    /// [`Self::next`] with the memo that all readers of the update share; replayed updates have none. It is a poll
    /// function: a future would be a large part of the memory of an idle stream.
    pub fn poll_next_shared(&mut self, cx: &mut Context<'_>) -> Poll<Option<(Update, Option<Arc<Memo>>)>> {
        if let Some(update) = self.backlog.pop_front() {
            return Poll::Ready(Some((update, None)));
        }
        loop {
            let (update, memo) = match self.missed.pop_front() {
                Some(update) => (update, None),
                None => match self.live.as_mut().map_or(Poll::Ready(None), |live| live.poll_next(cx)) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Some(Published::One(update, memo))) => (update, Some(memo)),
                    Poll::Ready(Some(Published::Missed(missed))) => {
                        self.missed = self.not_claimed(&missed);
                        continue;
                    }
                    Poll::Ready(None) => {
                        self.live = None;
                        return Poll::Ready(None);
                    }
                },
            };
            match &update {
                Update::Refresh(shown) => {
                    if !shown.stale {
                        // If the reader has received nothing yet, it begins with this status, and needs all that follows.
                        self.seen = self.seen.max(Some(shown.event.cursor));
                    }
                    let newest = self.seen.max(self.claimed.map(|claimed| claimed.cursor));
                    self.stale = shown.stale || Some(shown.event.cursor) != newest;
                }
                Update::Event(event) => {
                    let delivered = self.seen.is_some_and(|seen| event.cursor <= seen);
                    if delivered || self.claimed.is_some_and(|claimed| event.id().is_seen_by(&claimed)) {
                        match self.newest_again(event) {
                            Some(refresh) if self.missed.is_empty() => return Poll::Ready(Some((refresh, None))),
                            // The next missed update replaces it.
                            Some(_) | None => continue,
                        }
                    }
                    (self.seen, self.stale) = (Some(event.cursor), false);
                }
            }
            return Poll::Ready(Some((update, memo)));
        }
    }

    /// A refresh for a reader that has seen this event, and has received a stale status or an older event since.
    /// Without this, the reader would show that status until the next event.
    fn newest_again(&mut self, event: &Arc<Event>) -> Option<Update> {
        let is_newest = match self.claimed {
            // It came with a later id: the event with that one is still to come.
            Some(claimed) if event.id().is_seen_by(&claimed) => claimed == event.id(),
            Some(_) | None => self.seen == Some(event.cursor),
        };
        (self.stale && is_newest).then(|| {
            self.stale = false;
            Update::Refresh(Shown { event: event.clone(), stale: false })
        })
    }

    /// Leaves out missed events that the reader's own id covers. Without this, a reader that has seen events of a new
    /// journal is shown older events of the journal before. With an id of another journal the reader gets the present alone.
    fn not_claimed(&mut self, missed: &Missed) -> VecDeque<Update> {
        let id = |update: &Update| match update {
            Update::Event(event) => Some(event.id()),
            Update::Refresh(_) => None,
        };
        let ids: Vec<Option<EventId>> = missed.updates.iter().map(id).collect();
        let Some(claimed) = self.claimed.filter(|_| ids.iter().flatten().chain(&missed.follows).next().is_some())
        else {
            return missed.updates.iter().cloned().collect();
        };
        let newest = match missed.updates.last() {
            Some(Update::Event(event)) => self.newest_again(event),
            Some(Update::Refresh(_)) | None => None,
        };
        // Compared once: events that are missed later may be of the next journal alone, and this reader needs all of
        // them.
        self.claimed = None;
        let begin = if ids.iter().flatten().chain(&missed.follows).any(|id| id.journal == claimed.journal) {
            // The id is of this tenant, and cursors rise from one journal to the next.
            self.seen = self.seen.max(Some(claimed.cursor));
            ids.iter().rposition(|id| id.is_some_and(|id| id.is_seen_by(&claimed))).map_or(0, |last| last + 1)
        } else if self.seen.is_some() {
            // It has begun with the present already. What it has seen of these is dropped like all else.
            0
        } else {
            ids.len().saturating_sub(1)
        };
        missed.updates[begin..].iter().cloned().chain(newest).collect()
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;
    use crate::{
        clock::Timestamp,
        events::{EndReason, JournalId, Status},
        store::hub::Hub,
        tenant::TenantId,
    };

    fn id(journal: u64, epoch: u64, sequence: u64) -> EventId {
        EventId { journal: JournalId::new(journal), cursor: Cursor { epoch, sequence } }
    }

    fn event(epoch: u64, sequence: u64) -> Update {
        event_of(7, epoch, sequence)
    }

    fn event_of(journal: u64, epoch: u64, sequence: u64) -> Update {
        let status = Status::ended(EndReason::Cancelled);
        Update::Event(Arc::new(Event::after(None, id(journal, epoch, sequence), Timestamp::UNIX_EPOCH, status)))
    }

    fn cursor(update: Option<Update>) -> Option<(u64, u64)> {
        match update? {
            Update::Event(event) => Some((event.cursor.epoch, event.cursor.sequence)),
            Update::Refresh(_) => None,
        }
    }

    /// A backend that reads its backlog after it joined the hub finds events in both.
    #[tokio::test]
    async fn backlog_event_is_not_delivered_again_when_published_live() {
        let (hub, tenant) = (Arc::new(Hub::default()), TenantId::parse("a").unwrap());
        let live = hub.join(&tenant);
        for update in [event(9, 1), event(9, 2), event(9, 3), event(12, 1), event(9, 3), event(12, 1), event(12, 2)] {
            hub.publish(&tenant, update);
        }
        let seen = Some(Cursor { epoch: 9, sequence: 2 });
        let mut subscription = Subscription::new([event(9, 1), event(9, 2)], live, seen);
        assert_eq!(subscription.backlog(), 2);
        for expected in [(9, 1), (9, 2), (9, 3), (12, 1), (12, 2)] {
            assert_eq!(cursor(subscription.next().await), Some(expected));
        }
    }

    /// A stream has read event 3 while the task that publishes to all readers has read event 2 alone.
    #[tokio::test]
    async fn reader_receives_the_newest_again_after_an_older_refresh() {
        let (hub, tenant) = (Arc::new(Hub::default()), TenantId::parse("a").unwrap());
        let live = hub.join(&tenant);
        let Update::Event(older) = event(9, 2) else { unreachable!("it is an event") };
        for update in [Update::Refresh(Shown { event: older, stale: false }), event(9, 2), event(9, 3), event(9, 3)] {
            hub.publish(&tenant, update);
        }
        let mut subscription = Subscription::new([event(9, 3)], live, Some(Cursor { epoch: 9, sequence: 3 }));
        let mut updates = Vec::new();
        while let Some(Some(update)) = subscription.next().now_or_never() {
            updates.push(match update {
                Update::Event(event) => ("event", event.cursor.sequence),
                Update::Refresh(shown) => ("refresh", shown.event.cursor.sequence),
            });
        }
        assert_eq!(updates, [("event", 3), ("refresh", 2), ("refresh", 3)]);
    }

    /// It came with another tenant's id while the store was away. Messages get lost after it was told the present.
    #[tokio::test]
    async fn reader_with_an_unknown_id_misses_nothing_once_it_has_begun() {
        let (hub, tenant) = (Arc::new(Hub::default()), TenantId::parse("a").unwrap());
        for begins_by_notice in [false, true] {
            let Update::Event(present) = event(9, 1) else { unreachable!("it is an event") };
            let stale_update = Update::Refresh(Shown { event: present.clone(), stale: true });
            let mut subscription = Subscription::stale(stale_update, hub.join(&tenant), Some(id(8, 99, 9)));
            let present = Update::Refresh(Shown { event: present, stale: false });
            hub.publish(&tenant, if begins_by_notice { present } else { event(9, 1) });
            hub.publish_missed(&tenant, Missed { follows: Some(id(7, 9, 1)), updates: vec![event(9, 2), event(9, 3)] });
            let mut updates = Vec::new();
            while let Some(Some(update)) = subscription.next().now_or_never() {
                if let Update::Event(event) = update {
                    updates.push(event.cursor.sequence);
                }
            }
            assert_eq!(updates.split_off(usize::from(!begins_by_notice)), [2, 3]);
        }
    }

    /// The reader has seen event 3 on another instance. This instance knew event 1, and read the others when the store
    /// came back.
    #[tokio::test]
    async fn stale_reader_that_has_seen_all_receives_a_fresh_status() {
        let (hub, tenant) = (Arc::new(Hub::default()), TenantId::parse("a").unwrap());
        let Update::Event(known) = event(9, 1) else { unreachable!("it is an event") };
        let stale_update = Update::Refresh(Shown { event: known, stale: true });
        let mut subscription = Subscription::stale(stale_update, hub.join(&tenant), Some(id(7, 9, 3)));
        hub.publish_missed(&tenant, Missed { follows: Some(id(7, 9, 1)), updates: vec![event(9, 2), event(9, 3)] });
        let mut updates = Vec::new();
        while let Some(Some(Update::Refresh(shown))) = subscription.next().now_or_never() {
            updates.push((shown.event.cursor.sequence, shown.stale));
        }
        assert_eq!(updates, [(1, true), (3, false)]);
    }

    /// The reader has seen event 3 on another instance. This instance reads event 2, whose message comes late, and
    /// event 3 in another reading.
    #[tokio::test]
    async fn stale_reader_is_not_confirmed_by_an_older_event() {
        let (hub, tenant) = (Arc::new(Hub::default()), TenantId::parse("a").unwrap());
        let Update::Event(known) = event(9, 2) else { unreachable!("it is an event") };
        let stale_update = Update::Refresh(Shown { event: known.clone(), stale: true });
        let mut subscription = Subscription::stale(stale_update, hub.join(&tenant), Some(id(7, 9, 3)));
        hub.publish(&tenant, Update::Refresh(Shown { event: known, stale: false }));
        hub.publish(&tenant, event(9, 2));
        hub.publish_missed(&tenant, Missed { follows: Some(id(7, 9, 2)), updates: vec![event(9, 3)] });
        let mut updates = Vec::new();
        while let Some(Some(Update::Refresh(shown))) = subscription.next().now_or_never() {
            updates.push((shown.event.cursor.sequence, shown.stale));
        }
        assert_eq!(updates, [(2, true), (2, false), (3, false)]);
    }

    /// Without this, a reader with another tenant's id receives no event once the store is back: that id may be above
    /// the ids of all events.
    #[tokio::test]
    async fn event_below_an_id_of_another_journal_is_delivered() {
        let (hub, tenant) = (Arc::new(Hub::default()), TenantId::parse("a").unwrap());
        let live = hub.join(&tenant);
        hub.publish(&tenant, event(9, 1));
        let stale_update = || event(0, 0);
        let mut subscription = Subscription::stale(stale_update(), live, Some(id(8, 99, 1)));
        assert_eq!(cursor(subscription.next().now_or_never().flatten()), Some((0, 0)));
        assert_eq!(cursor(subscription.next().now_or_never().flatten()), Some((9, 1)));
    }

    fn updates_of(missed: Missed, claimed: EventId) -> Vec<Option<(u64, u64)>> {
        let (hub, tenant) = (Arc::new(Hub::default()), TenantId::parse("a").unwrap());
        let mut subscription = Subscription::stale(event(0, 0), hub.join(&tenant), Some(claimed));
        hub.publish_missed(&tenant, missed);
        let mut updates = Vec::new();
        while let Some(Some(update)) = subscription.next().now_or_never() {
            updates.push(cursor(Some(update)));
        }
        updates.split_off(1)
    }

    /// Redis was restarted and began a journal, which the reader knows from another instance. This instance comes back
    /// and reads both journals.
    #[tokio::test]
    async fn missed_events_before_the_readers_own_id_are_left_out() {
        let missed = || Missed {
            follows: Some(id(7, 9, 3)),
            updates: vec![event_of(7, 9, 4), event_of(7, 9, 5), event_of(8, 12, 1), event_of(8, 12, 2)],
        };
        assert_eq!(updates_of(missed(), id(8, 12, 1)), [Some((12, 2))]);
        assert_eq!(updates_of(missed(), id(8, 12, 2)), []);
        assert_eq!(updates_of(missed(), id(7, 9, 4)), [Some((9, 5)), Some((12, 1)), Some((12, 2))]);
        let all = [Some((9, 4)), Some((9, 5)), Some((12, 1)), Some((12, 2))];
        assert_eq!(updates_of(missed(), id(7, 9, 3)), all, "the event before the first one is known");
        assert_eq!(updates_of(missed(), id(6, 12, 1)), [Some((12, 2))], "of another tenant, or lost with Redis");
    }

    /// Events that are missed after the reader's id was found are of the next journal alone: this reader receives them
    /// all.
    #[tokio::test]
    async fn reader_whose_id_was_found_receives_all_later_missed_events() {
        let (hub, tenant) = (Arc::new(Hub::default()), TenantId::parse("a").unwrap());
        let mut subscription = Subscription::stale(event(0, 0), hub.join(&tenant), Some(id(7, 9, 5)));
        let missed = |follows, updates| Missed { follows: Some(follows), updates };
        hub.publish_missed(&tenant, missed(id(7, 9, 3), vec![event_of(7, 9, 4)]));
        hub.publish(&tenant, event_of(7, 9, 5));
        hub.publish_missed(&tenant, missed(id(7, 9, 5), vec![event_of(8, 12, 1), event_of(8, 12, 2)]));
        hub.publish_missed(&tenant, missed(id(8, 12, 2), vec![event_of(8, 12, 3), event_of(8, 12, 4)]));
        let mut updates = Vec::new();
        while let Some(Some(update)) = subscription.next().now_or_never() {
            updates.extend(cursor(Some(update)));
        }
        assert_eq!(updates, [(0, 0), (12, 1), (12, 2), (12, 3), (12, 4)]);
    }

    /// A run of Redis that may have lost writes begins another journal. Events of the journal before must not follow
    /// events of the new one.
    #[tokio::test]
    async fn event_of_an_older_epoch_is_dropped_in_every_journal() {
        let (hub, tenant) = (Arc::new(Hub::default()), TenantId::parse("a").unwrap());
        let live = hub.join(&tenant);
        for update in [event_of(7, 9, 4), event_of(8, 12, 1), event_of(7, 9, 6), event_of(8, 12, 2)] {
            hub.publish(&tenant, update);
        }
        let mut subscription = Subscription::stale(event(0, 0), live, Some(id(7, 9, 5)));
        let mut updates = Vec::new();
        while let Some(Some(update)) = subscription.next().now_or_never() {
            updates.extend(cursor(Some(update)));
        }
        assert_eq!(updates, [(0, 0), (12, 1), (12, 2)]);
    }
}
