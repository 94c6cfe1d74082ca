//! Cases that a real server cannot produce: links and a store that follow a script.

mod flawed;
mod proxies;
mod session_test;

use std::time::{Duration, Instant};

use self::{
    flawed::{Flaws, unavailable},
    session_test::{OURS, Script, SessionTest, THEIRS, account, connected},
};
use crate::{
    events::{ConnectingReason, EndReason, PairRefusal, PairResult, Status},
    link_options::LinkOptions,
    session::{End, Request, Signal},
    store::StoreError,
};

#[tokio::test]
async fn link_that_found_another_account_shows_none() {
    let ended = Signal::Ended(End::AccountChanged);
    let first = [connected(OURS), Signal::Dropped, connected(OURS), Signal::Dropped, ended.clone()];
    let again = Script::resuming(OURS, [ended]);
    let mut stage = SessionTest::new([Script::new(first), again]).await;
    let refused = Status::ended(EndReason::CredentialsUnreadable);
    stage.connect().await;
    let statuses = stage.until_ended().await;
    let logins = statuses.iter().filter(|status| matches!(status, Status::Connected { .. })).collect::<Vec<_>>();
    assert_eq!(logins, [&Status::Connected { account: account(OURS) }; 2]);
    assert_eq!(statuses.last(), Some(&refused));

    // The end has no account, and the credentials are the same.
    stage.connect().await;
    let statuses = stage.until_ended().await;
    assert!(statuses.iter().all(|status| !matches!(status, Status::Connected { .. })), "{statuses:?}");
    assert_eq!(statuses.last(), Some(&refused));
    stage.is_over().await;
}

fn refused() -> Status {
    Status::ended(EndReason::OtherAccount).expecting(Some(&account(OURS).phone))
}

#[tokio::test]
async fn other_account_is_never_shown_and_stays_refused() {
    let links = [[Signal::Scanned, connected(THEIRS)], [Signal::Scanned, connected(THEIRS)]].map(Script::new);
    let mut stage = SessionTest::new(links.into_iter().chain([Script::new([connected(OURS)])])).await;
    stage.connect_expecting(OURS).await;
    for _ in 0..2 {
        let statuses = stage.until_ended().await;
        assert!(statuses.iter().all(|status| status.account().is_none()), "{statuses:?}");
        assert_eq!(statuses.last(), Some(&refused()));
        // The page asks again without naming a number.
        stage.connect().await;
    }
    stage.until_connected().await;
    assert_eq!(stage.unlinks(), 2);
}

/// The state after a process died between the scan and the check.
#[tokio::test]
async fn other_account_is_refused_by_the_next_owner() {
    let mut stage = SessionTest::new([Script::new([Signal::Scanned]), Script::resuming(THEIRS, [])]).await;
    stage.connect_expecting(OURS).await;
    let scanned = |status: &Status| matches!(status, Status::Connecting { reason: ConnectingReason::Scanned, .. });
    stage.until("the scan", scanned).await;
    stage.restart().await;
    stage.supervise();
    let statuses = stage.until_ended().await;
    assert!(statuses.iter().all(|status| status.account().is_none()), "{statuses:?}");
    assert_eq!((statuses.last(), stage.unlinks()), (Some(&refused()), 1));
}

/// The expectation comes while the phone is being scanned, and its notification after the login.
#[tokio::test]
async fn expectation_is_read_again_before_the_first_login_is_shown() {
    let link = Script::new([Signal::Scanned, connected(THEIRS)]).silent_for(Duration::from_millis(300));
    let mut stage = SessionTest::new([link]).await;
    stage.connect().await;
    stage.until("the link", |_| true).await;
    stage.request_without_notifying(LinkOptions::expecting(account(OURS).phone)).await;
    let statuses = stage.until_ended().await;
    assert!(statuses.iter().all(|status| status.account().is_none()), "{statuses:?}");
    assert_eq!(statuses.last(), Some(&refused()));
}

/// Credentials that an end kept are of another account than the next request expects.
#[tokio::test]
async fn kept_credentials_of_another_account_are_given_up() {
    let replaced = [connected(THEIRS), Signal::Ended(End::AccountLocked)];
    let mut stage = SessionTest::new([Script::new(replaced), Script::resuming(THEIRS, [connected(THEIRS)])]).await;
    stage.connect().await;
    stage.until_ended().await;
    stage.connect_expecting(OURS).await;
    let statuses = stage.until_ended().await;
    assert!(statuses.iter().all(|status| status.account().is_none()), "{statuses:?}");
    assert_eq!((statuses.last(), stage.unlinks()), (Some(&refused()), 1));
}

