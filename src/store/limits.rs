use std::time::Duration;

use super::{DesiredState, StoreError};
use crate::{events::Status, limit::Limit};

const TEN_MINUTES: Duration = Duration::from_secs(600);

/// How often a tenant's users may send requests that reach other people, over all instances.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Requests for a pairing code. Each one rings on a phone, which may be a stranger's.
    pub pair_codes: Limit,
    /// Requests that open a connection to WhatsApp.
    pub dials: Limit,
    /// Pairing codes for one phone number, over all tenants.
    pub number_codes: Limit,
}

impl Default for Limits {
    fn default() -> Self {
        let limit = |count| Limit::new(count, TEN_MINUTES).expect("neither is zero");
        Self { pair_codes: limit(5), dials: limit(10), number_codes: limit(3) }
    }
}

/// The limit that a request exceeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limited {
    /// [`Limits::pair_codes`].
    PairCodes,
    /// [`Limits::dials`].
    Dials,
}

impl Limited {
    /// The error for this limit; `wait` is the time until it is free again.
    pub fn after(self, wait: Duration) -> StoreError {
        StoreError::Limited { limited: self, wait }
    }
}

/// What a request counts against. A disconnect counts against nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// A pairing code.
    pub pair_code: bool,
    /// A connection to WhatsApp.
    pub dial: bool,
}

impl Usage {
    /// Of a request while `standing` is the current desired state. A repetition changes nothing and uses nothing.
    pub fn of(request: &DesiredState, standing: Option<&DesiredState>, status: Option<&Status>) -> Self {
        let DesiredState::Run { phone, .. } = request else { return Self::default() };
        let disconnected = matches!(status, None | Some(Status::Disconnected { .. }));
        match standing {
            Some(DesiredState::Run { phone: before, .. }) if !disconnected => {
                let linked = matches!(status, Some(Status::Connected { .. }));
                Self { pair_code: phone.is_some() && phone != before && !linked, dial: false }
            }
            _ => Self { pair_code: phone.is_some(), dial: true },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::{Account, ConnectingReason, EndReason, PhoneNumber};

    #[test]
    fn repeated_requests_use_nothing_of_the_limits() {
        let phone = |digit: char| PhoneNumber::parse(&format!("62812345678{digit}")).unwrap();
        let (plain, one) = (DesiredState::run(None), DesiredState::run(Some(phone('1'))));
        let two = DesiredState::run(Some(phone('2')));
        let starting = Status::connecting(ConnectingReason::Starting, None);
        let ended = Status::ended(EndReason::QrExpired);
        let connected = Status::Connected { account: Account { phone: phone('1'), name: None, platform: None } };
        let used = |request, standing, status| {
            let Usage { pair_code, dial } = Usage::of(request, standing, status);
            (pair_code, dial)
        };
        assert_eq!(used(&plain, None, None), (false, true), "the first");
        assert_eq!(used(&one, None, Some(&ended)), (true, true));
        assert_eq!(used(&plain, Some(&plain), Some(&starting)), (false, false), "a repetition");
        assert_eq!(used(&one, Some(&one), Some(&starting)), (false, false), "a repetition");
        assert_eq!(used(&one, Some(&plain), Some(&starting)), (true, false), "a code beside the QR");
        assert_eq!(used(&two, Some(&one), Some(&starting)), (true, false), "another number");
        assert_eq!(used(&plain, Some(&one), Some(&starting)), (false, false));
        assert_eq!(used(&two, Some(&one), Some(&connected)), (false, false), "no code is asked for while linked");
        assert_eq!(used(&plain, Some(&DesiredState::Unlink), Some(&starting)), (false, true), "it follows an unlink");
        assert_eq!(used(&one, Some(&DesiredState::Unlink), Some(&connected)), (true, true), "it follows an unlink");
        assert_eq!(used(&plain, Some(&plain), Some(&ended)), (false, true));
        assert_eq!(used(&DesiredState::Unlink, Some(&one), Some(&starting)), (false, false), "to disconnect is free");
    }
}
