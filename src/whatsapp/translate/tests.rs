use std::time::Duration;

use whatsapp_rust::{
    types::events::{
        ClientOutdated, ConnectFailure, Connected, Disconnected, LoggedOut, PairError, PairPasskeyConfirmation,
        PairPasskeyError, PairPasskeyRequest, PairSuccess, PairingCode, PairingCodeError, PairingCodeRefresh,
        PairingQrCodesExhausted, SelfPushNameUpdated, StreamReplaced, TempBanReason, TemporaryBan,
    },
    wacore::{chrono, net::DisconnectReason},
};

use super::*;

fn phone() -> PhoneNumber {
    PhoneNumber::parse("6281234567890").unwrap()
}

fn account() -> Account {
    Account { phone: phone(), name: Some("Toko Sari".into()), platform: None }
}

fn now() -> Timestamp {
    Timestamp::from_second(1_000).unwrap()
}

fn facts(stage: Stage) -> Facts {
    Facts { stage, now: now(), account: Some(account()), phone: Some(phone()) }
}

fn meaning(event: &Event, stage: Stage) -> Meaning {
    Translator::new(1.0).meaning(event, &facts(stage))
}

fn qr(reference: &str, seconds: u64) -> Event {
    let code = format!("{reference},noise,identity,secret,1");
    Event::PairingQrCode(PairingQrCode::builder().code(code).timeout(Duration::from_secs(seconds)).build())
}

fn logged_out(on_connect: bool, reason: ConnectFailureReason) -> Event {
    Event::LoggedOut(LoggedOut::builder().on_connect(on_connect).reason(reason).build())
}

fn refused(reason: ConnectFailureReason) -> Event {
    Event::ConnectFailure(ConnectFailure::builder().reason(reason).build())
}

fn banned(seconds: i64) -> Event {
    let lasts = chrono::Duration::seconds(seconds);
    Event::TemporaryBan(TemporaryBan::builder().code(TempBanReason::BlockedByUsers).expire(lasts).build())
}

fn disconnected() -> Event {
    Event::Disconnected(Disconnected::builder().reason(DisconnectReason::StreamEnded).build())
}

fn pair_success() -> Event {
    let empty = String::new;
    Event::PairSuccess(
        PairSuccess::builder()
            .id(Default::default())
            .lid(Default::default())
            .business_name(empty())
            .platform(empty())
            .build(),
    )
}

fn pair_error() -> Event {
    let empty = String::new;
    Event::PairError(
        PairError::builder()
            .id(Default::default())
            .lid(Default::default())
            .business_name(empty())
            .platform(empty())
            .error(empty())
            .build(),
    )
}

fn end(end: End) -> Meaning {
    Meaning::Send(Signal::Ended(end))
}

