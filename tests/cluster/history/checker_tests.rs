//! The checker finds every violation, and none in a history that the contract permits.

use std::time::Duration;

use super::checker::{Client, Content, History, Mark, Note, Position, Trouble, Wrong, check};

const LATER: Duration = Duration::from_secs(10);

fn mark(text: &str) -> Option<Mark> {
    Some(Mark::parse(text).expect("a mark"))
}

fn up(text: &str) -> Content {
    Content::Status { word: "connected".into(), reason: None, mark: mark(text), stale: false }
}

fn code(text: &str) -> Content {
    Content::Code { mark: mark(text) }
}

fn sent(position: Position, content: Content) -> (Duration, Note) {
    (LATER, Note::Received { position: Some(position), content })
}

/// Sent at once when the stream opens.
fn replayed(position: Position, content: Content) -> (Duration, Note) {
    (Duration::ZERO, Note::Received { position: Some(position), content })
}

fn client(notes: impl IntoIterator<Item = (Duration, Note)>) -> Client {
    Client { tenant: "a".into(), notes: notes.into_iter().collect() }
}

fn found(clients: Vec<Client>) -> Vec<Wrong> {
    let mut found: Vec<_> =
        check(&History { clients, ..History::default() }).into_iter().map(|(wrong, _)| wrong).collect();
    found.dedup();
    found
}

#[test]
fn complete_history_has_no_violation() {
    let one = client([sent((1, 1), code("a/x/1")), sent((1, 2), up("a/x/2")), sent((1, 3), up("a/x/3"))]);
    let late = client([sent((1, 3), up("a/x/3"))]);
    assert_eq!(found(vec![one, late]), []);
}

#[test]
fn event_that_was_not_sent_live_is_lost() {
    for missing in [up("a/x/2"), code("a/x/2")] {
        let whole = client([sent((1, 1), code("a/x/1")), sent((1, 2), missing), sent((1, 3), up("a/x/3"))]);
        let gap = client([sent((1, 1), code("a/x/1")), sent((1, 3), up("a/x/3"))]);
        assert_eq!(found(vec![whole, gap.clone()]), [Wrong::Lost]);
        assert_eq!(found(vec![gap]), [Wrong::Lost], "also if no client saw it");
    }
}

#[test]
fn replay_leaves_out_only_codes() {
    let whole = |missing| client([sent((1, 1), up("a/x/1")), sent((1, 2), missing), sent((1, 3), up("a/x/3"))]);
    let back =
        client([replayed((1, 1), up("a/x/1")), (Duration::ZERO, Note::Opened(0)), replayed((1, 3), up("a/x/3"))]);
    assert_eq!(found(vec![whole(code("a/x/2")), back.clone()]), []);
    assert_eq!(found(vec![whole(up("a/x/2")), back]), [Wrong::Lost]);
}

/// Neither the end nor the request that followed it had a reader.
#[test]
fn code_after_a_link_shows_that_its_end_had_no_reader() {
    let whole = client([sent((1, 1), up("a/x/1")), sent((1, 2), up("a/x/2")), replayed((1, 5), code("a/y/1"))]);
    let back = client([sent((1, 1), up("a/x/1")), (Duration::ZERO, Note::Opened(0)), replayed((1, 5), code("a/y/1"))]);
    assert_eq!(found(vec![whole.clone(), back]), []);
    let open = client([sent((1, 1), up("a/x/1")), sent((1, 5), code("a/y/1"))]);
    assert_eq!(found(vec![whole, open]), [Wrong::Lost], "an open stream gets all of it");
    for (mark, wrong) in [("a/y/1", vec![]), ("a/y/2", vec![Wrong::Lost])] {
        let linked = client([sent((1, 1), up("a/x/1")), sent((1, 2), up("a/x/2")), replayed((1, 5), up(mark))]);
        let back = client([sent((1, 1), up("a/x/1")), (Duration::ZERO, Note::Opened(0)), replayed((1, 5), up(mark))]);
        assert_eq!(found(vec![linked, back]), wrong, "an end and a request precede the first event of a link: {mark}");
    }
    let again = client([sent((1, 1), up("a/x/1")), sent((1, 2), up("a/x/2")), replayed((1, 6), up("a/y/1"))]);
    let back = client([sent((1, 1), up("a/x/1")), (Duration::ZERO, Note::Opened(0)), replayed((1, 6), up("a/y/1"))]);
    assert_eq!(found(vec![again.clone(), back]), [], "three may be");
    let open = client([sent((1, 1), up("a/x/1")), sent((1, 6), up("a/y/1"))]);
    assert_eq!(found(vec![again, open]), [Wrong::Lost], "an open stream gets all of it");
}

