use std::{collections::BTreeSet, sync::Arc};

use futures::FutureExt as _;

use super::*;
use crate::{
    auth::{KeySource, Secret, Settings},
    clock::{Clock, Timestamp},
    fuzz::{CHEAP, COSTLY, check, check_bytes},
};

const NAME: &str = "fibidy_auth";
const SECRET: &str = "kZ3uVw8qYt1LrX5mNc7bHd2sGf9jPa4e6To0iUyE";

/// Leaves out bytes that the HTTP library refuses in a header's value; a line feed begins another header line.
fn headers(name: header::HeaderName, bytes: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in bytes.split(|byte| *byte == b'\n') {
        let line: Vec<u8> = line.iter().copied().filter(|byte| *byte == b'\t' || !byte.is_ascii_control()).collect();
        headers.append(&name, HeaderValue::from_bytes(&line).expect("no control character is left"));
    }
    headers
}

/// The values of our cookie by RFC 6265 section 5.4, read in the simplest way there is.
fn expected(headers: &HeaderMap) -> Vec<String> {
    let mut found = Vec::new();
    for line in headers.get_all(header::COOKIE) {
        for pair in String::from_utf8_lossy(line.as_bytes()).split(';') {
            let Some((name, value)) = pair.split_once('=') else { continue };
            if name.trim() == NAME {
                found.push(token_of(value.trim()));
            }
        }
    }
    found
}

fn token_of(value: &str) -> String {
    let mut value = value.to_owned();
    for quote in ["\"", "%22"] {
        if value.len() >= 2 * quote.len() && value.starts_with(quote) && value.ends_with(quote) {
            value = value[quote.len()..value.len() - quote.len()].to_owned();
            break;
        }
    }
    if value.to_ascii_lowercase().starts_with("bearer") {
        for space in ["%20", " ", "+"] {
            if value["bearer".len()..].starts_with(space) {
                return value["bearer".len() + space.len()..].to_owned();
            }
        }
    }
    value
}

#[test]
fn cookies_are_read_as_rfc_6265_says() {
    const PIECES: &[&[u8]] = &[
        b"fibidy_auth",
        b"fibidy_auth=",
        b"; fibidy_auth=a.b.c",
        b"=",
        b";",
        b"; ",
        b" ",
        b"\t",
        b"\"",
        b"%22",
        b"Bearer%20",
        b"bearer ",
        b"BEARER+",
        b"bearer",
        b"a.b.c",
        b",",
        b"\\",
        b"%",
        b"other=1; ",
        b"Fibidy_Auth=",
        "é".as_bytes(),
        b"\n",
        b"$Version=1",
    ];
    check_bytes("cookies", CHEAP, PIECES, |bytes| {
        let headers = headers(header::COOKIE, bytes);
        assert_eq!(cookies(&headers, NAME), expected(&headers));
        // The detail of a refusal repeats no value.
        assert!(!missing(&headers, NAME, false).contains("a.b.c"));
    });
}

#[test]
fn authorization_is_a_bearer_by_its_first_word_alone() {
    const PIECES: &[&[u8]] =
        &[b"Bearer", b"bearer ", b"BEARER\t", b" ", b"Basic ", b"a.b.c", b"Bear", b"\xff", b",", b"=", b"\n"];
    check_bytes("authorization", CHEAP, PIECES, |bytes| {
        for value in headers(header::AUTHORIZATION, bytes).get_all(header::AUTHORIZATION) {
            let text = value.as_bytes().to_ascii_lowercase();
            let is_bearer = text == b"bearer" || text.starts_with(b"bearer ") || text.starts_with(b"bearer\t");
            let read = bearer(value);
            assert_eq!(read.is_some(), is_bearer, "{value:?}");
            if let Some(Some(token)) = read {
                assert_eq!(token, str::from_utf8(&value.as_bytes()[6..]).unwrap().trim());
            }
        }
    });
}

struct Now;

impl Clock for Now {
    fn now(&self) -> Timestamp {
        Timestamp::from_second(1_800_000_000).unwrap()
    }
}

/// Whatever a sibling domain plants: either all tokens of ours name the tenant of the valid ones, or the request is refused.
#[test]
fn planted_cookies_never_choose_the_tenant() {
    let (clock, secret) = (Arc::new(Now), Secret::new(SECRET));
    let keys = vec![KeySource::Secret(secret)];
    let verifier = TokenVerifier::new(Settings { keys, ..Settings::default() }, clock).unwrap();
    let sign = |claims: serde_json::Value| {
        let key = jsonwebtoken::EncodingKey::from_secret(SECRET.as_bytes());
        jsonwebtoken::encode(&jsonwebtoken::Header::default(), &claims, &key).unwrap()
    };
    let now = Now.now().as_second();
    let token = |tenant: &str, seconds: i64| sign(serde_json::json!({ "id": tenant, "exp": now + seconds }));
    // Whether it is valid, and the tenant of those that we signed.
    let tokens: Vec<(String, bool, Option<&str>)> = vec![
        (token("a", 600), true, Some("a")),
        (token("a", 900), true, Some("a")),
        (token("b", 600), true, Some("b")),
        (token("a", -600), false, Some("a")),
        (token("b", -600), false, Some("b")),
        (sign(serde_json::json!({ "id": "b", "exp": now + 600, "nbf": now + 300 })), false, Some("b")),
        (sign(serde_json::json!({ "id": "b" })), false, Some("b")),
        (token("a b", 600), false, None),
        (token("b", 600).replace('.', ".A"), false, None),
        ("undefined".to_owned(), false, None),
        (String::new(), false, None),
    ];
    let chosen = proptest::collection::vec(0..tokens.len(), 0..COOKIES_MAX);
    check("planted-cookies", COSTLY, chosen, |chosen| {
        let line: Vec<String> = chosen.iter().map(|at| format!("{NAME}={}", tokens[*at].0)).collect();
        let headers = headers(header::COOKIE, line.join("; ").as_bytes());
        let read = cookies(&headers, NAME);
        assert_eq!(read.len(), chosen.len());
        let checked = from_cookies(&verifier, &read).now_or_never().expect("a secret is never waited for");
        let named: BTreeSet<&str> = chosen.iter().filter_map(|at| tokens[*at].2).collect();
        let is_signed_in = chosen.iter().any(|at| tokens[*at].1);
        match (checked, is_signed_in, named.len()) {
            (Ok(identity), true, 1) => assert!(named.contains(identity.tenant.as_str())),
            (Err(Refusal::Token(..)), false, _) => {}
            (Err(Refusal::Ambiguous), true, 2) => {}
            (Ok(identity), ..) => panic!("{named:?} was read as {:?}", identity.tenant),
            (Err(_), ..) => panic!("{named:?} was refused"),
        }
    });
}
