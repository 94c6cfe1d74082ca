use std::fmt;

use serde::{Deserialize, Serialize};

/// An international number as the contract writes it: digits only, no `+`.
///
/// Invariant: 7 to 15 digits (E.164), not beginning with 0. Hides itself in `Debug`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PhoneNumber(String);

/// A phone number is 7 to 15 digits with its country code and without +.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("a phone number is 7 to 15 digits with its country code and without +")]
pub struct InvalidPhoneNumber;

/// A mobile number of Brazil, Mexico or Argentina with its mark.
const MARKED_DIGITS: usize = 13;

impl PhoneNumber {
    /// Checks digits with a country code and without `+`.
    pub fn parse(text: &str) -> Result<Self, InvalidPhoneNumber> {
        let digits = text.bytes().all(|b| b.is_ascii_digit());
        if !digits || !(7..=15).contains(&text.len()) || text.starts_with('0') {
            return Err(InvalidPhoneNumber);
        }
        Ok(Self(text.to_owned()))
    }

    /// The text itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether both are the same line. Brazil, Mexico and Argentina mark mobile numbers with a digit that WhatsApp leaves
    /// out of older accounts. Without this the number that a user knows would be another one than WhatsApp's.
    pub fn is_same_line(&self, other: &Self) -> bool {
        self.unmarked() == other.unmarked()
    }

    /// The number without the digit that marks it as mobile.
    fn unmarked(&self) -> String {
        let number = &self.0;
        let (at, mark) = match &number[..2] {
            "55" => (4, '9'),
            "52" => (2, '1'),
            "54" => (2, '9'),
            _ => return number.clone(),
        };
        let rest = number[at..].strip_prefix(mark).filter(|_| number.len() == MARKED_DIGITS);
        // In Brazil a number behind the 9 that begins otherwise is none that there was before the 9.
        match rest.filter(|rest| at == 2 || rest.starts_with(['6', '7', '8', '9'])) {
            Some(rest) => format!("{}{rest}", &number[..at]),
            None => number.clone(),
        }
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

/// The platform of the account's phone, as WhatsApp names it: `android`, `iphone`, `smba` for the business app.
///
/// Invariant: 1 to 32 visible ASCII characters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Platform(String);

/// The text cannot be a platform.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("a platform is 1 to {PLATFORM_BYTES_MAX} visible ASCII characters")]
pub struct InvalidPlatform;

const PLATFORM_BYTES_MAX: usize = 32;

impl Platform {
    /// Checks a word that WhatsApp sent.
    pub fn parse(text: &str) -> Result<Self, InvalidPlatform> {
        let visible = text.bytes().all(|byte| byte.is_ascii_graphic());
        if !visible || !(1..=PLATFORM_BYTES_MAX).contains(&text.len()) {
            return Err(InvalidPlatform);
        }
        Ok(Self(text.to_owned()))
    }

    /// The text itself.
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

/// Longer names are cut: a phone takes 25 characters, but WhatsApp could send any length.
const NAME_CHARS_MAX: usize = 100;

/// Cuts a name to the length that is saved.
pub fn cut_name(name: &str) -> &str {
    name.char_indices().nth(NAME_CHARS_MAX).map_or(name, |(end, _)| &name[..end])
}

/// A name that is safe to show among other text: without the characters that change the direction of the text around
/// it, with which a name could rewrite the sentence that it is part of. `None`: nothing is left.
pub fn shown_name(name: &str) -> Option<String> {
    let name: String = name.chars().filter(|c| !turns_direction(*c)).take(NAME_CHARS_MAX).collect();
    let name = name.trim();
    (!name.is_empty()).then(|| name.to_owned())
}

/// Unicode's `Bidi_Control` (UAX #9).
fn turns_direction(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The WhatsApp account that a session is linked to.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// The account's number.
    pub phone: PhoneNumber,
    /// The name that its owner chose on the phone (push name), if WhatsApp has sent one.
    pub name: Option<String>,
    /// `None` also for an account that was linked before this field existed.
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
    fn mobile_mark_does_not_make_another_line() {
        let same = |one: &str, other: &str| {
            let (one, other) = (PhoneNumber::parse(one).unwrap(), PhoneNumber::parse(other).unwrap());
            assert_eq!(one.is_same_line(&other), other.is_same_line(&one));
            one.is_same_line(&other)
        };
        assert!(same("5511987654321", "551187654321") && same("5215512345678", "525512345678"));
        assert!(same("5491123456789", "541123456789") && same("6281234567890", "6281234567890"));
        for (one, other) in [
            ("6281234567890", "6281234567891"),
            ("5511987654321", "551187654322"),
            ("5511923456789", "551123456789"),
            ("4911987654321", "491187654321"),
            ("521551234567", "52551234567"),
            ("6291234567890", "621234567890"),
        ] {
            assert!(!same(one, other), "{one} {other}");
        }
    }

    #[test]
    fn only_a_short_word_is_a_platform() {
        for good in ["android", "iphone", "smba", "x"] {
            assert_eq!(Platform::parse(good).unwrap().as_str(), good);
        }
        for bad in ["", "an droid", "android\n", "ponsel\u{e9}", &"x".repeat(PLATFORM_BYTES_MAX + 1)] {
            assert_eq!(Platform::parse(bad), Err(InvalidPlatform), "{bad:?}");
        }
    }

    #[test]
    fn bidi_characters_are_removed_from_shown_names() {
        assert_eq!(shown_name(" Toko \u{202e}iraS\u{2066}\u{200f} ").as_deref(), Some("Toko iraS"));
        assert_eq!(shown_name("متجر ساري").as_deref(), Some("متجر ساري"), "its own direction is no control character");
        for nothing in ["", "  ", "\u{202e}\u{61c}"] {
            assert_eq!(shown_name(nothing), None);
        }
        assert_eq!(shown_name(&"x".repeat(10_000)).unwrap().len(), NAME_CHARS_MAX);
    }

    #[test]
    fn name_is_cut_between_characters() {
        assert_eq!(cut_name("Toko Sari"), "Toko Sari");
        assert_eq!(cut_name(&"é".repeat(10_000)), "é".repeat(NAME_CHARS_MAX));
    }
}