/// The journal keeps no event from before the end of a link that was given up.
#[test]
fn replay_after_an_unlink_begins_with_its_end_or_later() {
    let content = |word: &str, reason: &str| {
        let (word, reason) = (word.to_owned(), Some(reason.to_owned()));
        Content::Status { word, reason, mark: None, stale: false }
    };
    let start = || content("connecting", "starting");
    let whole = |end: Option<&str>| {
        let end = end.map(|reason| sent((1, 3), content("disconnected", reason)));
        let events = [sent((1, 1), up("a/x/1")), sent((1, 2), up("a/x/2"))].into_iter().chain(end);
        client(events.chain([replayed((1, 4), start())]))
    };
    let back = |opened| {
        let rest = if opened { replayed((1, 4), start()) } else { sent((1, 4), start()) };
        client([replayed((1, 1), up("a/x/1")), (Duration::ZERO, Note::Opened(0)), rest])
    };
    for reason in ["unlinked-by-user", "unlinked-by-phone", "cancelled"] {
        assert_eq!(found(vec![whole(Some(reason)), back(true)]), [], "{reason}");
    }
    assert_eq!(found(vec![whole(None), back(true)]), [], "no client saw the end");
    assert_eq!(found(vec![whole(Some("replaced")), back(true)]), [Wrong::Lost]);
    let stale =
        Content::Status { word: "connecting".into(), reason: Some("moving".into()), mark: mark("a/x/1"), stale: true };
    let doubt = (LATER, Note::Received { position: None, content: stale });
    let catches_up = client([sent((1, 1), up("a/x/1")), doubt, sent((1, 4), start())]);
    assert_eq!(found(vec![whole(Some("cancelled")), catches_up.clone()]), [], "a stream in doubt");
    assert_eq!(found(vec![whole(Some("replaced")), catches_up]), [Wrong::Lost]);
    assert_eq!(found(vec![whole(Some("cancelled")), back(false)]), [Wrong::Lost], "an open stream gets all of it");
}

#[test]
fn stale_refresh_stands_only_for_the_newest_event() {
    let whole = client((1..=3).map(|sequence| sent((1, sequence), up(&format!("a/x/{sequence}")))));
    let doubt = |text| {
        let moving = (Some("moving".to_owned()), mark(text));
        let content = Content::Status { word: "connecting".into(), reason: moving.0, mark: moving.1, stale: true };
        let doubt = (LATER, Note::Received { position: None, content });
        client([sent((1, 1), up("a/x/1")), doubt, sent((1, 3), up("a/x/3"))])
    };
    assert_eq!(found(vec![whole.clone(), doubt("a/x/2")]), []);
    assert_eq!(found(vec![whole, doubt("a/x/3")]), [Wrong::Lost]);
}

#[test]
fn reader_away_too_long_starts_with_the_current_status() {
    let whole = client((1..=40).map(|sequence| sent((1, sequence), up(&format!("a/x/{sequence}")))));
    let back =
        |sequence| client([replayed((1, 1), up("a/x/1")), replayed((1, sequence), up(&format!("a/x/{sequence}")))]);
    assert_eq!(found(vec![whole.clone(), back(40)]), []);
    assert_eq!(found(vec![whole, back(20)]), [Wrong::Lost]);
}

#[test]
fn repeated_or_older_event_is_disorder() {
    for next in [(1, 2), (1, 1), (0, 9)] {
        let notes = [
            sent((1, 1), up("a/x/1")),
            sent((1, 2), up("a/x/2")),
            (LATER, Note::Received { position: Some(next), content: code("a/x/9") }),
        ];
        assert!(found(vec![client(notes)]).contains(&Wrong::Disorder), "{next:?}");
    }
}

#[test]
fn reader_ahead_of_redis_gets_an_older_status_once_per_loss() {
    let back = |sequence| [(Duration::ZERO, Note::Opened(0)), replayed((1, sequence), up("a/x/1"))];
    let notes = [vec![replayed((1, 3), up("a/x/1"))], back(2).to_vec(), back(1).to_vec()].concat();
    let wrong = |redis_losses| {
        let history = History { clients: vec![client(notes.clone())], redis_losses, ..History::default() };
        check(&history).len()
    };
    assert_eq!([wrong(0), wrong(1), wrong(2)], [2, 1, 0]);
}

/// The instance was suspended after it had sent the head of the answer.
#[test]
fn suspended_instance_replays_when_it_is_resumed() {
    let late = |position, content| {
        let at = LATER + Duration::from_millis(750);
        (at, Note::Received { position: Some(position), content })
    };
    let whole = client([sent((1, 1), code("a/x/1")), sent((1, 2), code("a/x/2")), sent((1, 3), code("a/x/3"))]);
    let notes = [sent((1, 1), code("a/x/1")), (LATER, Note::Opened(0)), late((1, 3), code("a/x/3"))];
    let wrong = |from, to, instance| {
        let when = Duration::from_millis(from)..Duration::from_millis(to);
        let suspensions = vec![Trouble { when, instance: Some(instance) }];
        let clients = vec![whole.clone(), client(notes.clone())];
        check(&History { clients, suspensions, ..History::default() }).len()
    };
    assert_eq!([wrong(10_040, 10_745, 0), wrong(9_000, 10_745, 0)], [0, 0]);
    assert_eq!([wrong(9_000, 10_100, 0), wrong(10_600, 11_000, 0), wrong(1_000, 9_000, 0)], [1, 1, 1]);
    assert_eq!(wrong(10_040, 10_745, 1), 1, "another instance");
}

