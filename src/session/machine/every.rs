//! Checks every kind of status against every kind of signal.

use std::time::Duration;

use super::*;
use crate::events::{Account, PairRefusal, PasskeyStep, PhoneNumber};

const FRESH: u64 = 99;
const OLD: u64 = 1;

fn now() -> Timestamp {
    Timestamp::from_second(1_000_000).unwrap()
}

fn account(number: &str, name: Option<&str>) -> Account {
    Account { phone: PhoneNumber::parse(number).unwrap(), name: name.map(str::to_owned), platform: None }
}

fn accounts() -> [Account; 3] {
    [account("6281234567890", None), account("6281234567890", Some("Sari")), account("6289999999999", None)]
}

fn steps() -> [PasskeyStep; 2] {
    [PasskeyStep::Assert { options: "{}".into() }, PasskeyStep::Compare { code: "ABCD-1234".into() }]
}

fn statuses() -> Vec<Status> {
    let mut all = Vec::new();
    for reason in EndReason::ALL {
        for until in [None, Some(now() + Duration::from_secs(60))] {
            all.extend([true, false].map(|remote| Status::Disconnected {
                reason: *reason,
                until,
                remote,
                expected: None,
            }));
        }
    }
    for reason in ConnectingReason::ALL {
        all.push(Status::connecting(*reason, None));
        all.extend(accounts().map(|account| Status::connecting(*reason, Some(account))));
    }
    let ends = [now() - Duration::from_secs(1), now() + Duration::from_secs(60)];
    for (step, expires_at) in steps().into_iter().flat_map(|step| ends.map(|ends| (step.clone(), ends))) {
        let pairing = PairingId::new(OLD);
        all.push(Status::passkey_required(Passkey { step, expires_at, lifetime: None, pairing }));
    }
    let phone = || PhoneNumber::parse("6281234567890").unwrap();
    for expires_at in ends {
        for attempt in [1, 2, 6] {
            let qr = QrCode::new("2@a".into(), expires_at, attempt, 6, PairingId::new(OLD)).unwrap();
            let code = |code| Some(PairCode { code, phone: phone(), expires_at, lifetime: None });
            let refused = PairResult::Refused { refused: PairRefusal::RateLimited };
            for pair in [None, code("ABCD-1234".into()), code(refused)] {
                all.push(Status::QrPending { qr: qr.clone(), pair });
            }
        }
    }
    all.extend(accounts().map(|account| Status::Connected { account }));
    all
}

const ENDS: [End; 17] = [
    End::CodesUsedUp,
    End::UnlinkedByPhone,
    End::Replaced,
    End::Banned { until: None },
    End::AccountLocked,
    End::ClientOutdated { renewed: false },
    End::ClientOutdated { renewed: true },
    End::RateLimited,
    End::PairingFailed,
    End::PairingCutShort,
    End::AccountChanged,
    End::PasskeyTimeout,
    End::ProxyFailed,
    End::StoreFailed,
    End::Unreadable,
    End::LeaseLost,
    End::Internal,
];

fn signals() -> Vec<Signal> {
    let mut all = vec![Signal::Scanned, Signal::Dropped, Signal::Unreachable, Signal::ProxyFailed];
    let phone = || PhoneNumber::parse("6281234567890").unwrap();
    // The library does not check what it passes on.
    for lifetime in [Duration::ZERO, Duration::from_secs(60), Duration::MAX] {
        for (text, attempt) in [("2@a", 1), ("2@a", 2), ("2@b", 6), ("2@b", u32::MAX), ("", 1)] {
            all.push(Signal::Qr { text: text.into(), lifetime, attempt, attempts_max: 6 });
        }
        all.push(Signal::Qr { text: "x".repeat(2_954), lifetime, attempt: 1, attempts_max: 6 });
        all.push(Signal::PairCode { code: "ABCD-1234".into(), phone: phone(), lifetime });
        all.extend(steps().map(|step| Signal::PasskeyRequired { step, lifetime }));
    }
    all.extend(PairRefusal::ALL.iter().map(|reason| Signal::PairCodeRefused { phone: phone(), reason: *reason }));
    all.push(Signal::PairCodeVoid);
    for account in accounts() {
        all.extend([Signal::Connected { account: account.clone() }, Signal::Renamed { account }]);
    }
    all.extend(ENDS.map(Signal::Ended));
    all
}

