//! Which status follows which, as pure functions, so that every case can be tested.

use std::time::Duration;

use super::{End, Settings, Signal};
use crate::{
    clock::{Timestamp, after},
    events::{ConnectingReason, EndReason, PairCode, PairResult, PairingId, Passkey, QrCode, Status},
};

/// How long a refused pairing code stays in the status, for pages that are opened later: as long as a code is valid.
const REFUSAL_SHOWN: Duration = Duration::from_secs(180);

/// The status after a signal; `None`: nothing changes.
///
/// `fresh` is the id of a window of codes, if the signal begins one. A QR or pairing code that comes after the scan is
/// not valid any more and changes nothing.
pub fn advance(from: &Status, signal: &Signal, now: Timestamp, fresh: PairingId) -> Option<Status> {
    let is_linked = from.account().is_some();
    let to = match signal {
        Signal::Ended(end) => ended(*end)?,
        // An ended session stays ended, whatever the link still says.
        _ if matches!(from, Status::Disconnected { .. }) => return None,
        // These are steps of a pairing. Without this, a page would lose the account that it shows.
        Signal::Scanned | Signal::PasskeyRequired { .. } if is_linked => return None,
        Signal::Qr { text, lifetime, attempt, attempts_max } => {
            let pair = match from {
                Status::QrPending { pair, .. } => pair.clone().filter(|pair| pair.expires_at > now),
                status if awaits_code(status) => None,
                _ => return None,
            };
            let pairing = match from {
                // The same attempt again: the library renews a code whose keys WhatsApp has changed.
                Status::QrPending { qr, .. } if *attempt >= qr.attempt => qr.pairing,
                _ => fresh,
            };
            Status::QrPending {
                qr: QrCode::new(text.clone(), after(now, *lifetime), *attempt, *attempts_max, pairing)?
                    .given_for(*lifetime),
                pair,
            }
        }
        Signal::PairCode { code, phone, lifetime } => {
            let Status::QrPending { qr, .. } = from else { return None };
            let code = PairResult::Code(code.clone());
            let pair =
                PairCode { code, phone: phone.clone(), expires_at: after(now, *lifetime), lifetime: Some(*lifetime) };
            Status::QrPending { qr: qr.clone(), pair: Some(pair) }
        }
        Signal::PairCodeRefused { phone, reason } => {
            let Status::QrPending { qr, .. } = from else { return None };
            let code = PairResult::Refused { refused: *reason };
            let lifetime = Some(REFUSAL_SHOWN);
            let pair = PairCode { code, phone: phone.clone(), expires_at: now + REFUSAL_SHOWN, lifetime };
            Status::QrPending { qr: qr.clone(), pair: Some(pair) }
        }
        // The session requests another one, which replaces it.
        Signal::PairCodeVoid => return None,
        Signal::PasskeyRequired { step, lifetime } => {
            let pairing = from.pairing().unwrap_or(fresh);
            let (expires_at, lifetime) = (after(now, *lifetime), Some(*lifetime));
            Status::passkey_required(Passkey { step: step.clone(), expires_at, lifetime, pairing })
        }
        Signal::Scanned => Status::connecting(ConnectingReason::Scanned, None),
        Signal::Connected { account } => Status::Connected { account: account.clone() },
        Signal::Renamed { account } => match from {
            Status::Connected { .. } => Status::Connected { account: account.clone() },
            Status::Disconnected { .. } | Status::Connecting { .. } | Status::QrPending { .. } => return None,
        },
        Signal::Dropped => match from {
            Status::Connected { account } => Status::connecting(ConnectingReason::Reconnecting, Some(account.clone())),
            // The codes end with the connection that brought them.
            Status::QrPending { .. } => Status::connecting(ConnectingReason::Starting, None),
            Status::Connecting { passkey: Some(_), .. } => Status::connecting(ConnectingReason::Starting, None),
            Status::Connecting { .. } | Status::Disconnected { .. } => return None,
        },
        // The session publishes it: what follows depends on whether there is a pairing.
        Signal::ProxyFailed => return None,
        Signal::Unreachable => Status::connecting(ConnectingReason::WhatsappUnreachable, from.account().cloned()),
    };
    (to != *from).then_some(to)
}

/// The final status for an end; `None` where nothing may be published.
pub fn ended(end: End) -> Option<Status> {
    let until = match end {
        End::Banned { until } => until,
        _ => None,
    };
    Some(Status::Disconnected { reason: end.reason()?, until, remote: true, expected: None })
}

