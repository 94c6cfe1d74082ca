use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::Value;

/// Describes a text that is not a token, so that its sender finds the mistake. Repeats nothing of it: it may be a
/// secret.
pub fn describe(text: &str) -> String {
    let parts: Vec<&str> = text.split('.').collect();
    let begins = |word: &str| text.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word));
    let what = if text.is_empty() {
        "it is empty"
    } else if ["undefined", "null", "true", "false", "[object Object]"].contains(&text) {
        return format!("it is the word {text}");
    } else if text.starts_with(['"', '\'']) || text.ends_with(['"', '\'']) || begins("%22") {
        "it begins or ends with a quote"
    } else if begins("bearer") {
        "it begins with the word Bearer"
    } else if begins("basic") {
        "it begins with the word Basic"
    } else if begins("s%3A") || begins("s:") {
        "it begins as a signed cookie of Express does"
    } else if begins("j%3A") || begins("j:") || text.starts_with('{') || begins("%7B") {
        "it is JSON, not a token"
    } else if parts.len() == 5 {
        "it has 5 parts, as an encrypted token (JWE) does"
    } else if parts.len() == 1 {
        return format!("it has {} characters and no dot, as a session's id does", text.chars().count());
    } else if parts.len() != 3 {
        return format!("it has {} parts with dots between them instead of 3", parts.len());
    } else {
        return head(parts[0]).to_owned();
    };
    what.to_owned()
}

fn head(part: &str) -> &'static str {
    let json = BASE64_URL_SAFE_NO_PAD.decode(part).ok();
    let Some(header) = json.and_then(|json| serde_json::from_slice::<Value>(&json).ok()) else {
        return "its first part is not JSON in base64url";
    };
    if header.get("crit").is_some() {
        "its header demands an extension (crit), and none is understood here"
    } else if header.get("alg").and_then(Value::as_str).is_none() {
        "its header names no algorithm (alg)"
    } else {
        "its claims or its signature cannot be read"
    }
}