/// Panics if the status must not follow.
fn check(from: &Status, signal: &Signal, to: &Status) {
    assert_ne!(from, to, "what changes nothing says nothing");
    match (from, signal, to) {
        (_, Signal::Ended(end), _) => assert_eq!(Some(to.clone()), ended(*end)),
        (Status::Disconnected { .. }, ..) => panic!("an ended session stays ended"),
        (_, _, Status::Disconnected { .. }) => panic!("only an end ends"),
        _ => {}
    }
    if let Status::Connected { account } = to {
        let (Signal::Connected { account: signalled } | Signal::Renamed { account: signalled }) = signal else {
            panic!("connected without a login")
        };
        assert_eq!(account, signalled);
        assert!(matches!((from, signal), (Status::Connected { .. }, _) | (_, Signal::Connected { .. })));
    }
    let keeps = matches!(to, Status::Disconnected { .. } | Status::Connected { .. });
    assert!(
        keeps || from.account().is_none() || to.account() == from.account(),
        "an account is forgotten by its end alone"
    );
    if let Status::QrPending { qr, .. } = to {
        let offers = match from {
            Status::QrPending { .. } => true,
            Status::Connecting { reason, account, .. } => {
                use ConnectingReason::{Moving, Starting, WhatsappUnreachable};
                account.is_none() && matches!(reason, Starting | Moving | WhatsappUnreachable)
            }
            Status::Disconnected { .. } | Status::Connected { .. } => false,
        };
        assert!(offers, "no code after the scan");
        assert!(crate::qr::fits(qr.text()));
    }
    if let Some(pairing) = to.pairing() {
        let (old, fresh) = (PairingId::new(OLD), PairingId::new(FRESH));
        assert!(pairing == fresh || from.pairing() == Some(old));
    }
    if let (Status::QrPending { qr: old, .. }, Status::QrPending { qr, .. }) = (from, to) {
        assert_eq!(qr.pairing == old.pairing, qr.attempt >= old.attempt, "a window's attempts never fall");
        let (Signal::PairCode { .. } | Signal::PairCodeRefused { .. }) = signal else { return };
        assert_eq!(old, qr, "a pairing code stands beside its QR");
    }
}

#[test]
fn every_status_after_every_signal_is_one_that_may_follow() {
    let (statuses, signals) = (statuses(), signals());
    let mut followed = 0;
    for from in &statuses {
        for signal in &signals {
            let Some(to) = advance(from, signal, now(), PairingId::new(FRESH)) else { continue };
            let case = std::panic::catch_unwind(|| check(from, signal, &to));
            assert!(case.is_ok(), "{from:?} and {signal:?} give {to:?}");
            followed += 1;
        }
    }
    println!("{} statuses, {} signals, {followed} changes", statuses.len(), signals.len());
}

/// A status that must not last is changed after a time limit, and that repeats until it ends.
#[test]
fn every_status_that_may_not_last_comes_to_an_end_by_itself() {
    let settings = Settings::default();
    let mut all = statuses();
    for from in statuses() {
        all.extend(signals().iter().filter_map(|signal| advance(&from, signal, now(), PairingId::new(FRESH))));
    }
    for status in all {
        let mut status = status;
        for _ in 0..4 {
            let waits = time_limit(&status, now(), &settings);
            let overdue = overdue(&status);
            assert_eq!(waits.is_some(), overdue != Overdue::Nothing, "{status:?}");
            match overdue {
                Overdue::Publish(next) => status = next,
                Overdue::End(end) => match ended(end) {
                    Some(next) => status = next,
                    None => panic!("{status:?} would end without a word"),
                },
                Overdue::Nothing => break,
            }
        }
        assert_eq!(overdue(&status), Overdue::Nothing, "{status:?} goes on for ever");
    }
}

#[test]
fn every_end_decides_about_the_credentials() {
    for end in ENDS {
        let says = ended(end).is_some();
        assert_eq!(says, end != End::LeaseLost, "{end:?}");
        // Once a phone has accepted the device, only its removal on the phone makes the credentials worthless.
        assert_eq!(erases(end, true), end == End::UnlinkedByPhone, "{end:?}");
    }
}

#[test]
fn renewed_code_stays_in_its_window_with_its_pairing_code() {
    let (phone, lifetime) = (PhoneNumber::parse("6281234567890").unwrap(), Duration::from_secs(60));
    let code = |text: &str| Signal::Qr { text: text.into(), lifetime, attempt: 2, attempts_max: 6 };
    let follows = |from: &Status, signal: &Signal, fresh| advance(from, signal, now(), PairingId::new(fresh)).unwrap();
    let shown = follows(&Status::connecting(ConnectingReason::Starting, None), &code("2@a"), OLD);
    let both = follows(&shown, &Signal::PairCode { code: "ABCD-1234".into(), phone, lifetime }, FRESH);
    let renewed = follows(&both, &code("2@b"), FRESH);
    assert_eq!(renewed.pairing(), Some(PairingId::new(OLD)));
    assert!(matches!(renewed, Status::QrPending { pair: Some(_), .. }));
}

#[test]
fn steps_of_a_pairing_do_not_take_an_account_away() {
    let [step, _] = steps();
    let [account, ..] = accounts();
    for from in
        [Status::Connected { account: account.clone() }, Status::connecting(ConnectingReason::Resuming, Some(account))]
    {
        let asked = Signal::PasskeyRequired { step: step.clone(), lifetime: Duration::from_secs(60) };
        for signal in [Signal::Scanned, asked] {
            assert_eq!(advance(&from, &signal, now(), PairingId::new(FRESH)), None, "{from:?} and {signal:?}");
        }
    }
}
