//! Subscribing: which events a reader with each cursor receives, and that no event is lost between backlog and live.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tautan::{
    events::{Cursor, EndReason, EventId},
    store::{DesiredState, Update},
};

use crate::{
    backend::Backend,
    statuses::{Received, all, connected, ended, next, numbered, qr, reconnecting, resuming, starting, tenant},
};

promises![
    reader_without_a_cursor_gets_the_current_status,
    reader_with_a_known_cursor_gets_the_missed_events,
    reader_with_the_newest_cursor_missed_nothing,
    unknown_foreign_and_future_cursors_get_the_current_status,
    id_with_a_position_of_another_journal_is_unknown,
    cursor_older_than_the_history_gets_the_current_status,
    cursors_rise_strictly_also_over_a_restart,
    saved_cursor_is_known_after_a_restart,
    cursor_of_a_qr_code_is_unknown_after_a_restart,
    joining_reader_gets_each_event_exactly_once,
    slow_reader_ends_and_resumes_with_its_cursor,
];

async fn reader_without_a_cursor_gets_the_current_status(store: impl Backend + Sync) {
    let lease = store.running(&tenant("a")).await;
    store.journal().append(&lease, qr(1)).await.unwrap();
    store.journal().append(&lease, qr(2)).await.unwrap();
    let mut reader = store.journal().subscribe(&tenant("a"), None).await;
    assert_eq!(reader.backlog(), 1);
    store.journal().append(&lease, qr(3)).await.unwrap();
    assert_eq!(all(&mut reader).await, [Received::Event(qr(2)), Received::Event(qr(3))]);
}

async fn reader_with_a_known_cursor_gets_the_missed_events(store: impl Backend + Sync) {
    let lease = store.running(&tenant("a")).await;
    let seen = store.journal().append(&lease, qr(1)).await.unwrap().event.id();
    store.journal().append(&lease, qr(2)).await.unwrap();
    store.journal().append(&lease, connected()).await.unwrap();
    let mut reader = store.journal().subscribe(&tenant("a"), Some(seen)).await;
    assert_eq!(reader.backlog(), 2);
    store.journal().append(&lease, reconnecting()).await.unwrap();
    assert_eq!(
        all(&mut reader).await,
        [Received::Event(qr(2)), Received::Event(connected()), Received::Event(reconnecting())]
    );
}

async fn reader_with_the_newest_cursor_missed_nothing(store: impl Backend + Sync) {
    let lease = store.running(&tenant("a")).await;
    let seen = store.journal().append(&lease, connected()).await.unwrap().event.id();
    let mut reader = store.journal().subscribe(&tenant("a"), Some(seen)).await;
    assert_eq!(all(&mut reader).await, store.present(connected()));
    store.journal().append(&lease, reconnecting()).await.unwrap();
    assert_eq!(all(&mut reader).await, [Received::Event(reconnecting())]);
}

async fn unknown_foreign_and_future_cursors_get_the_current_status(store: impl Backend + Sync) {
    let (a, b) = (store.running(&tenant("a")).await, store.running(&tenant("b")).await);
    let newest = store.journal().append(&a, connected()).await.unwrap().event.id();
    let at = |cursor| EventId { cursor, ..newest };
    let foreign = at(Cursor { epoch: newest.cursor.epoch + 7, ..newest.cursor });
    let future = at(Cursor { sequence: newest.cursor.sequence + 1, ..newest.cursor });
    for number in 0..5 {
        store.journal().append(&b, numbered(number)).await.unwrap();
    }
    let of_another_tenant = store.journal().latest(&tenant("b")).await.unwrap().unwrap().event.id();
    for id in [foreign, future, of_another_tenant, at(Cursor { epoch: 0, sequence: 0 })] {
        let mut reader = store.journal().subscribe(&tenant("a"), Some(id)).await;
        assert_eq!(all(&mut reader).await, [Received::Event(connected())], "{id}");
    }
}