#[test]
fn each_event_of_the_library_has_its_meaning() {
    use ConnectFailureReason as Reason;
    use Stage::{Linked, Offering, Scanned};
    let connected = Event::Connected(Connected::builder().build());
    let replaced = Event::StreamReplaced(StreamReplaced::builder().build());
    let outdated = Event::ClientOutdated(ClientOutdated::builder().build());
    let used_up = Event::PairingQrCodesExhausted(PairingQrCodesExhausted::builder().disconnected(true).build());
    let renamed = Event::SelfPushNameUpdated(
        SelfPushNameUpdated::builder().from_server(true).old_name(String::new()).new_name("x".into()).build(),
    );
    let code_error = |rejection| {
        Event::PairingCodeError(PairingCodeError::builder().error(String::new()).maybe_rejection(rejection).build())
    };
    let no_code = |reason| Meaning::Send(Signal::PairCodeRefused { phone: phone(), reason });
    let outlived = Event::PairingQrCodesExhausted(PairingQrCodesExhausted::builder().disconnected(false).build());
    let refresh = |force| Event::PairingCodeRefresh(PairingCodeRefresh::builder().force_manual(force).build());
    let passkey_error =
        Event::PairPasskeyError(PairPasskeyError::builder().error(String::new()).continuation(false).build());
    let table = [
        (pair_success(), Offering, Meaning::Send(Signal::Scanned)),
        (pair_error(), Offering, end(End::PairingFailed)),
        (connected, Scanned, Meaning::Send(Signal::Connected { account: account() })),
        (renamed.clone(), Linked, Meaning::Send(Signal::Renamed { account: account() })),
        (renamed, Scanned, Meaning::Nothing),
        (disconnected(), Offering, Meaning::Send(Signal::Dropped)),
        (disconnected(), Scanned, Meaning::Nothing),
        (disconnected(), Linked, Meaning::Send(Signal::Dropped)),
        (used_up, Offering, end(End::CodesUsedUp)),
        (logged_out(true, Reason::LoggedOut), Linked, end(End::UnlinkedByPhone)),
        (logged_out(false, Reason::LoggedOut), Linked, end(End::UnlinkedByPhone)),
        (logged_out(true, Reason::UnknownLogout), Linked, end(End::UnlinkedByPhone)),
        (logged_out(true, Reason::LoggedOut), Scanned, end(End::PairingFailed)),
        (logged_out(true, Reason::AccountLocked), Linked, end(End::AccountLocked)),
        (logged_out(true, Reason::AccountLocked), Scanned, end(End::AccountLocked)),
        (replaced, Linked, end(End::Replaced)),
        (banned(600), Linked, end(End::Banned { until: Some(Timestamp::from_second(1_600).unwrap()) })),
        (banned(-1), Linked, end(End::Banned { until: None })),
        (banned(i64::MAX / 1_000), Linked, end(End::Banned { until: None })),
        (refused(Reason::TempBanned), Linked, end(End::Banned { until: None })),
        (refused(Reason::ClientOutdated), Linked, end(End::ClientOutdated { renewed: false })),
        (refused(Reason::BadUserAgent), Linked, end(End::ClientOutdated { renewed: false })),
        (refused(Reason::ServiceUnavailable), Linked, Meaning::Send(Signal::Dropped)),
        (refused(Reason::Generic), Linked, end(End::Internal)),
        (refused(Reason::Unknown(429)), Linked, end(End::RateLimited)),
        (refused(Reason::Unknown(429)), Offering, end(End::RateLimited)),
        (refused(Reason::Unknown(777)), Linked, end(End::Internal)),
        (outdated, Offering, end(End::ClientOutdated { renewed: false })),
        (outlived, Offering, Meaning::Nothing),
        (code_error(None), Offering, no_code(PairRefusal::Unanswered)),
        (code_error(Some(PairCodeRejection::BadRequest)), Offering, no_code(PairRefusal::NumberRefused)),
        (code_error(Some(PairCodeRejection::RateOverlimit)), Offering, no_code(PairRefusal::RateLimited)),
        (code_error(Some(PairCodeRejection::FeatureNotAvailable)), Offering, no_code(PairRefusal::NotAvailable)),
        (refresh(true), Offering, no_code(PairRefusal::TriesUsedUp)),
        (refresh(false), Offering, Meaning::Send(Signal::PairCodeVoid)),
        (passkey_error, Offering, end(End::PairingFailed)),
        (qr("ref", 20), Scanned, Meaning::Nothing),
        (qr("ref", 20), Linked, Meaning::Nothing),
    ];
    for (event, stage, expected) in table {
        assert_eq!(meaning(&event, stage), expected, "{event:?} while {stage:?}");
    }
}

#[test]
fn login_without_a_number_is_not_connected() {
    let connected = Event::Connected(Connected::builder().build());
    let facts = Facts { account: None, ..facts(Stage::Scanned) };
    assert_eq!(Translator::new(1.0).meaning(&connected, &facts), end(End::Internal));
}

fn shown(translator: &mut Translator, event: &Event) -> (u32, u32, Duration) {
    match translator.meaning(event, &facts(Stage::Offering)) {
        Meaning::Send(Signal::Qr { attempt, attempts_max, lifetime, .. }) => (attempt, attempts_max, lifetime),
        other => panic!("no code: {other:?}"),
    }
}

#[test]
fn renewed_code_is_not_a_new_attempt() {
    let mut translator = Translator::new(1.0);
    assert_eq!(shown(&mut translator, &qr("a", 60)), (1, 6, Duration::from_secs(60)));
    assert_eq!(shown(&mut translator, &qr("a", 41)), (1, 6, Duration::from_secs(41)));
    assert_eq!(shown(&mut translator, &qr("b", 20)), (2, 6, Duration::from_secs(20)));
}

