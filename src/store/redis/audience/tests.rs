use futures::FutureExt as _;

use super::*;
use crate::{
    events::{ConnectingReason, EndReason, JournalId},
    store::{Subscription, redis::record::Record},
};

fn reading(sequences: std::ops::RangeInclusive<u64>) -> Reading {
    let event = |sequence| {
        let cursor = Cursor { epoch: 7, sequence };
        Arc::new(Event { cursor, status: Status::ended(EndReason::Cancelled), ..unknown(Timestamp::UNIX_EPOCH) })
    };
    let events: Vec<_> = sequences.map(event).collect();
    let record = Record { newest: events.last().cloned(), ..Record::default() };
    Reading { record, living: false, events, follows: None }
}

/// An audience with one tenant that is watched, as nobody has read it yet, and what changes its server.
fn audience() -> (watch::Sender<String>, Audience, TenantId) {
    let server = watch::Sender::new("first".to_owned());
    let (audience, tenant) =
        (Audience::new(Arc::default(), server.subscribe()), TenantId::parse("a").expect("a tenant"));
    audience.is_listening(&tenant);
    (server, audience, tenant)
}

/// True: it does not follow what was told.
fn tells(audience: &Audience, server: &str, tenant: &TenantId, sequence: u64) -> bool {
    let event = (*reading(sequence..=sequence).events[0]).clone();
    audience.hear(server, tenant, Some(Cursor { epoch: 7, sequence: sequence - 1 }), event, None)
}

fn subscribed(reading: Reading, joined: Joined) -> Subscription {
    let (backlog, seen) = reading.backlog();
    Subscription::new(backlog, joined.live, seen)
}

/// `None`: a notice.
fn next(reader: &mut Subscription) -> Option<u64> {
    match reader.next().now_or_never().flatten().expect("something is told") {
        Update::Event(event) => Some(event.cursor.sequence),
        Update::Refresh(_) => None,
    }
}

/// Event 2 came between the two readings, and event 3 before the slow one was done.
#[test]
fn a_stream_whose_reading_was_overtaken_by_another_ones_reads_again_and_misses_nothing() {
    let (_server, audience, tenant) = audience();
    let (slow, quick) = (audience.join(&tenant), audience.join(&tenant));
    let late = reading(1..=2);
    assert_eq!(audience.based(&tenant, &late, &quick), Based::Well);
    assert!(!tells(&audience, "first", &tenant, 3));
    assert_eq!(audience.based(&tenant, &reading(1..=1), &slow), Based::Overtaken);
    let again = reading(1..=3);
    assert_eq!(audience.based(&tenant, &again, &slow), Based::Well);
    assert!(!tells(&audience, "first", &tenant, 4));
    for mut reader in [subscribed(again, slow), subscribed(late, quick)] {
        for sequence in 1..=4 {
            assert_eq!(next(&mut reader), Some(sequence));
        }
    }
}

/// Redis comes back with event 1 alone: 2 and 3 were told and never were, and the next one is of another epoch.
#[test]
fn what_a_server_said_that_has_lost_it_is_told_to_nobody_who_has_read_since() {
    let (server, audience, tenant) = audience();
    let early = audience.join(&tenant);
    assert_eq!(audience.based(&tenant, &reading(1..=1), &early), Based::Well);
    let mut early = subscribed(reading(1..=1), early);
    let mut joined = audience.join(&tenant);
    assert!(!tells(&audience, "first", &tenant, 2), "joined, and has not read");
    server.send_replace("second".to_owned());
    let restored = || reading(1..=1);
    assert_eq!(audience.based(&tenant, &restored(), &joined), Based::Gone);
    joined = audience.join(&tenant);
    assert!(!tells(&audience, "first", &tenant, 3), "what was still on its way");
    assert_eq!(audience.based(&tenant, &restored(), &joined), Based::Well);
    let mut late = subscribed(restored(), joined);

    let (from, now) = (audience.read_from(&tenant), Timestamp::UNIX_EPOCH);
    assert_eq!(from.cursor.map(|told| told.sequence), Some(2));
    assert!(audience.suspect(&tenant));
    assert!(audience.caught_up("first", &tenant, from, reading(1..=3), now), "read at the server that is no more");
    assert!(!audience.caught_up("second", &tenant, from, restored(), now));
    assert_eq!([next(&mut late), next(&mut late)], [Some(1), None]);
    let told = [next(&mut early), next(&mut early), next(&mut early)];
    assert_eq!(told, [Some(1), Some(2), None], "whoever knows more is told the present");
}