fn awaits_code(status: &Status) -> bool {
    match status {
        Status::Connecting { reason, account, .. } => {
            account.is_none()
                && matches!(
                    reason,
                    ConnectingReason::Starting | ConnectingReason::WhatsappUnreachable | ConnectingReason::Moving
                )
        }
        Status::Disconnected { .. } | Status::QrPending { .. } | Status::Connected { .. } => false,
    }
}

/// The status that a new owner publishes in place of the one it finds: a passkey request ends with the link that asked.
pub fn inherited(status: &Status) -> Option<Status> {
    matches!(status, Status::Connecting { passkey: Some(_), .. })
        .then(|| Status::connecting(ConnectingReason::Starting, None))
}

/// How long a status may last before the session acts on it; `None`: without a limit.
pub fn time_limit(status: &Status, now: Timestamp, settings: &Settings) -> Option<Duration> {
    match status {
        Status::Connecting { reason, account, .. } => match reason {
            ConnectingReason::Starting
            | ConnectingReason::Resuming
            | ConnectingReason::Reconnecting
            | ConnectingReason::Moving => Some(settings.unreachable_after),
            ConnectingReason::WhatsappUnreachable if account.is_some() => None,
            ConnectingReason::WhatsappUnreachable => Some(settings.pairing_without_code_max),
            ConnectingReason::Scanned => Some(settings.login_after_scan_max),
            ConnectingReason::PasskeyRequired => Some(settings.passkey_max),
        },
        Status::QrPending { qr, pair } => {
            // A pairing code may outlive the last QR code: a user who is typing it is not interrupted.
            let code = pair.iter().filter(|pair| pair.is_alive(now)).map(|pair| pair.ends(now));
            let ends = code.fold(qr.ends(now), Timestamp::max);
            let left = Duration::try_from(ends.duration_since(now)).unwrap_or_default();
            Some(left.saturating_add(settings.code_overdue_max))
        }
        Status::Disconnected { .. } | Status::Connected { .. } => None,
    }
}

/// What the session does about a status that lasted too long.
#[derive(Debug, PartialEq, Eq)]
pub enum Overdue {
    Publish(Status),
    End(End),
    Nothing,
}

pub fn overdue(status: &Status) -> Overdue {
    match status {
        Status::Connecting { reason, account, .. } => match reason {
            ConnectingReason::Starting
            | ConnectingReason::Resuming
            | ConnectingReason::Reconnecting
            | ConnectingReason::Moving => {
                Overdue::Publish(Status::connecting(ConnectingReason::WhatsappUnreachable, account.clone()))
            }
            ConnectingReason::WhatsappUnreachable if account.is_some() => Overdue::Nothing,
            ConnectingReason::WhatsappUnreachable => Overdue::End(End::PairingFailed),
            // The device may be linked already: the session's next link shows whether it is.
            ConnectingReason::Scanned => Overdue::End(End::Internal),
            ConnectingReason::PasskeyRequired => Overdue::End(End::PasskeyTimeout),
        },
        Status::QrPending { pair: Some(PairCode { code: PairResult::Code(_), .. }), .. } => {
            Overdue::End(End::CodesUsedUp)
        }
        // It was the last QR code: a pairing code kept the window open, and WhatsApp has withdrawn it since.
        Status::QrPending { qr, .. } if qr.attempt >= qr.attempts_max => Overdue::End(End::CodesUsedUp),
        // The library should have brought the next code, or an end.
        Status::QrPending { .. } => Overdue::End(End::Internal),
        Status::Disconnected { .. } | Status::Connected { .. } => Overdue::Nothing,
    }
}

/// Whether to erase the credentials after this end. Those of a link that was never paired are not kept.
pub fn erases(end: End, paired: bool) -> bool {
    match end {
        End::UnlinkedByPhone => true,
        End::LeaseLost | End::Unreadable => false,
        End::CodesUsedUp
        | End::Replaced
        | End::Banned { .. }
        | End::AccountLocked
        | End::ClientOutdated { .. }
        | End::RateLimited
        | End::PairingFailed
        | End::PairingCutShort
        | End::AccountChanged
        | End::PasskeyTimeout
        | End::ProxyFailed
        | End::StoreFailed
        | End::Internal => !paired,
    }
}

/// The final status after an unlink.
pub fn unlinked(paired: bool, remote: bool) -> Status {
    let reason = if paired { EndReason::UnlinkedByUser } else { EndReason::Cancelled };
    Status::Disconnected { reason, until: None, remote, expected: None }
}

/// The final status after a link of another account than the expected one.
pub fn account_refused(remote: bool) -> Status {
    Status::Disconnected { reason: EndReason::OtherAccount, until: None, remote, expected: None }
}

