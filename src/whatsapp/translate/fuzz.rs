//! Checks the library's events in any order and with any content against what a session accepts.

use std::time::Duration;

use proptest::prelude::*;
use whatsapp_rust::{
    types::events::{
        ClientOutdated, ConnectFailure, Connected, Disconnected, LoggedOut, PairError, PairPasskeyConfirmation,
        PairPasskeyError, PairPasskeyRequest, PairSuccess, PairingCode, PairingCodeError, PairingCodeRefresh,
        PairingQrCodesExhausted, SelfPushNameUpdated, StreamReplaced, TempBanReason, TemporaryBan,
    },
    wacore::{chrono, net::DisconnectReason},
};

use super::*;
use crate::fuzz::{CHEAP, check, text};

const TEXTS: &[&str] = &[
    "2@",
    "ref",
    ",",
    "noise,identity,secret,1",
    "{}",
    "{\"challenge\":\"x\"}",
    "[",
    "ABCD",
    "1234",
    "é",
    "\n",
    "\0",
    "6281234567890",
];

fn lifetimes() -> impl Strategy<Value = Duration> {
    prop_oneof![
        Just(Duration::ZERO),
        Just(Duration::from_secs(20)),
        Just(Duration::from_secs(60)),
        Just(Duration::from_secs(u64::from(u32::MAX))),
        Just(Duration::MAX),
    ]
}

fn reasons() -> impl Strategy<Value = ConnectFailureReason> {
    prop::sample::select(vec![
        400,
        401,
        402,
        403,
        405,
        406,
        409,
        413,
        414,
        415,
        418,
        429,
        463,
        500,
        501,
        503,
        -1,
        i32::MAX,
    ])
    .prop_map(ConnectFailureReason::from)
}

fn events() -> impl Strategy<Value = Event> {
    let empty = String::new;
    prop_oneof![
        6 => (text(TEXTS), lifetimes()).prop_map(|(code, timeout)| {
            Event::PairingQrCode(PairingQrCode::builder().code(code).timeout(timeout).build())
        }),
        2 => (text(TEXTS), lifetimes()).prop_map(|(code, timeout)| {
            Event::PairingCode(PairingCode::builder().code(code).timeout(timeout).build())
        }),
        1 => any::<bool>().prop_map(|by_hand| {
            Event::PairingCodeRefresh(PairingCodeRefresh::builder().force_manual(by_hand).build())
        }),
        1 => text(TEXTS).prop_map(|error| Event::PairingCodeError(PairingCodeError::builder().error(error).build())),
        1 => any::<bool>().prop_map(|ended| {
            Event::PairingQrCodesExhausted(PairingQrCodesExhausted::builder().disconnected(ended).build())
        }),
        2 => text(TEXTS).prop_map(|options| {
            Event::PairPasskeyRequest(PairPasskeyRequest::builder().request_options_json(options).build())
        }),
        1 => (text(TEXTS), any::<bool>()).prop_map(|(code, skip)| {
            Event::PairPasskeyConfirmation(PairPasskeyConfirmation::builder().code(code).skip_handoff_ux(skip).build())
        }),
        1 => text(TEXTS).prop_map(|error| {
            Event::PairPasskeyError(PairPasskeyError::builder().error(error).continuation(false).build())
        }),
        2 => text(TEXTS).prop_map(move |name| Event::PairSuccess(
            PairSuccess::builder()
                .id(Default::default())
                .lid(Default::default())
                .business_name(name)
                .platform(empty())
                .build(),
        )),
        1 => text(TEXTS).prop_map(move |error| Event::PairError(
            PairError::builder()
                .id(Default::default())
                .lid(Default::default())
                .business_name(empty())
                .platform(empty())
                .error(error)
                .build(),
        )),
        3 => Just(Event::Connected(Connected::builder().build())),
        3 => Just(Event::Disconnected(Disconnected::builder().reason(DisconnectReason::StreamEnded).build())),
        1 => text(TEXTS).prop_map(|name| Event::SelfPushNameUpdated(
            SelfPushNameUpdated::builder().from_server(true).old_name(String::new()).new_name(name).build(),
        )),
        1 => (any::<bool>(), reasons())
            .prop_map(|(at_login, reason)| Event::LoggedOut(LoggedOut::builder().on_connect(at_login).reason(reason).build())),
        1 => Just(Event::StreamReplaced(StreamReplaced::builder().build())),
        1 => Just(Event::ClientOutdated(ClientOutdated::builder().build())),
        1 => any::<i32>().prop_map(|minutes| Event::TemporaryBan(
            TemporaryBan::builder().code(TempBanReason::BlockedByUsers).expire(chrono::Duration::minutes(i64::from(minutes))).build(),
        )),
        1 => Just(Event::TemporaryBan(
            TemporaryBan::builder().code(TempBanReason::BlockedByUsers).expire(chrono::Duration::MAX).build(),
        )),
        1 => reasons().prop_map(|reason| Event::ConnectFailure(ConnectFailure::builder().reason(reason).build())),
    ]
}

/// The state as the driver has it.
fn moves(stage: Stage, event: &Event) -> Stage {
    match event {
        Event::PairSuccess(_) if stage == Stage::Offering => Stage::Scanned,
        Event::Connected(_) => Stage::Linked,
        _ => stage,
    }
}

/// No order of events panics. No code is shown after the scan, and every connected status has an account.
#[test]
fn events_in_any_order_mean_what_may_follow() {
    let account = Account { phone: PhoneNumber::parse("6281234567890").unwrap(), name: None, platform: None };
    let facts = (prop::option::of(Just(account.clone())), prop::option::of(Just(account.phone)), any::<bool>());
    let pace = prop_oneof![Just(1.0_f32), Just(0.05)];
    let all = prop::collection::vec(events(), 1..12);
    check("library-events", CHEAP, (all, facts, pace), |(events, (account, phone, late), pace)| {
        let mut translator = Translator::new(pace);
        let mut stage = Stage::Offering;
        let now = if late { Timestamp::MAX } else { Timestamp::from_second(1_000).unwrap() };
        for event in &events {
            let facts = Facts { stage, now, account: account.clone(), phone: phone.clone() };
            let meaning = translator.meaning(event, &facts);
            stage = moves(stage, event);
            let Meaning::Send(signal) = meaning else { continue };
            let offers = matches!(signal, Signal::Qr { .. });
            assert!(!offers || stage == Stage::Offering, "a code in stage {stage:?}");
            if let Signal::Connected { account: signalled } = &signal {
                assert_eq!(Some(signalled), account.as_ref(), "only who is known is connected");
            }
            if let Signal::Qr { attempt, attempts_max, .. } = &signal {
                assert!(1 <= *attempt && attempt <= attempts_max);
            }
            if let Signal::Ended(end) = signal {
                assert_ne!(end, End::LeaseLost, "that is known to the store alone");
                break;
            }
        }
    });
}

#[test]
fn code_is_an_attempt_and_lives_as_long_as_time_allows() {
    let code = PairingQrCode::builder().code(",noise,identity,secret,1".into()).timeout(Duration::MAX).build();
    for pace in [1.0, 0.05] {
        let facts = Facts { stage: Stage::Offering, now: Timestamp::MAX, account: None, phone: None };
        let meaning = Translator::new(pace).meaning(&Event::PairingQrCode(code.clone()), &facts);
        assert!(matches!(meaning, Meaning::Send(Signal::Qr { attempt: 1, .. })), "{meaning:?}");
    }
}