/// The instance reads while a reader comes who has seen event 5 elsewhere. What is being read may end before event 5.
#[test]
fn reading_that_began_before_a_reader_in_doubt_is_repeated() {
    let (_server, audience, tenant) = audience();
    let joined = audience.join(&tenant);
    assert_eq!(audience.based(&tenant, &reading(1..=1), &joined), Based::Well);
    assert!(audience.suspect(&tenant));
    let (from, now) = (audience.read_from(&tenant), Timestamp::UNIX_EPOCH);
    let seen = EventId { journal: JournalId::new(0), cursor: Cursor { epoch: 7, sequence: 5 } };
    let (doubt, live, reads) = audience.doubted(&tenant, Some(seen), now);
    assert!(!reads, "a task reads already");
    let mut reader = Subscription::stale(doubt, live, Some(seen));
    assert_eq!(next(&mut reader), None);
    assert!(audience.caught_up("first", &tenant, from, reading(2..=3), now), "read again");
    let from = audience.read_from(&tenant);
    assert!(!audience.caught_up("first", &tenant, from, reading(2..=6), now));
    assert_eq!(next(&mut reader), Some(6));
}

#[test]
fn readers_are_told_once_that_nobody_came_to_stand_behind_what_was_said() {
    let (_server, audience, tenant) = audience();
    let joined = audience.join(&tenant);
    assert_eq!(audience.based(&tenant, &reading(1..=1), &joined), Based::Well);
    let mut reader = subscribed(reading(1..=1), joined);
    assert_eq!(next(&mut reader), Some(1));
    let hear = |sequence, owner: Option<&str>| {
        let cursor = |sequence| Cursor { epoch: 7, sequence };
        let status = Status::connecting(ConnectingReason::Starting, None);
        let event = Event { cursor: cursor(sequence), status, ..unknown(Timestamp::UNIX_EPOCH) };
        assert!(!audience.hear("first", &tenant, Some(cursor(sequence - 1)), event, owner.map(str::to_owned)));
    };
    let waits = |reader: &mut Subscription| reader.next().now_or_never().is_none();
    hear(2, None);
    assert_eq!(next(&mut reader), Some(2));
    audience.doubt_unattended(Instant::now());
    assert!(waits(&mut reader), "somebody may be about to take it");
    let late = Instant::now() + TAKEN_UP_WITHIN;
    audience.doubt_unattended(late);
    assert!(matches!(reader.next().now_or_never(), Some(Some(Update::Refresh(shown))) if shown.stale));
    audience.doubt_unattended(late);
    assert!(waits(&mut reader), "once");
    hear(3, None);
    hear(4, Some("owner"));
    audience.doubt_unattended(late);
    assert_eq!([next(&mut reader), next(&mut reader)], [Some(3), Some(4)]);
    assert!(waits(&mut reader), "it was taken");
    hear(5, None);
    audience.not_delivering();
    assert_eq!([next(&mut reader), next(&mut reader)], [Some(5), None], "nothing more can be heard of it");
}

/// A task reads event 1. Event 2 is said, and a stream comes and reads it before the task tells what it has read.
#[test]
fn task_reads_again_when_a_stream_has_read_more() {
    let (_server, audience, tenant) = audience();
    let (early, late) = (audience.join(&tenant), audience.join(&tenant));
    assert_eq!(audience.based(&tenant, &reading(1..=1), &early), Based::Well);
    assert!(audience.suspect(&tenant));
    let (from, now) = (audience.read_from(&tenant), Timestamp::UNIX_EPOCH);
    assert_eq!(audience.based(&tenant, &reading(2..=2), &late), Based::Well, "a task reads already");
    assert!(audience.caught_up("first", &tenant, from, reading(1..=1), now), "read again");
    let from = audience.read_from(&tenant);
    assert!(!audience.caught_up("first", &tenant, from, reading(2..=2), now));
    let later = audience.join(&tenant);
    assert_eq!(audience.based(&tenant, &reading(3..=3), &later), Based::Behind, "nobody reads");
}