/// A browser keeps its `Last-Event-ID` when another user signs in. Without a journal's own number, an id whose place
/// exists in both journals would be taken for known, and the page would go on showing the other user's account.
async fn id_with_a_position_of_another_journal_is_unknown(store: impl Backend + Sync) {
    let (a, b) = (store.running(&tenant("a")).await, store.running(&tenant("b")).await);
    let older = store.journal().append(&a, numbered(1)).await.unwrap().event.id();
    let newest = store.journal().append(&a, connected()).await.unwrap().event.id();
    let other = store.journal().append(&b, connected()).await.unwrap().event.id();
    assert_ne!(newest.journal, other.journal);
    for place in [older, newest] {
        let id = EventId { journal: other.journal, ..place };
        let mut reader = store.journal().subscribe(&tenant("a"), Some(id)).await;
        assert_eq!(all(&mut reader).await, [Received::Event(connected())], "{id}");
        store.journal().append(&a, reconnecting()).await.unwrap();
        assert_eq!(all(&mut reader).await, [Received::Event(reconnecting())]);
        store.journal().append(&a, connected()).await.unwrap();
    }
}

async fn cursor_older_than_the_history_gets_the_current_status(store: impl Backend + Sync) {
    const MORE_THAN_ANY_HISTORY: u32 = 1_000;
    let lease = store.running(&tenant("a")).await;
    let seen = store.journal().append(&lease, qr(0)).await.unwrap().event.id();
    for number in 1..=MORE_THAN_ANY_HISTORY {
        store.journal().append(&lease, qr(number)).await.unwrap();
    }
    let mut reader = store.journal().subscribe(&tenant("a"), Some(seen)).await;
    assert_eq!(all(&mut reader).await, [Received::Event(qr(MORE_THAN_ANY_HISTORY))]);
}

async fn cursors_rise_strictly_also_over_a_restart(mut store: impl Backend + Sync) {
    let mut highest = Cursor { epoch: 0, sequence: 0 };
    for round in 0..3 {
        let lease = store.running(&tenant("a")).await;
        for status in [qr(1), qr(2), numbered(round), reconnecting(), qr(3)] {
            let cursor = store.journal().append(&lease, status).await.unwrap().event.cursor;
            assert!(cursor > highest, "{cursor} after {highest}");
            highest = cursor;
        }
        store = store.reopen().await;
        let kept = store.journal().latest(&tenant("a")).await.unwrap().unwrap().event.cursor;
        assert!(kept > highest || store.keeps_codes(), "what stands for a code that is not kept is another event");
    }
}

async fn saved_cursor_is_known_after_a_restart(store: impl Backend + Sync) {
    let lease = store.running(&tenant("a")).await;
    let before = store.journal().append(&lease, reconnecting()).await.unwrap().event.id();
    let kept = store.journal().append(&lease, connected()).await.unwrap().event.id();
    let store = store.reopen().await;
    assert_eq!(store.journal().latest(&tenant("a")).await.unwrap().unwrap().event.id(), kept);
    let mut known = store.journal().subscribe(&tenant("a"), Some(kept)).await;
    let mut older = store.journal().subscribe(&tenant("a"), Some(before)).await;
    // No instance runs it yet, so both readers receive a stale status.
    assert_eq!(all(&mut known).await, [Received::Stale(connected())]);
    assert_eq!(all(&mut older).await, [Received::Stale(connected())]);
    let _lease = store.ownership().acquire(&tenant("a")).await.unwrap().unwrap();
    assert_eq!(next(&mut known).await, Some(Received::Event(resuming())));
    let mut late = store.journal().subscribe(&tenant("a"), Some(kept)).await;
    assert_eq!(all(&mut late).await, [Received::Event(resuming())]);
}