#[tokio::test]
async fn disconnect_lifts_the_expectation() {
    let links = [Script::new([Signal::Scanned]), Script::new([connected(THEIRS)])];
    let mut stage = SessionTest::new(links).await;
    stage.connect_expecting(OURS).await;
    stage.until("the scan", |status| *status == Status::connecting(ConnectingReason::Scanned, None)).await;
    stage.disconnect().await;
    stage.until_ended().await;
    stage.connect().await;
    stage.until_connected().await;
}

#[tokio::test]
async fn second_unlink_request_during_an_unlink_is_one_unlink() {
    let link = Script::new([connected(OURS)]).slow_to_unlink(Duration::from_millis(500));
    let mut stage = SessionTest::new([link]).await;
    stage.connect().await;
    stage.until_connected().await;
    stage.disconnect().await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    stage.disconnect().await;
    assert_eq!(stage.until_ended().await, [Status::ended(EndReason::UnlinkedByUser)]);
    stage.is_over().await;
    assert_eq!((stage.status().await, stage.links_opened()), (Status::ended(EndReason::UnlinkedByUser), 1));
}

/// The state after a process died between erasing the credentials and publishing the reason.
#[tokio::test]
async fn account_without_credentials_ends_at_once() {
    let mut stage = SessionTest::new([Script::new([connected(OURS)]), Script::new([])]).await;
    stage.connect().await;
    stage.until_connected().await;
    stage.restart().await;
    stage.connect().await;
    assert_eq!(stage.until_ended().await.last(), Some(&Status::ended(EndReason::UnlinkedByPhone)));
    stage.is_over().await;
}

#[tokio::test]
async fn status_not_saved_before_a_pause_is_saved_during_it() {
    fn is_waiting(status: &Status) -> bool {
        matches!(status, Status::Connecting { reason: ConnectingReason::WhatsappUnreachable, .. })
    }
    let link = Script::new([connected(OURS), Signal::Ended(End::RateLimited)]);
    let flaws = Flaws { append: Some(is_waiting), ..Flaws::default() };
    let mut stage = SessionTest::with(flaws, [link, Script::resuming(OURS, [])]).await;
    stage.connect().await;
    stage.until_connected().await;
    let begun = Instant::now();
    stage.until("the wait", is_waiting).await;
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?} of a pause of 5 s", begun.elapsed());
}

#[tokio::test]
async fn link_signals_are_handled_while_desired_state_is_unreadable() {
    let flaws = Flaws { desired: Some(|number| (number > 1).then_some(StoreError::Unreadable)), ..Flaws::default() };
    let mut stage = SessionTest::with(flaws, [Script::new([Signal::Ended(End::PairingFailed)])]).await;
    stage.connect().await;
    assert_eq!(stage.until_ended().await.last(), Some(&Status::ended(EndReason::PairingFailed)));
    stage.is_over().await;
}

#[tokio::test]
async fn desired_state_is_read_again_after_a_failed_read() {
    let flaws = Flaws { desired: Some(|number| (number == 4).then(unavailable)), ..Flaws::default() };
    let mut stage = SessionTest::with(flaws, [Script::new([connected(OURS)])]).await;
    stage.connect().await;
    stage.until_connected().await;
    stage.disconnect().await;
    assert_eq!(stage.until_ended().await, [Status::ended(EndReason::UnlinkedByUser)]);
}

/// An end that fulfils no request would be followed by another session, and another.
#[tokio::test]
async fn session_ends_for_good_after_failed_first_reads() {
    let failures: [fn(usize) -> Option<StoreError>; 2] =
        [|number| (number < 3).then(unavailable), |number| (number < 3).then_some(StoreError::Unreadable)];
    for fails in failures {
        let flaws = Flaws { desired: Some(fails), ..Flaws::default() };
        let mut stage = SessionTest::with(flaws, [Script::new([Signal::Ended(End::PairingFailed)])]).await;
        stage.connect().await;
        assert_eq!(stage.until_ended().await.last(), Some(&Status::ended(EndReason::PairingFailed)));
        stage.is_over().await;
        assert_eq!(stage.links_opened(), 1);
    }
}

