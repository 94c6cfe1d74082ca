use futures::FutureExt as _;

use super::*;
use crate::{
    events::{ConnectingReason, EndReason, JournalId},
    store::{Subscription, redis::journal::record::Record},
};

fn reading(sequences: std::ops::RangeInclusive<u64>) -> Reading {
    let event = |sequence| {
        let cursor = Cursor { epoch: 7, sequence };
        Arc::new(Event { cursor, status: Status::ended(EndReason::Cancelled), ..unknown(Timestamp::UNIX_EPOCH) })
    };
    let events: Vec<_> = sequences.map(event).collect();
    let record = Record { newest: events.last().cloned(), ..Record::default() };
    Reading { record, is_owned: false, events, follows: None }
}

/// Watchers with one watched tenant that was not read yet, and the sender that changes the server's run.
fn watchers() -> (watch::Sender<String>, Watchers, TenantId) {
    let server = watch::Sender::new("first".to_owned());
    let (watchers, tenant) =
        (Watchers::new(Arc::default(), server.subscribe()), TenantId::parse("a").expect("a tenant"));
    watchers.is_listening(&tenant);
    (server, watchers, tenant)
}

/// True: the event does not follow the last one.
fn receives(watchers: &Watchers, server: &str, tenant: &TenantId, sequence: u64) -> bool {
    let event = (*reading(sequence..=sequence).events[0]).clone();
    watchers.receive(server, tenant, Some(Cursor { epoch: 7, sequence: sequence - 1 }), event, None)
}

fn subscribed(reading: Reading, joined: Joined) -> Subscription {
    let (backlog, seen) = reading.backlog();
    Subscription::new(backlog, joined.live, seen)
}

/// The sequence of the next event that has arrived; `None`: a refresh came.
fn next(reader: &mut Subscription) -> Option<u64> {
    match reader.next().now_or_never().flatten().expect("an update has arrived") {
        Update::Event(event) => Some(event.cursor.sequence),
        Update::Refresh(_) => None,
    }
}

/// Event 2 came between the two readings, and event 3 before the slow one was done.
#[test]
fn stream_overtaken_by_another_reading_reads_again() {
    let (_server, watchers, tenant) = watchers();
    let (slow, quick) = (watchers.join(&tenant), watchers.join(&tenant));
    let late = reading(1..=2);
    assert_eq!(watchers.based(&tenant, &late, &quick), Based::Well);
    assert!(!receives(&watchers, "first", &tenant, 3));
    assert_eq!(watchers.based(&tenant, &reading(1..=1), &slow), Based::Overtaken);
    let again = reading(1..=3);
    assert_eq!(watchers.based(&tenant, &again, &slow), Based::Well);
    assert!(!receives(&watchers, "first", &tenant, 4));
    for mut reader in [subscribed(again, slow), subscribed(late, quick)] {
        for sequence in 1..=4 {
            assert_eq!(next(&mut reader), Some(sequence));
        }
    }
}

/// Redis comes back with event 1 alone: 2 and 3 were published and lost, and the next one is of another epoch.
#[test]
fn lost_events_are_not_published_to_streams_that_read_later() {
    let (server, watchers, tenant) = watchers();
    let early = watchers.join(&tenant);
    assert_eq!(watchers.based(&tenant, &reading(1..=1), &early), Based::Well);
    let mut early = subscribed(reading(1..=1), early);
    let mut joined = watchers.join(&tenant);
    assert!(!receives(&watchers, "first", &tenant, 2), "joined, and has not read");
    server.send_replace("second".to_owned());
    let restored = || reading(1..=1);
    assert_eq!(watchers.based(&tenant, &restored(), &joined), Based::Gone);
    joined = watchers.join(&tenant);
    assert!(!receives(&watchers, "first", &tenant, 3), "a message of the earlier run");
    assert_eq!(watchers.based(&tenant, &restored(), &joined), Based::Well);
    let mut late = subscribed(restored(), joined);

    let (from, now) = (watchers.read_from(&tenant), Timestamp::UNIX_EPOCH);
    assert_eq!(from.cursor.map(|delivered| delivered.sequence), Some(2));
    assert!(watchers.suspect(&tenant));
    assert!(watchers.caught_up("first", &tenant, from, reading(1..=3), now), "read in the earlier run");
    assert!(!watchers.caught_up("second", &tenant, from, restored(), now));
    assert_eq!([next(&mut late), next(&mut late)], [Some(1), None]);
    let delivered = [next(&mut early), next(&mut early), next(&mut early)];
    assert_eq!(delivered, [Some(1), Some(2), None], "a reader that knows more receives the current status");
}