async fn cursor_of_a_qr_code_is_unknown_after_a_restart(mut store: impl Backend + Sync) {
    if store.keeps_codes() {
        return;
    }
    for before in [starting(), reconnecting()] {
        let lease = store.running(&tenant("a")).await;
        store.journal().append(&lease, before).await.unwrap();
        let seen = store.journal().append(&lease, qr(1)).await.unwrap().event.id();
        store = store.reopen().await;
        let kept = store.journal().latest(&tenant("a")).await.unwrap().unwrap().event.id();
        assert!(
            kept.cursor > seen.cursor,
            "{kept} after {seen}: the code needed no write, but a reader has seen its cursor"
        );
        let lease = store.ownership().acquire(&tenant("a")).await.unwrap().unwrap();
        let mut reader = store.journal().subscribe(&tenant("a"), Some(seen)).await;
        assert_eq!(all(&mut reader).await, [Received::Event(starting())]);
        drop(lease);
    }
}

/// Readers come and go, with and without cursors, while an owner appends as fast as the disk takes it.
async fn joining_reader_gets_each_event_exactly_once(store: impl Backend + Sync) {
    const JOINS: usize = 400;
    let lease = store.running(&tenant("a")).await;
    let first = store.journal().append(&lease, numbered(0)).await.unwrap().event.id();
    let done = Arc::new(AtomicBool::new(false));
    let write = async {
        let mut number = 1;
        while !done.load(Ordering::SeqCst) {
            store.journal().append(&lease, numbered(number)).await.unwrap();
            number += 1;
            if number % 8 == 0 {
                tokio::task::yield_now().await;
            }
        }
        number
    };
    let journal = store.stores().journal.clone();
    let finished = done.clone();
    let read = tokio::task::JoinSet::from_iter([async move {
        let mut seen: Option<EventId> = Some(first);
        let mut gaps = 0;
        for join in 0..JOINS {
            let with = seen.filter(|_| join % 3 > 0);
            let mut reader = journal.subscribe(&tenant("a"), with).await;
            let backlog = reader.backlog();
            let mut last = with;
            // Sometimes only a part of the backlog, sometimes well into what is live.
            for turn in 0..(join % 7 + backlog) {
                let Some(Update::Event(event)) = reader.next().await else { break };
                match last {
                    Some(last) if event.id().follows(&last) => {}
                    // Starts with the current status: only if that is the first event.
                    _ if turn == 0 && backlog == 1 => gaps += usize::from(with.is_some()),
                    last => panic!("{} after {last:?} in join {join}", event.id()),
                }
                last = Some(event.id());
            }
            seen = last.or(seen);
        }
        finished.store(true, Ordering::SeqCst);
        gaps
    }]);
    let (written, gaps) = tokio::join!(write, read.join_all());
    assert!(written > 10, "the owner did append meanwhile");
    assert!(gaps[0] < JOINS / 3, "cursors were known, as a rule");
}

async fn slow_reader_ends_and_resumes_with_its_cursor(store: impl Backend + Sync) {
    let lease = store.running(&tenant("a")).await;
    let mut slow = store.journal().subscribe(&tenant("a"), None).await;
    let Some(Update::Event(present)) = slow.next().await else { panic!("the present comes first") };
    for number in 0..24 {
        store.journal().append(&lease, numbered(number)).await.unwrap();
    }
    let (desired, _) = store.commands().current(&tenant("a")).await.unwrap().unwrap();
    store.journal().finish(lease, ended(EndReason::Replaced), desired).await.unwrap();
    assert!(slow.next().await.is_none());
    assert!(slow.next().await.is_none(), "it stays ended: what follows has a gap before it");
    let mut repaired = store.journal().subscribe(&tenant("a"), Some(present.id())).await;
    let mut expected: Vec<_> = (0..24).map(|number| Received::Event(numbered(number))).collect();
    expected.push(Received::Event(ended(EndReason::Replaced)));
    assert_eq!(all(&mut repaired).await, expected);
    assert!(store.commands().request(&tenant("a"), DesiredState::Unlink).await.is_ok());
}