#[tokio::test]
async fn session_can_start_again_after_a_panic_before_its_first_link() {
    let flaws =
        Flaws { desired: Some(|number| if number == 1 { panic!("on purpose") } else { None }), ..Flaws::default() };
    let mut stage = SessionTest::with(flaws, [Script::new([connected(OURS)])]).await;
    let begun = Instant::now();
    while stage.links_opened() == 0 {
        assert!(begun.elapsed() < Duration::from_secs(10), "it does not run");
        stage.connect().await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    stage.until_connected().await;
}

/// The request is saved; a later sweep starts the session.
#[tokio::test]
async fn connect_succeeds_when_acquiring_the_lease_fails() {
    let mut stage =
        SessionTest::with(Flaws { acquire: true, ..Flaws::default() }, [Script::new([connected(OURS)])]).await;
    stage.connect().await;
    stage.connect().await;
    stage.until_connected().await;
}

/// A version of the program that is rolled back must not end every tenant for good.
#[tokio::test]
async fn credentials_that_cannot_be_read_are_tried_until_they_can() {
    let links = [Script::unreadable(), Script::unreadable(), Script::resuming(OURS, [connected(OURS)])];
    let mut stage = SessionTest::new(links).await;
    stage.connect().await;
    let unreadable = Status::ended(EndReason::CredentialsUnreadable);
    assert_eq!(stage.until_ended().await.last(), Some(&unreadable));
    let statuses = stage.until_connected().await;
    let resuming = Status::connecting(ConnectingReason::Resuming, Some(account(OURS)));
    assert_eq!(
        statuses,
        [resuming, Status::Connected { account: account(OURS) }],
        "nothing ended, and no request came"
    );
}

#[tokio::test]
async fn session_resumes_after_a_restart_with_readable_credentials() {
    let mut stage = SessionTest::new([Script::unreadable(), Script::resuming(OURS, [connected(OURS)])]).await;
    stage.connect().await;
    stage.until_ended().await;
    stage.restart().await;
    stage.supervise();
    stage.until_connected().await;
}

#[tokio::test]
async fn failure_of_a_link_over_an_unreadable_row_is_no_crash() {
    let failing = || Script::resuming(OURS, [connected(OURS), Signal::Ended(End::Unreadable)]);
    let mut stage =
        SessionTest::new([failing(), failing(), failing(), Script::resuming(OURS, [connected(OURS)])]).await;
    stage.connect().await;
    for _ in 0..4 {
        stage.until_connected().await;
    }
}

#[tokio::test]
async fn disconnect_makes_room_where_credentials_cannot_be_read() {
    let mut stage = SessionTest::new([Script::unreadable(), Script::unreadable()]).await;
    stage.connect().await;
    stage.until_ended().await;
    stage.unlinks_without_whatsapp().await;
}

fn shows_qr() -> Signal {
    Signal::Qr { text: "2@a".into(), lifetime: Duration::from_secs(60), attempt: 1, attempts_max: 6 }
}

/// Many tenants that ask for the same number would ring on one phone as often as they like.
#[tokio::test]
async fn code_is_refused_when_its_number_had_three() {
    let mut stage = SessionTest::new([Script::new([shows_qr()])]).await;
    for _ in 0..3 {
        assert!(stage.count_code(THEIRS).await);
    }
    stage.connect_by_code(THEIRS).await;
    let refused = |status: &Status| {
        let Status::QrPending { pair: Some(pair), .. } = status else { return false };
        pair.code == PairResult::Refused { refused: PairRefusal::RateLimited }
    };
    stage.until("a refusal beside the QR", refused).await;
    assert!(stage.requests().is_empty(), "WhatsApp is not asked: {:?}", stage.requests());
    stage.connect_by_code(OURS).await;
    let until = Instant::now() + Duration::from_secs(5);
    while stage.requests() != [Request::PairCode(account(OURS).phone)] {
        assert!(Instant::now() < until, "another number gets a code: {:?}", stage.requests());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Each replacement rings on the phone like the first code.
#[tokio::test]
async fn replaced_code_counts_for_its_number_and_its_request() {
    let void = || Signal::PairCodeVoid;
    for (counted, requested, reason) in [(1, 2, PairRefusal::RateLimited), (0, 3, PairRefusal::TriesUsedUp)] {
        let mut stage = SessionTest::new([Script::new([shows_qr(), void(), void(), void()])]).await;
        for _ in 0..counted {
            assert!(stage.count_code(OURS).await);
        }
        stage.connect_by_code(OURS).await;
        let refused = |status: &Status| {
            let Status::QrPending { pair: Some(pair), .. } = status else { return false };
            pair.code == PairResult::Refused { refused: reason }
        };
        stage.until("a refusal beside the QR", refused).await;
        assert_eq!(stage.requests(), vec![Request::PairCode(account(OURS).phone); requested]);
    }
}

#[tokio::test]
async fn code_is_asked_for_once_while_it_is_coming() {
    let mut stage = SessionTest::new([Script::new([shows_qr()])]).await;
    stage.connect_by_code(OURS).await;
    stage.until("a code", |status| matches!(status, Status::QrPending { .. })).await;
    for _ in 0..10 {
        stage.connect_by_code(OURS).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(stage.requests(), [Request::PairCode(account(OURS).phone)]);
}