/// A connection was silent, and the phone unlinked meanwhile: what was before the end is gone.
#[test]
fn end_of_a_link_is_read_after_lost_messages() {
    let ended = || Content::Status {
        word: "disconnected".into(),
        reason: Some("unlinked-by-phone".into()),
        mark: None,
        stale: false,
    };
    let (early, late) = (Duration::from_secs(9), LATER + Duration::from_millis(50));
    let at = |at, position, content| (at, Note::Received { position: Some(position), content });
    let read = [at(early, (1, 1), up("a/x/1")), sent((1, 4), ended())];
    // A message that arrived before the reading.
    let received = [at(early, (1, 1), up("a/x/1")), sent((1, 4), up("a/x/2")), at(late, (1, 5), ended())];
    for notes in [read.to_vec(), received.to_vec()] {
        let notes = [vec![(Duration::ZERO, Note::Opened(0))], notes].concat();
        let wrong = |from, to, instance| {
            let when = Duration::from_millis(from)..Duration::from_millis(to);
            let losses_of_messages = vec![Trouble { when, instance }];
            check(&History { clients: vec![client(notes.clone())], losses_of_messages, ..History::default() }).len()
        };
        assert_eq!([wrong(9_300, 9_700, None), wrong(9_300, 9_700, Some(0))], [0, 0], "{notes:?}");
        assert_eq!([wrong(1_000, 8_999, None), wrong(10_001, 12_000, None)], [1, 1], "{notes:?}");
        assert_eq!(wrong(9_300, 9_700, Some(1)), 1, "another instance: {notes:?}");
    }
    // The end came on the next stream.
    let next = [received[0].clone(), received[1].clone(), (late, Note::Opened(0)), received[2].clone()];
    let losses_of_messages = vec![Trouble { when: early..LATER, instance: None }];
    assert_eq!(check(&History { clients: vec![client(next)], losses_of_messages, ..History::default() }).len(), 1);
}

#[test]
fn event_id_has_one_content_and_one_tenant() {
    let two = vec![client([sent((1, 1), up("a/x/1"))]), client([sent((1, 1), up("a/x/2"))])];
    assert_eq!(found(two), [Wrong::TwoEventsOfOneId]);
    assert_eq!(found(vec![client([sent((1, 1), up("b/x/1"))])]), [Wrong::Foreign]);
}

#[test]
fn event_of_a_former_owner_after_its_successor_is_found() {
    let notes = [sent((1, 1), up("a/x/1")), sent((1, 2), up("a/y/1")), sent((1, 3), up("a/x/2"))];
    assert_eq!(found(vec![client(notes)]), [Wrong::TwoOwners]);
    let back = [sent((1, 1), up("a/x/2")), sent((1, 2), up("a/x/1"))];
    assert_eq!(found(vec![client(back)]), [Wrong::TwoOwners]);
}

#[test]
fn new_epoch_needs_a_restart_of_redis() {
    let clients = vec![client([sent((1, 5), up("a/x/1")), sent((2, 1), up("a/x/1"))])];
    assert_eq!(found(clients.clone()), [Wrong::Epoch]);
    assert!(check(&History { clients, redis_restarts: 1, ..History::default() }).is_empty());
}

#[test]
fn last_event_is_true_and_follows_the_request() {
    let ended = |reason: &str| Content::Status {
        word: "disconnected".into(),
        reason: Some(reason.into()),
        mark: None,
        stale: false,
    };
    let history = |last: Content, answer: Content| History {
        clients: vec![client([sent((1, 1), last)])],
        answers: vec![("a".into(), answer)],
        wanted: ["a".to_owned()].into(),
        ..History::default()
    };
    let wrong = |history| check(&history).into_iter().map(|(wrong, _)| wrong).collect::<Vec<_>>();
    assert_eq!(wrong(history(up("a/x/1"), up("a/x/1"))), []);
    assert_eq!(wrong(history(up("a/x/1"), up("a/x/2"))), [Wrong::FinalState]);
    assert_eq!(wrong(history(ended("qr-expired"), ended("qr-expired"))), []);
    assert_eq!(wrong(history(ended("unlinked-by-user"), ended("unlinked-by-user"))), [Wrong::LostRequest]);
    let stale = || Content::Status { word: "connected".into(), reason: None, mark: None, stale: true };
    assert_eq!(wrong(history(stale(), stale())), [Wrong::Stuck]);
}

#[test]
fn refusal_and_replaced_link_are_found() {
    assert_eq!(found(vec![client([(LATER, Note::Refused(503))])]), [Wrong::Refused]);
    let history = History { replaced_links: vec![("toko".to_owned(), LATER)], ..History::default() };
    assert_eq!(check(&history)[0].0, Wrong::ReplacedLink);
}