#[cfg(test)]
mod every;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::events::{Account, PairRefusal, PasskeyStep, PhoneNumber};

    fn advance(from: &Status, signal: &Signal, now: Timestamp) -> Option<Status> {
        super::advance(from, signal, now, PairingId::new(1))
    }

    fn now() -> Timestamp {
        Timestamp::from_second(1_000_000).unwrap()
    }

    fn account() -> Account {
        Account { phone: PhoneNumber::parse("6281234567890").unwrap(), name: None, platform: None }
    }

    fn qr_signal(text: &str) -> Signal {
        Signal::Qr { text: text.into(), lifetime: Duration::from_secs(60), attempt: 1, attempts_max: 6 }
    }

    fn starting() -> Status {
        Status::connecting(ConnectingReason::Starting, None)
    }

    fn showing() -> Status {
        advance(&starting(), &qr_signal("a"), now()).unwrap()
    }

    #[test]
    fn code_is_shown_while_pairing_and_never_after_the_scan() {
        assert!(matches!(showing(), Status::QrPending { .. }));
        let scanned = advance(&showing(), &Signal::Scanned, now()).unwrap();
        let connected = advance(&scanned, &Signal::Connected { account: account() }, now()).unwrap();
        for late in [&scanned, &connected, &Status::ended(EndReason::Cancelled)] {
            assert_eq!(advance(late, &qr_signal("dead"), now()), None, "{late:?}");
        }
    }

    #[test]
    fn next_qr_code_keeps_a_valid_pair_code() {
        let phone = PhoneNumber::parse("6281234567890").unwrap();
        let code = Signal::PairCode { code: "ABCD-1234".into(), phone, lifetime: Duration::from_secs(160) };
        let both = advance(&showing(), &code, now()).unwrap();
        let next = advance(&both, &qr_signal("b"), now() + Duration::from_secs(60)).unwrap();
        assert!(matches!(&next, Status::QrPending { pair: Some(_), .. }));
        let late = advance(&both, &qr_signal("c"), now() + Duration::from_secs(160)).unwrap();
        assert!(matches!(&late, Status::QrPending { pair: None, .. }));
    }

    #[test]
    fn restart_inside_a_pairing_stays_scanned() {
        let scanned = Status::connecting(ConnectingReason::Scanned, None);
        assert_eq!(advance(&scanned, &Signal::Dropped, now()), None);
    }

    #[test]
    fn lost_connection_keeps_its_account_in_the_status() {
        let connected = Status::Connected { account: account() };
        let lost = advance(&connected, &Signal::Dropped, now()).unwrap();
        assert_eq!(lost, Status::connecting(ConnectingReason::Reconnecting, Some(account())));
        let unreachable = advance(&lost, &Signal::Unreachable, now()).unwrap();
        assert_eq!(unreachable.account(), Some(&account()));
    }

    #[test]
    fn every_end_but_a_lost_lease_has_a_final_status() {
        let until = Some(now());
        assert_eq!(ended(End::LeaseLost), None);
        assert_eq!(
            ended(End::Banned { until }),
            Some(Status::Disconnected { reason: EndReason::Banned, until, remote: true, expected: None })
        );
        for end in [End::CodesUsedUp, End::UnlinkedByPhone, End::Replaced, End::PairingFailed, End::Internal] {
            assert!(ended(end).is_some(), "{end:?}");
        }
    }

    #[test]
    fn paired_credentials_are_erased_only_if_the_phone_unlinked() {
        let outdated = End::ClientOutdated { renewed: false };
        for end in [End::Replaced, End::Banned { until: None }, outdated, End::Internal, End::StoreFailed] {
            assert!(!erases(end, true), "{end:?}");
            assert!(erases(end, false), "{end:?}");
        }
        assert!(erases(End::UnlinkedByPhone, true));
        assert!(!erases(End::LeaseLost, false));
    }

    #[test]
    fn status_with_a_time_limit_has_an_overdue_action() {
        let settings = Settings::default();
        for reason in ConnectingReason::ALL {
            for account in [None, Some(account())] {
                let status = Status::connecting(*reason, account);
                let waits = time_limit(&status, now(), &settings).is_some();
                assert_eq!(waits, overdue(&status) != Overdue::Nothing, "{status:?}");
            }
        }
        assert_eq!(time_limit(&Status::Connected { account: account() }, now(), &settings), None);
    }

    #[test]
    fn qr_code_has_a_time_limit_beyond_its_lifetime() {
        let settings = Settings::default();
        let time_limit = time_limit(&showing(), now(), &settings).unwrap();
        assert_eq!(time_limit, Duration::from_secs(60) + settings.code_overdue_max);
    }

    #[test]
    fn code_is_waited_for_no_longer_when_the_clock_is_set_back() {
        let settings = Settings::default();
        let earlier = now() - Duration::from_secs(3_600);
        let phone = PhoneNumber::parse("6281234567890").unwrap();
        let code = Signal::PairCode { code: "ABCD-1234".into(), phone, lifetime: Duration::from_secs(180) };
        for (status, seconds) in [(showing(), 60), (advance(&showing(), &code, now()).unwrap(), 180)] {
            let expected = Duration::from_secs(seconds) + settings.code_overdue_max;
            assert_eq!(time_limit(&status, earlier, &settings), Some(expected));
        }
    }

    #[test]
    fn pairing_code_extends_the_window_beyond_the_last_qr_code() {
        let (settings, phone) = (Settings::default(), PhoneNumber::parse("6281234567890").unwrap());
        let code = Signal::PairCode { code: "ABCD-1234".into(), phone, lifetime: Duration::from_secs(180) };
        let both = advance(&showing(), &code, now()).unwrap();
        let time_limit = time_limit(&both, now(), &settings).unwrap();
        assert_eq!(time_limit, Duration::from_secs(180) + settings.code_overdue_max);
        assert_eq!(overdue(&both), Overdue::End(End::CodesUsedUp));
    }

    #[test]
    fn refused_pairing_code_does_not_extend_the_window() {
        let (settings, phone) = (Settings::default(), PhoneNumber::parse("6281234567890").unwrap());
        let refused = Signal::PairCodeRefused { phone, reason: PairRefusal::RateLimited };
        let status = advance(&showing(), &refused, now()).unwrap();
        let Status::QrPending { pair: Some(pair), .. } = &status else { panic!("the QR goes on: {status:?}") };
        assert!(!pair.is_alive(now()));
        assert_eq!(time_limit(&status, now(), &settings), time_limit(&showing(), now(), &settings));
        assert_eq!(overdue(&status), Overdue::End(End::Internal));
        // The last code runs out while a pairing code is asked for, which WhatsApp then refuses.
        let last = Signal::Qr { text: "last".into(), lifetime: Duration::from_secs(20), attempt: 6, attempts_max: 6 };
        let status = advance(&advance(&showing(), &last, now()).unwrap(), &refused, now()).unwrap();
        assert_eq!(overdue(&status), Overdue::End(End::CodesUsedUp));
    }

    #[test]
    fn passkey_request_ends_with_its_link() {
        let step = PasskeyStep::Assert { options: "{}".into() };
        let asked = Signal::PasskeyRequired { step, lifetime: Duration::from_secs(100) };
        let asked = advance(&showing(), &asked, now()).unwrap();
        assert_eq!(overdue(&asked), Overdue::End(End::PasskeyTimeout));
        assert_eq!(advance(&asked, &qr_signal("dead"), now()), None);
        assert_eq!(advance(&asked, &Signal::Dropped, now()), Some(starting()));
        assert_eq!(inherited(&asked), Some(starting()));
        assert_eq!(inherited(&Status::connecting(ConnectingReason::Scanned, None)), None);
        assert!(advance(&asked, &Signal::Scanned, now()).is_some());
    }

    #[test]
    fn unchanged_status_is_not_published() {
        let connected = Status::Connected { account: account() };
        assert_eq!(advance(&connected, &Signal::Connected { account: account() }, now()), None);
        assert_eq!(advance(&connected, &Signal::Renamed { account: account() }, now()), None);
    }

    #[test]
    fn each_window_of_codes_has_its_own_pairing_id() {
        let code = |text: &str, attempt| Signal::Qr {
            text: text.into(),
            lifetime: Duration::from_secs(20),
            attempt,
            attempts_max: 6,
        };
        let next =
            |from: &Status, signal: &Signal, fresh| super::advance(from, signal, now(), PairingId::new(fresh)).unwrap();
        let first = next(&starting(), &code("a", 1), 1);
        let second = next(&first, &code("b", 2), 2);
        let step = PasskeyStep::Compare { code: "ABCD-1234".into() };
        let asked = next(&second, &Signal::PasskeyRequired { step, lifetime: Duration::from_secs(60) }, 3);
        for status in [&first, &second, &asked] {
            assert_eq!(status.pairing(), Some(PairingId::new(1)), "{status:?}");
        }
        let redialled = next(&asked, &Signal::Dropped, 4);
        assert_eq!(redialled.pairing(), None);
        assert_eq!(next(&redialled, &code("c", 1), 5).pairing(), Some(PairingId::new(5)));
        assert_eq!(next(&second, &code("d", 1), 6).pairing(), Some(PairingId::new(6)), "counted from 1 again");
    }
}