/// A stream has received events 1 and 2.
fn received_2() -> (watch::Sender<String>, Watchers, TenantId, Subscription) {
    let (server, watchers, tenant) = watchers();
    let joined = watchers.join(&tenant);
    assert_eq!(watchers.based(&tenant, &reading(1..=2), &joined), Based::Well);
    (server, watchers, tenant, subscribed(reading(1..=2), joined))
}

/// The same, and a task reads.
fn being_read_after_2() -> (watch::Sender<String>, Watchers, TenantId, Subscription) {
    let (server, watchers, tenant, reader) = received_2();
    assert!(watchers.suspect(&tenant));
    (server, watchers, tenant, reader)
}

/// The phone unlinks while a task reads. Its end removes the events before it, so the reading may find the end alone.
#[test]
fn events_that_arrive_during_a_reading_are_published() {
    for (found, missed) in [(3..=3, 0), (5..=5, 2)] {
        let (_server, watchers, tenant, mut reader) = being_read_after_2();
        let (from, now) = (watchers.read_from(&tenant), Timestamp::UNIX_EPOCH);
        for sequence in 3..=5 {
            assert!(!receives(&watchers, "first", &tenant, sequence));
        }
        assert!(!watchers.caught_up("first", &tenant, from, reading(found), now), "{missed} events are gone");
        for sequence in 1..=5 {
            assert_eq!(next(&mut reader), Some(sequence), "{missed} events are gone");
        }
        assert!(reader.next().now_or_never().is_none(), "once");
    }
}

/// The phone unlinks while the store is away. A reader that comes meanwhile knows an older event than the others, and no
/// reading can bring the events after it any more.
#[test]
fn older_assumption_hides_no_message_from_others() {
    let (_server, watchers, tenant, mut reader) = received_2();
    let seen = EventId { journal: JournalId::new(0), cursor: Cursor { epoch: 7, sequence: 1 } };
    let (_doubt, _live, reads) = watchers.join_stale(&tenant, Some(seen), Timestamp::UNIX_EPOCH);
    assert!(reads);
    for sequence in 3..=5 {
        assert!(!receives(&watchers, "first", &tenant, sequence));
    }
    let is_read_again = |_: &i32| {
        let from = watchers.read_from(&tenant);
        watchers.caught_up("first", &tenant, from, reading(5..=5), Timestamp::UNIX_EPOCH)
    };
    assert!((0..4).take_while(is_read_again).count() < 4, "it comes to rest");
    for sequence in 1..=5 {
        assert_eq!(next(&mut reader), Some(sequence));
    }
}

/// A reading has found event 3, and the messages of 3, 4 and 6 have arrived.
#[test]
fn reading_is_repeated_when_a_message_was_missed() {
    let (_server, watchers, tenant, mut reader) = being_read_after_2();
    let (from, now) = (watchers.read_from(&tenant), Timestamp::UNIX_EPOCH);
    for sequence in [3, 4, 6] {
        assert!(!receives(&watchers, "first", &tenant, sequence));
    }
    assert!(watchers.caught_up("first", &tenant, from, reading(3..=3), now));
    let from = watchers.read_from(&tenant);
    assert_eq!(from.cursor, Some(Cursor { epoch: 7, sequence: 4 }));
    assert!(!watchers.caught_up("first", &tenant, from, reading(5..=6), now));
    for sequence in 1..=6 {
        assert_eq!(next(&mut reader), Some(sequence));
    }
}

