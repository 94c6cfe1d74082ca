use std::fmt;

use serde::{Deserialize, Serialize};

/// An international number as the contract writes it: digits only, no `+`.
///
/// Invariant: 7 to 15 digits (E.164), not beginning with 0. Hides itself in `Debug`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PhoneNumber(String);

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("a phone number is 7 to 15 digits with its country code and without +")]
pub struct InvalidPhoneNumber;

impl PhoneNumber {
    pub fn parse(text: &str) -> Result<Self, InvalidPhoneNumber> {
        let digits = text.bytes().all(|b| b.is_ascii_digit());
        if !digits || !(7..=15).contains(&text.len()) || text.starts_with('0') {
            return Err(InvalidPhoneNumber);
        }
        Ok(Self(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for PhoneNumber {
    type Error = InvalidPhoneNumber;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text)
    }
}

impl From<PhoneNumber> for String {
    fn from(number: PhoneNumber) -> Self {
        number.0
    }
}

impl fmt::Debug for PhoneNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PhoneNumber(…)")
    }
}

/// What the account's phone runs, in WhatsApp's own word for it: `android`, `iphone`, `smba` for the business app.
///
/// Invariant: 1 to 32 visible ASCII characters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Platform(String);

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("a platform is 1 to {PLATFORM_BYTES_MAX} visible ASCII characters")]
pub struct InvalidPlatform;

const PLATFORM_BYTES_MAX: usize = 32;

impl Platform {
    pub fn parse(text: &str) -> Result<Self, InvalidPlatform> {
        let visible = text.bytes().all(|byte| byte.is_ascii_graphic());
        if !visible || !(1..=PLATFORM_BYTES_MAX).contains(&text.len()) {
            return Err(InvalidPlatform);
        }
        Ok(Self(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Platform {
    type Error = InvalidPlatform;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text)
    }
}

impl From<Platform> for String {
    fn from(platform: Platform) -> Self {
        platform.0
    }
}

/// The WhatsApp account that a session is linked to.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    pub phone: PhoneNumber,
    /// The name its owner gave it on the phone (push name), where WhatsApp has told one.
    pub name: Option<String>,
    /// `None` also for an account that was linked before this was kept.
    #[serde(default)]
    pub platform: Option<Platform>,
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Account(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_short_word_is_a_platform() {
        for good in ["android", "iphone", "smba", "x"] {
            assert_eq!(Platform::parse(good).unwrap().as_str(), good);
        }
        for bad in ["", "an droid", "android\n", "ponsel\u{e9}", &"x".repeat(PLATFORM_BYTES_MAX + 1)] {
            assert_eq!(Platform::parse(bad), Err(InvalidPlatform), "{bad:?}");
        }
    }
}
