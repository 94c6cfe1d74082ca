use serde::{Deserialize, Serialize};

use crate::{
    events::{PhoneNumber, Status},
    link_options::{DeviceName, Expected, LinkOptions, ProxyName},
};

/// What the user wants of a session, saved until it is fulfilled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Saved", into = "Saved")]
pub enum DesiredState {
    /// Be linked, and stay so. With a number: offer a pairing code for it beside the QR.
    Run {
        /// The number for a pairing code.
        phone: Option<PhoneNumber>,
        /// What the link has to be. What a request leaves open stays as the request before said, or the end of the last
        /// session.
        options: LinkOptions,
    },
    /// Be unlinked, or give up the pairing under way; credentials are wiped.
    Unlink,
    /// What a later version of this program saved. It is left to instances of that version: this version neither acts
    /// on it nor marks it as fulfilled, and the user's next request replaces it.
    Unknown(serde_json::Value),
}

impl DesiredState {
    /// To be linked, with any account.
    pub const fn run(phone: Option<PhoneNumber>) -> Self {
        Self::Run { phone, options: LinkOptions { expected: Expected::AsBefore, device_name: None, proxy: None } }
    }

    /// Fills in what this request leaves open, from the desired state that stands or else from the newest status.
    pub(in crate::store) fn after(self, standing: Option<&Self>, newest: Option<&Status>) -> Self {
        let Self::Run { phone, options } = self else { return self };
        let options = match (standing, newest) {
            (Some(Self::Run { options: before, .. }), _) => options.or(before),
            (None, Some(Status::Disconnected { expected: Some(number), .. })) => {
                options.or(&LinkOptions::expecting(number.clone()))
            }
            (Some(Self::Unlink | Self::Unknown(_)) | None, _) => options,
        };
        Self::Run { phone, options }
    }
}

/// The saved form. Versions that do not know `RunAs` leave such a tenant alone: they would link any account, and past the
/// proxy.
#[derive(Serialize, Deserialize)]
enum Saved {
    Run {
        phone: Option<PhoneNumber>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        device_name: Option<DeviceName>,
    },
    RunAs {
        phone: Option<PhoneNumber>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        device_name: Option<DeviceName>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expected: Option<PhoneNumber>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        proxy: Option<ProxyName>,
    },
    Unlink,
    #[serde(untagged)]
    Unknown(serde_json::Value),
}

impl From<DesiredState> for Saved {
    fn from(desired: DesiredState) -> Self {
        match desired {
            DesiredState::Run { phone, options: LinkOptions { expected, device_name, proxy } } => {
                let expected = match expected {
                    Expected::Only(number) => Some(number),
                    Expected::AsBefore | Expected::Any => None,
                };
                if expected.is_none() && proxy.is_none() {
                    return Self::Run { phone, device_name };
                }
                Self::RunAs { phone, device_name, expected, proxy }
            }
            DesiredState::Unlink => Self::Unlink,
            DesiredState::Unknown(saved) => Self::Unknown(saved),
        }
    }
}

impl From<Saved> for DesiredState {
    fn from(saved: Saved) -> Self {
        match saved {
            Saved::Run { phone, device_name } => {
                Self::Run { phone, options: LinkOptions { device_name, ..LinkOptions::default() } }
            }
            Saved::RunAs { phone, device_name, expected, proxy } => {
                let expected = expected.map_or(Expected::AsBefore, Expected::Only);
                Self::Run { phone, options: LinkOptions { expected, device_name, proxy } }
            }
            Saved::Unlink => Self::Unlink,
            Saved::Unknown(saved) => Self::Unknown(saved),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::events::EndReason;

    fn number(text: &str) -> PhoneNumber {
        PhoneNumber::parse(text).unwrap()
    }

    fn expecting(text: &str) -> DesiredState {
        DesiredState::Run { phone: None, options: LinkOptions::expecting(number(text)) }
    }

    #[test]
    fn expected_number_holds_over_a_request_without_one() {
        let (plain, one, two) = (DesiredState::run(None), expecting("6281234567890"), expecting("6281234567891"));
        let by_code = DesiredState::run(Some(number("6281234567890")));
        assert_eq!(plain.clone().after(Some(&one), None), one);
        assert_eq!(two.clone().after(Some(&one), None), two);
        let DesiredState::Run { phone: Some(_), options } = by_code.after(Some(&one), None) else { panic!("a code") };
        assert_eq!(options.expected_number(), Some(&number("6281234567890")));
        let any = LinkOptions { expected: Expected::Any, ..LinkOptions::default() };
        let lifted = DesiredState::Run { phone: None, options: any }.after(Some(&one), None);
        let DesiredState::Run { options, .. } = plain.clone().after(Some(&lifted), None) else { panic!("to run") };
        assert_eq!(options.expected_number(), None);
        assert_eq!(plain.clone().after(Some(&DesiredState::Unlink), None), plain, "an unlink ends it");
    }

    #[test]
    fn expected_number_holds_over_the_end_of_a_session() {
        let (plain, kept) = (DesiredState::run(None), number("6281234567890"));
        for (reason, holds) in [
            (EndReason::QrExpired, true),
            (EndReason::OtherAccount, true),
            (EndReason::Internal, true),
            (EndReason::Cancelled, false),
            (EndReason::UnlinkedByUser, false),
            (EndReason::UnlinkedByPhone, false),
        ] {
            let ended = Status::ended(reason).expecting(Some(&kept));
            let next = if holds { expecting("6281234567890") } else { plain.clone() };
            assert_eq!(plain.clone().after(None, Some(&ended)), next, "{reason:?}");
        }
    }

    #[test]
    fn saved_restrictions_are_hidden_from_older_versions() {
        let named = LinkOptions { device_name: Some(DeviceName::parse("Toko").unwrap()), ..LinkOptions::default() };
        let through = LinkOptions { proxy: Some(ProxyName::parse("jakarta").unwrap()), ..LinkOptions::default() };
        for (desired, saved) in [
            (DesiredState::run(None), json!({"Run": {"phone": null}})),
            (DesiredState::Run { phone: None, options: named }, json!({"Run": {"phone": null, "device_name": "Toko"}})),
            (expecting("6281234567890"), json!({"RunAs": {"phone": null, "expected": "6281234567890"}})),
            (
                DesiredState::Run { phone: None, options: through },
                json!({"RunAs": {"phone": null, "proxy": "jakarta"}}),
            ),
            (DesiredState::Unlink, json!("Unlink")),
            (DesiredState::Unknown(json!({"Sing": 1})), json!({"Sing": 1})),
        ] {
            assert_eq!(serde_json::to_value(&desired).unwrap(), saved);
            assert_eq!(serde_json::from_value::<DesiredState>(saved).unwrap(), desired);
        }
    }
}
