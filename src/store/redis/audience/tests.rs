use super::*;
use crate::store::{Subscription, redis::record::Record};

fn reading(sequences: std::ops::RangeInclusive<u64>) -> Reading {
    let event = |sequence| {
        let cursor = Cursor { epoch: 7, sequence };
        Arc::new(Event { cursor, status: Status::ended(EndReason::Cancelled), ..unknown(Timestamp::UNIX_EPOCH) })
    };
    let events: Vec<_> = sequences.map(event).collect();
    Reading { record: Record { newest: events.last().cloned(), ..Record::default() }, living: false, events }
}

/// Event 2 came between the two readings, and event 3 before the slow one was done.
#[tokio::test]
async fn a_stream_whose_reading_was_overtaken_by_another_ones_reads_again_and_misses_nothing() {
    let (audience, tenant) = (Audience::new(Arc::default()), TenantId::parse("a").unwrap());
    let (slow, quick) = (audience.hub.join(&tenant), audience.hub.join(&tenant));
    audience.is_listening(&tenant);
    let tells = |sequence: u64| {
        let event = (*reading(sequence..=sequence).events[0]).clone();
        assert!(!audience.hear(&tenant, Some(Cursor { epoch: 7, sequence: sequence - 1 }), event, None));
    };
    let late = reading(1..=2);
    assert_eq!(audience.based(&tenant, &late), Based::Well);
    tells(3);
    assert_eq!(audience.based(&tenant, &reading(1..=1)), Based::Overtaken);
    let again = reading(1..=3);
    assert_eq!(audience.based(&tenant, &again), Based::Well);
    tells(4);
    let subscribed = |(backlog, seen): (Vec<Update>, _), live| Subscription::new(backlog, live, seen);
    for mut reader in [subscribed(again.backlog(), slow), subscribed(late.backlog(), quick)] {
        for sequence in 1..=4 {
            let Some(Update::Event(event)) = reader.next().await else { panic!("event {sequence} is told") };
            assert_eq!(event.cursor.sequence, sequence);
        }
    }
}