#[test]
fn new_connection_starts_a_new_window_of_codes() {
    let mut translator = Translator::new(1.0);
    shown(&mut translator, &qr("a", 60));
    shown(&mut translator, &qr("b", 20));
    translator.meaning(&disconnected(), &facts(Stage::Offering));
    assert_eq!(shown(&mut translator, &qr("c", 60)).0, 1);
}

#[test]
fn scaled_window_reports_the_real_lifetime_of_its_codes() {
    let mut translator = Translator::new(0.5);
    assert_eq!(shown(&mut translator, &qr("a", 60)).2, Duration::from_secs(30));
}

#[test]
fn passkey_request_without_usable_options_fails_the_pairing() {
    let request = PairPasskeyRequest::builder().request_options_json("[".into()).build();
    assert_eq!(meaning(&Event::PairPasskeyRequest(request), Stage::Offering), end(End::PairingFailed));
}

#[test]
fn passkey_texts_beyond_their_limits_fail_the_pairing() {
    let request = |bytes: usize| {
        let options = format!("{{\"a\":\"{}\"}}", "x".repeat(bytes - 8));
        assert_eq!(options.len(), bytes);
        Event::PairPasskeyRequest(PairPasskeyRequest::builder().request_options_json(options).build())
    };
    assert!(matches!(meaning(&request(16 << 10), Stage::Offering), Meaning::Send(Signal::PasskeyRequired { .. })));
    assert_eq!(meaning(&request((16 << 10) + 1), Stage::Offering), end(End::PairingFailed));
    let code = PairPasskeyConfirmation::builder().code("x".repeat(100_000)).skip_handoff_ux(false).build();
    assert_eq!(meaning(&Event::PairPasskeyConfirmation(code), Stage::Offering), end(End::PairingFailed));
}

#[test]
fn code_that_fits_no_picture_is_passed_over() {
    let mut translator = Translator::new(1.0);
    assert_eq!(translator.meaning(&qr(&"x".repeat(100_000), 60), &facts(Stage::Offering)), Meaning::Nothing);
    assert_eq!(shown(&mut translator, &qr("a", 60)).0, 1);
}

#[test]
fn passkey_replaces_codes_and_is_named_at_the_windows_end() {
    let request = PairPasskeyRequest::builder().request_options_json("{}".into()).build();
    let used_up = Event::PairingQrCodesExhausted(PairingQrCodesExhausted::builder().disconnected(true).build());
    let mut translator = Translator::new(1.0);
    let facts = facts(Stage::Offering);
    shown(&mut translator, &qr("a", 60));
    // The window's 160 s have only begun.
    let lifetime = Duration::from_secs(160);
    let step = PasskeyStep::Assert { options: "{}".into() };
    let asked = Meaning::Send(Signal::PasskeyRequired { step, lifetime });
    assert_eq!(translator.meaning(&Event::PairPasskeyRequest(request), &facts), asked);
    let confirm = |skip| {
        let code = PairPasskeyConfirmation::builder().code("ABCD-1234".into()).skip_handoff_ux(skip).build();
        Event::PairPasskeyConfirmation(code)
    };
    let step = PasskeyStep::Compare { code: "ABCD-1234".into() };
    let compare = Meaning::Send(Signal::PasskeyRequired { step, lifetime });
    assert_eq!(translator.meaning(&confirm(false), &facts), compare);
    assert_eq!(translator.meaning(&confirm(true), &facts), Meaning::ConfirmPasskey, "the phone knows the device");
    assert_eq!(translator.meaning(&qr("b", 20), &facts), Meaning::Nothing);
    assert_eq!(translator.meaning(&used_up, &facts), end(End::PasskeyTimeout));
}

#[test]
fn pairing_code_has_the_dash_that_whatsapp_shows() {
    let code = |code: &str| {
        Event::PairingCode(PairingCode::builder().code(code.into()).timeout(Duration::from_secs(180)).build())
    };
    let signalled = Signal::PairCode { code: "ABCD-1234".into(), phone: phone(), lifetime: Duration::from_secs(180) };
    assert_eq!(meaning(&code("ABCD1234"), Stage::Offering), Meaning::Send(signalled));
    let unasked = Facts { phone: None, ..facts(Stage::Offering) };
    assert_eq!(Translator::new(1.0).meaning(&code("ABCD1234"), &unasked), Meaning::Nothing);
}