/// The instance reads while a reader comes who has seen event 5 elsewhere. What is being read may end before event 5.
#[test]
fn reading_is_repeated_when_a_stale_reader_joins() {
    let (_server, watchers, tenant) = watchers();
    let joined = watchers.join(&tenant);
    assert_eq!(watchers.based(&tenant, &reading(1..=1), &joined), Based::Well);
    assert!(watchers.suspect(&tenant));
    let (from, now) = (watchers.read_from(&tenant), Timestamp::UNIX_EPOCH);
    let seen = EventId { journal: JournalId::new(0), cursor: Cursor { epoch: 7, sequence: 5 } };
    let (doubt, live, reads) = watchers.join_stale(&tenant, Some(seen), now);
    assert!(!reads, "a task reads already");
    let mut reader = Subscription::stale(doubt, live, Some(seen));
    assert_eq!(next(&mut reader), None);
    assert!(watchers.caught_up("first", &tenant, from, reading(2..=3), now), "read again");
    let from = watchers.read_from(&tenant);
    assert!(!watchers.caught_up("first", &tenant, from, reading(2..=6), now));
    assert_eq!(next(&mut reader), Some(6));
}

#[test]
fn unowned_status_is_shown_as_stale_once() {
    let (_server, watchers, tenant) = watchers();
    let joined = watchers.join(&tenant);
    assert_eq!(watchers.based(&tenant, &reading(1..=1), &joined), Based::Well);
    let mut reader = subscribed(reading(1..=1), joined);
    assert_eq!(next(&mut reader), Some(1));
    let hear = |sequence, owner: Option<&str>| {
        let cursor = |sequence| Cursor { epoch: 7, sequence };
        let status = Status::connecting(ConnectingReason::Starting, None);
        let event = Event { cursor: cursor(sequence), status, ..unknown(Timestamp::UNIX_EPOCH) };
        assert!(!watchers.receive("first", &tenant, Some(cursor(sequence - 1)), event, owner.map(str::to_owned)));
    };
    let waits = |reader: &mut Subscription| reader.next().now_or_never().is_none();
    hear(2, None);
    assert_eq!(next(&mut reader), Some(2));
    watchers.mark_stale_unowned(Instant::now());
    assert!(waits(&mut reader), "an instance may be about to acquire it");
    let late = Instant::now() + ACQUIRED_WITHIN;
    watchers.mark_stale_unowned(late);
    assert!(matches!(reader.next().now_or_never(), Some(Some(Update::Refresh(shown))) if shown.stale));
    watchers.mark_stale_unowned(late);
    assert!(waits(&mut reader), "once");
    hear(3, None);
    hear(4, Some("owner"));
    watchers.mark_stale_unowned(late);
    assert_eq!([next(&mut reader), next(&mut reader)], [Some(3), Some(4)]);
    assert!(waits(&mut reader), "it was acquired");
    hear(5, None);
    watchers.not_delivering();
    assert_eq!([next(&mut reader), next(&mut reader)], [Some(5), None], "no message arrives any more");
}

/// A task reads event 1. Event 2 is appended, and a stream comes and reads it before the task publishes its reading.
#[test]
fn task_reads_again_when_a_stream_has_read_more() {
    let (_server, watchers, tenant) = watchers();
    let (early, late) = (watchers.join(&tenant), watchers.join(&tenant));
    assert_eq!(watchers.based(&tenant, &reading(1..=1), &early), Based::Well);
    assert!(watchers.suspect(&tenant));
    let (from, now) = (watchers.read_from(&tenant), Timestamp::UNIX_EPOCH);
    assert_eq!(watchers.based(&tenant, &reading(2..=2), &late), Based::Well, "a task reads already");
    assert!(watchers.caught_up("first", &tenant, from, reading(1..=1), now), "read again");
    let from = watchers.read_from(&tenant);
    assert!(!watchers.caught_up("first", &tenant, from, reading(2..=2), now));
    let later = watchers.join(&tenant);
    assert_eq!(watchers.based(&tenant, &reading(3..=3), &later), Based::Behind, "no task reads");
}

