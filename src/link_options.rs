//! What a request fixes for its link: the expected account, the device's name, the proxy's name.

use serde::{Deserialize, Serialize};

use crate::events::{PhoneNumber, shown_name};

/// Fixed by a request and its token, and kept until the link ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinkOptions {
    /// Whose account it may be.
    pub expected: Expected,
    /// How the phone's list of linked devices names it. `None`: by the configured name.
    pub device_name: Option<DeviceName>,
    /// The operator's proxy that leads to WhatsApp. `None`: the one that the link has already, or else the one for all.
    pub proxy: Option<ProxyName>,
}

/// Which account a link may be of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Expected {
    /// As in the previous request. In a saved request: any.
    #[default]
    AsBefore,
    /// Any account.
    Any,
    /// This one only.
    Only(PhoneNumber),
}

impl LinkOptions {
    /// Default options, but for this account only.
    pub fn expecting(number: PhoneNumber) -> Self {
        Self { expected: Expected::Only(number), ..Self::default() }
    }

    /// Fills in what this request leaves open. Without this a page that asks again would lift what the back end asked for.
    pub fn or(self, before: &Self) -> Self {
        let expected = match self.expected {
            Expected::AsBefore => before.expected.clone(),
            said => said,
        };
        Self {
            expected,
            device_name: self.device_name.or_else(|| before.device_name.clone()),
            proxy: self.proxy.or_else(|| before.proxy.clone()),
        }
    }

    /// The only number whose account the link may be of.
    pub fn expected_number(&self) -> Option<&PhoneNumber> {
        match &self.expected {
            Expected::Only(number) => Some(number),
            Expected::AsBefore | Expected::Any => None,
        }
    }

    /// Whether the link must not be of this account.
    pub fn refuses(&self, phone: &PhoneNumber) -> bool {
        self.expected_number().is_some_and(|number| !number.is_same_line(phone))
    }
}

/// A name for the phone's list of linked devices.
///
/// Invariant: 1 to 40 characters, none of them a control character or one that turns the direction of text, and no white
/// space around them. Without this a name could rewrite the line of the list that it stands in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DeviceName(String);

/// The text cannot be a device's name.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "a device's name is 1 to {DEVICE_NAME_CHARS_MAX} characters, without control characters, characters that turn the direction of text, and white space around it"
)]
pub struct InvalidDeviceName;

const DEVICE_NAME_CHARS_MAX: usize = 40;

impl DeviceName {
    /// Checks a name.
    pub fn parse(text: &str) -> Result<Self, InvalidDeviceName> {
        let is_short = text.chars().count() <= DEVICE_NAME_CHARS_MAX;
        let is_plain = !text.chars().any(char::is_control) && shown_name(text).as_deref() == Some(text);
        if is_short && is_plain { Ok(Self(text.to_owned())) } else { Err(InvalidDeviceName) }
    }

    /// The text itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for DeviceName {
    type Error = InvalidDeviceName;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text)
    }
}

impl From<DeviceName> for String {
    fn from(name: DeviceName) -> Self {
        name.0
    }
}

/// The name of one of the operator's proxies.
///
/// Invariant: 1 to 64 letters, digits, dots, dashes and underscores.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ProxyName(String);

/// The text cannot be a proxy's name.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("a proxy's name is 1 to {PROXY_NAME_BYTES_MAX} of the characters a-z, A-Z, 0-9, dot, dash and underscore")]
pub struct InvalidProxyName;

const PROXY_NAME_BYTES_MAX: usize = 64;

impl ProxyName {
    /// Checks a name.
    pub fn parse(text: &str) -> Result<Self, InvalidProxyName> {
        let is_plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte));
        if is_plain && (1..=PROXY_NAME_BYTES_MAX).contains(&text.len()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidProxyName)
        }
    }

    /// The text itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for ProxyName {
    type Error = InvalidProxyName;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text)
    }
}

impl From<ProxyName> for String {
    fn from(name: ProxyName) -> Self {
        name.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str) -> PhoneNumber {
        PhoneNumber::parse(text).unwrap()
    }

    #[test]
    fn only_a_short_plain_text_is_a_device_name() {
        for good in ["Tautan", "Toko Sari", "متجر ساري", "T", &"é".repeat(DEVICE_NAME_CHARS_MAX)] {
            assert_eq!(DeviceName::parse(good).unwrap().as_str(), good);
        }
        let long = "x".repeat(DEVICE_NAME_CHARS_MAX + 1);
        for bad in
            ["", " ", " Toko", "Toko ", "To\nko", "To\u{0}ko", "To\u{85}ko", "\u{202e}okoT", "To\u{2066}ko", &long]
        {
            assert_eq!(DeviceName::parse(bad), Err(InvalidDeviceName), "{bad:?}");
        }
    }

    #[test]
    fn only_a_plain_word_is_a_proxy_name() {
        for good in ["jakarta", "id-1.b_2", &"x".repeat(PROXY_NAME_BYTES_MAX)] {
            assert_eq!(ProxyName::parse(good).unwrap().as_str(), good);
        }
        let long = "x".repeat(PROXY_NAME_BYTES_MAX + 1);
        for bad in ["", "http://proxy:1", "proxy:1", "a b", "a\n", "jakart\u{e1}", &long] {
            assert_eq!(ProxyName::parse(bad), Err(InvalidProxyName), "{bad:?}");
        }
    }

    #[test]
    fn open_options_come_from_the_request_before() {
        let before = LinkOptions {
            device_name: Some(DeviceName::parse("Toko Sari").unwrap()),
            proxy: Some(ProxyName::parse("jakarta").unwrap()),
            ..LinkOptions::expecting(number("6281234567890"))
        };
        assert_eq!(LinkOptions::default().or(&before), before);
        let other = LinkOptions::expecting(number("6281234567891"));
        assert_eq!(other.or(&before).expected_number(), Some(&number("6281234567891")));
        let any = LinkOptions { expected: Expected::Any, ..LinkOptions::default() };
        assert_eq!(any.or(&before).expected_number(), None);
    }

    #[test]
    fn every_account_but_the_expected_one_is_refused() {
        let expecting = LinkOptions::expecting(number("6281234567890"));
        assert!(!expecting.refuses(&number("6281234567890")));
        assert!(expecting.refuses(&number("6281234567891")));
        assert!(!LinkOptions::default().refuses(&number("6281234567891")));
    }
}