/// Redis is back: the stream that came meanwhile waits for a task, and the next stream reads before that task.
#[test]
fn reader_in_doubt_gets_the_present_if_another_reads_first() {
    let (_server, audience, tenant) = audience();
    let now = Timestamp::UNIX_EPOCH;
    let (doubt, live, reads) = audience.doubted(&tenant, None, now);
    assert!(reads, "nobody reads yet");
    let mut early = Subscription::stale(doubt, live, None);
    assert_eq!(next(&mut early), None, "the doubt");
    let joined = audience.join(&tenant);
    assert_eq!(audience.based(&tenant, &reading(1..=1), &joined), Based::Well);
    let mut late = subscribed(reading(1..=1), joined);
    assert_eq!(next(&mut late), Some(1));
    assert!(
        matches!(early.next().now_or_never(), Some(Some(Update::Refresh(shown))) if shown.event.cursor.sequence == 1)
    );
    let from = audience.read_from(&tenant);
    assert!(!audience.caught_up("first", &tenant, from, reading(2..=3), now));
    for reader in [&mut early, &mut late] {
        let told: Vec<_> = std::iter::from_fn(|| reader.next().now_or_never().flatten()).collect();
        assert!(matches!(told.as_slice(), [.., Update::Event(two), Update::Event(three)]
            if (two.cursor.sequence, three.cursor.sequence) == (2, 3)));
    }
}

/// A stream has read event 3. A reader in doubt comes that claims event 5, and the stream's reading is looked at after it.
#[test]
fn claim_of_a_reader_in_doubt_hides_no_event_from_others() {
    let (_server, audience, tenant) = audience();
    let now = Timestamp::UNIX_EPOCH;
    let joined = audience.join(&tenant);
    let seen = EventId { journal: JournalId::new(0), cursor: Cursor { epoch: 7, sequence: 5 } };
    let (_doubt, _live, reads) = audience.doubted(&tenant, Some(seen), now);
    assert!(reads);
    assert_eq!(audience.based(&tenant, &reading(1..=3), &joined), Based::Well);
    let mut stream = subscribed(reading(1..=3), joined);
    let from = audience.read_from(&tenant);
    assert_eq!(from.cursor, Some(Cursor { epoch: 7, sequence: 3 }));
    assert!(!audience.caught_up("first", &tenant, from, reading(4..=6), now));
    for sequence in 1..=3 {
        assert_eq!(next(&mut stream), Some(sequence));
    }
    assert_eq!(next(&mut stream), None, "the present");
    for sequence in 4..=6 {
        assert_eq!(next(&mut stream), Some(sequence));
    }
}

/// The first stream finds nothing, the second one event 1. The messages of 2 and 3 are lost.
#[test]
fn whole_journal_is_read_after_nothing_was_found() {
    let (_server, audience, tenant) = audience();
    let (early, late) = (audience.join(&tenant), audience.join(&tenant));
    let nothing = || Reading { record: Record::default(), living: false, events: Vec::new(), follows: None };
    assert_eq!(audience.based(&tenant, &nothing(), &early), Based::Well);
    assert_eq!(audience.based(&tenant, &reading(1..=1), &late), Based::Behind);
    let from = audience.read_from(&tenant);
    assert_eq!(from.cursor, Some(NOWHERE), "with the newest alone the second stream would miss event 2");
    assert!(!audience.caught_up("first", &tenant, from, reading(1..=3), Timestamp::UNIX_EPOCH));
    for mut stream in [subscribed(nothing(), early), subscribed(reading(1..=1), late)] {
        for sequence in 1..=3 {
            assert_eq!(next(&mut stream), Some(sequence));
        }
    }
}