/// Redis is back: the stream that came meanwhile waits for a task, and the next stream reads before that task.
#[test]
fn stale_reader_gets_the_status_if_another_reads_first() {
    let (_server, watchers, tenant) = watchers();
    let now = Timestamp::UNIX_EPOCH;
    let (doubt, live, reads) = watchers.join_stale(&tenant, None, now);
    assert!(reads, "no task reads yet");
    let mut early = Subscription::stale(doubt, live, None);
    assert_eq!(next(&mut early), None, "stale");
    let joined = watchers.join(&tenant);
    assert_eq!(watchers.based(&tenant, &reading(1..=1), &joined), Based::Well);
    let mut late = subscribed(reading(1..=1), joined);
    assert_eq!(next(&mut late), Some(1));
    assert!(
        matches!(early.next().now_or_never(), Some(Some(Update::Refresh(shown))) if shown.event.cursor.sequence == 1)
    );
    let from = watchers.read_from(&tenant);
    assert!(!watchers.caught_up("first", &tenant, from, reading(2..=3), now));
    for reader in [&mut early, &mut late] {
        let delivered: Vec<_> = std::iter::from_fn(|| reader.next().now_or_never().flatten()).collect();
        assert!(matches!(delivered.as_slice(), [.., Update::Event(two), Update::Event(three)]
            if (two.cursor.sequence, three.cursor.sequence) == (2, 3)));
    }
}

/// A stream has read event 3. A reader begins stale and names event 5, and the stream's reading is looked at after it.
#[test]
fn assumption_of_a_stale_reader_hides_no_event_from_others() {
    let (_server, watchers, tenant) = watchers();
    let now = Timestamp::UNIX_EPOCH;
    let joined = watchers.join(&tenant);
    let seen = EventId { journal: JournalId::new(0), cursor: Cursor { epoch: 7, sequence: 5 } };
    let (_doubt, _live, reads) = watchers.join_stale(&tenant, Some(seen), now);
    assert!(reads);
    assert_eq!(watchers.based(&tenant, &reading(1..=3), &joined), Based::Well);
    let mut stream = subscribed(reading(1..=3), joined);
    let from = watchers.read_from(&tenant);
    assert_eq!(from.cursor, Some(Cursor { epoch: 7, sequence: 3 }));
    assert!(!watchers.caught_up("first", &tenant, from, reading(4..=6), now));
    for sequence in 1..=3 {
        assert_eq!(next(&mut stream), Some(sequence));
    }
    assert_eq!(next(&mut stream), None, "the current status");
    for sequence in 4..=6 {
        assert_eq!(next(&mut stream), Some(sequence));
    }
}

/// The first stream finds nothing, the second one event 1. The messages of 2 and 3 are lost.
#[test]
fn whole_journal_is_read_after_nothing_was_found() {
    let (_server, watchers, tenant) = watchers();
    let (early, late) = (watchers.join(&tenant), watchers.join(&tenant));
    let nothing = || Reading { record: Record::default(), is_owned: false, events: Vec::new(), follows: None };
    assert_eq!(watchers.based(&tenant, &nothing(), &early), Based::Well);
    assert_eq!(watchers.based(&tenant, &reading(1..=1), &late), Based::Behind);
    let from = watchers.read_from(&tenant);
    assert_eq!(from.cursor, Some(NOWHERE), "with the newest alone the second stream would miss event 2");
    assert!(!watchers.caught_up("first", &tenant, from, reading(1..=3), Timestamp::UNIX_EPOCH));
    for mut stream in [subscribed(nothing(), early), subscribed(reading(1..=1), late)] {
        for sequence in 1..=3 {
            assert_eq!(next(&mut stream), Some(sequence));
        }
    }
}
