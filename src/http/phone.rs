use phonelib::ParseError;
use serde_json::{Map, Value};

use super::error::{Code, Problem};
use crate::{events::PhoneNumber, link_options::Expected};

/// The number for which a pairing code is requested. Wrong numbers are refused here, with the reason: WhatsApp gives
/// them the same answer as a number that is requested too often.
pub fn asked(body: &Map<String, Value>) -> Result<Option<PhoneNumber>, Problem> {
    match body.get("phoneNumber") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => read(text).map(Some).map_err(|why| Problem::new(Code::BadPhoneNumber, why)),
        Some(_) => {
            Err(Problem::new(Code::BadPhoneNumber, "phoneNumber must be a string of digits, such as \"6281234567890\""))
        }
    }
}

/// The only number that the link may be of. Back ends keep numbers with a + as often as without.
pub fn expected(body: &Map<String, Value>) -> Result<Expected, Problem> {
    match body.get("expectedPhoneNumber") {
        None => Ok(Expected::AsBefore),
        Some(Value::Null) => Ok(Expected::Any),
        Some(Value::String(text)) => {
            let read = read(text.strip_prefix('+').unwrap_or(text));
            let refused = |why| Problem::new(Code::BadPhoneNumber, format!("expectedPhoneNumber: {why}"));
            read.map(Expected::Only).map_err(refused)
        }
        Some(_) => Err(Problem::new(
            Code::BadPhoneNumber,
            "expectedPhoneNumber must be a string of digits, such as \"6281234567890\", or null for any account",
        )),
    }
}

fn read(text: &str) -> Result<PhoneNumber, &'static str> {
    let number = PhoneNumber::parse(text).map_err(|_| form(text))?;
    // E.164 says how long a number may be, each country how long its own are.
    match phonelib::try_normalize_phone_number(&format!("+{text}")) {
        Ok(normal) if normal[1..] == *text => Ok(number),
        Ok(_) => Err("leave out the 0 that follows the country code"),
        Err(ParseError::UnknownCountryCode) => Err("no country has the code that it begins with"),
        Err(ParseError::InvalidLength | ParseError::TooShort | ParseError::TooLong) => {
            Err("too short or too long for its country")
        }
        Err(ParseError::InvalidAreaCode | ParseError::InvalidExchange) => Err("its country has no such area code"),
        Err(_) => Err("not a number that E.164 knows"),
    }
}

fn form(text: &str) -> &'static str {
    if text.starts_with('+') {
        "leave out the + at the beginning"
    } else if text.starts_with('0') {
        "begin with the country code, such as 62, instead of 0"
    } else if !text.bytes().all(|b| b.is_ascii_digit()) {
        "digits only: no spaces, dots, dashes or +"
    } else {
        "7 to 15 digits, beginning with the country code"
    }
}
