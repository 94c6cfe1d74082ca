//! Requests with random content: no header, query or body panics, and only what the documents allow is accepted.

use warp::http::{HeaderMap, HeaderName, HeaderValue, Request, header};

use super::{
    Settings, body,
    events::last_event_id,
    host, origin, phone,
    qr::{Form, negotiate},
};
use crate::{
    events::{EventId, PhoneNumber},
    fuzz::{CHEAP, bytes, check, check_bytes},
};

fn value(bytes: &[u8]) -> HeaderValue {
    let bytes: Vec<u8> = bytes.iter().copied().filter(|byte| *byte == b'\t' || !byte.is_ascii_control()).collect();
    HeaderValue::from_bytes(&bytes).expect("no control character is left")
}

const SITES: &[&[u8]] = &[
    b"https://app.example.com",
    b"https://wa.example.com",
    b"HTTPS://APP.example.com:443",
    b"http://",
    b"https://",
    b"wa.example.com",
    b"evil.example",
    b"app.example.com.evil.example",
    b"app.example.com@evil.example",
    b"null",
    b"same-origin",
    b"cross-site",
    b":80",
    b":443",
    b":8443",
    b":",
    b".",
    b"/",
    b"[::1]",
    b"[",
    b"]",
    b"@",
    b"%",
    b" ",
    b"xn--",
];

/// Host, in lower case, and port of an origin on the web, or of a `Host` that is compared with it.
fn place(authority: &str, default: &str) -> Option<(String, String)> {
    let after = authority.rfind(']').map_or(0, |end| end + 1);
    let (host, port) = match authority[after..].find(':') {
        Some(at) => (&authority[..after + at], &authority[after + at + 1..]),
        None => (authority, ""),
    };
    let port = if port.is_empty() { default } else { port.trim_start_matches('0') };
    (!host.is_empty()).then(|| (host.to_ascii_lowercase(), port.to_owned()))
}

#[test]
fn command_is_let_through_from_allowed_origins_alone() {
    let settings = Settings {
        public_url: Some("https://wa.example.com".to_owned()),
        allowed_origins: vec!["https://app.example.com".to_owned()],
        ..Settings::default()
    };
    let header = || proptest::option::weighted(0.8, bytes(SITES));
    check("origins", CHEAP, (header(), header(), header()), |(origin, host, site)| {
        let mut headers = HeaderMap::new();
        for (name, bytes) in [("origin", &origin), ("host", &host), ("sec-fetch-site", &site)] {
            bytes.iter().for_each(|bytes| _ = headers.insert(name, value(bytes)));
        }
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        if origin::check(&settings, &headers).is_err() {
            return;
        }
        let same_origin = text("sec-fetch-site") == Some("same-origin");
        let Some(origin) = text("origin") else { return assert!(same_origin) };
        assert_ne!(origin, "null");
        let named = ["https://wa.example.com", "https://app.example.com"].contains(&origin);
        let (scheme, authority) = origin.split_once("://").unwrap_or_default();
        let default = if scheme.eq_ignore_ascii_case("https") { "443" } else { "80" };
        let ours = place(authority, default);
        let is_host = ours.is_some() && ours == text("host").and_then(|host| place(host, default));
        assert!(same_origin || named || is_host, "{headers:?}");
    });
}

#[test]
fn request_is_for_one_host_at_most() {
    let lines = proptest::collection::vec(bytes(SITES), 0..3);
    check("hosts", CHEAP, lines, |lines| {
        let mut request = Request::new(());
        lines.iter().for_each(|line| _ = request.headers_mut().append(header::HOST, value(line)));
        if host::normalize(&mut request).is_ok() {
            let left: Vec<_> = request.headers().get_all(header::HOST).iter().collect();
            assert!(left.len() <= 1);
            for host in left {
                let host = host.to_str().expect("what cannot be read is refused");
                assert!(!host.contains(['/', '@', ' ', '\\']), "{host:?}");
            }
        }
    });
}

#[test]
fn picture_is_sent_only_to_clients_that_accept_it() {
    const PIECES: &[&[u8]] = &[
        b"text/plain",
        b"image/png",
        b"image/svg+xml",
        b"application/json",
        b"image/*",
        b"*/*",
        b"text/html",
        b",",
        b", ",
        b";",
        b";q=0",
        b";q=0.5",
        b"q=",
        b";charset=utf-8",
        b"\"",
        b"=",
        b"/",
        b"*",
        b" ",
        b"\xff",
    ];
    check_bytes("accept", CHEAP, PIECES, |bytes| {
        let headers = HeaderMap::from_iter([(header::ACCEPT, value(bytes))]);
        let written = String::from_utf8_lossy(bytes).to_ascii_lowercase();
        let names = |kinds: &[&str]| kinds.iter().any(|kind| written.contains(kind));
        match negotiate(&headers) {
            // Also if it cannot be parsed.
            Ok(Form::Terminal) | Err(_) => {}
            Ok(Form::Png) => assert!(names(&["image/png", "image/*", "*/*"]), "{written}"),
            Ok(Form::Svg) => assert!(names(&["image/svg+xml", "image/*", "*/*"]), "{written}"),
            Ok(Form::Json) => assert!(names(&["application/json", "*/*"]), "{written}"),
        }
    });
}

#[test]
fn last_event_id_is_one_that_was_written() {
    const PIECES: &[&[u8]] = &[
        b"0123456789abcdef",
        b"00000000000000f0",
        b"-",
        b"1",
        b"beef",
        b"0",
        b"18446744073709551615",
        b"ffffffffffffffff",
        b"18446744073709551616",
        b"+",
        b" ",
        b"%2D",
        b"&lastEventId=",
        b"lastEventId=",
        b"0123456789abcdef-beef-42",
    ];
    check_bytes("event-ids", CHEAP, PIECES, |bytes| {
        let text = String::from_utf8_lossy(bytes);
        let id = EventId::parse(&text);
        assert!(id.is_none_or(|id| id.to_string() == text));
        let header = HeaderMap::from_iter([(HeaderName::from_static("last-event-id"), value(bytes))]);
        assert_eq!(last_event_id(&header, ""), header["last-event-id"].to_str().ok().and_then(EventId::parse));
        if let Some(id) = last_event_id(&HeaderMap::new(), &text) {
            assert!(text.contains(&id.to_string()), "{text}");
        }
    });
}

#[test]
fn body_gives_a_number_only_where_it_has_one() {
    const PIECES: &[&[u8]] = &[
        br#"{"phoneNumber":""#,
        br#""}"#,
        br#"{"phoneNumber":"6281234567890"}"#,
        b"62812345",
        b"1",
        b"44",
        b"7",
        b"0",
        b"+",
        b"\"",
        b"{",
        b"}",
        b"[",
        b"null",
        b"1e999",
        b"\\u0000",
        b"\\ud800",
        b":",
        b",",
        b" ",
        b"\xc3\xa9",
        b"\xff",
    ];
    let headers =
        HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"))]);
    check_bytes("bodies", CHEAP, PIECES, |bytes| {
        let Ok(fields) = body::object(&headers, bytes) else { return };
        if let Ok(Some(number)) = phone::asked(&fields) {
            assert_eq!(fields["phoneNumber"], number.as_str());
        }
    });
}

/// Each of these reaches the library of phone numbers.
#[test]
fn number_of_any_country_and_none_is_read_or_refused() {
    check("numbers", CHEAP, proptest::collection::vec(0..10_u8, 7..16), |digits| {
        let text: String = digits.iter().map(|digit| char::from(b'0' + digit)).collect();
        let fields = serde_json::Map::from_iter([("phoneNumber".to_owned(), text.clone().into())]);
        if let Ok(number) = phone::asked(&fields) {
            assert_eq!(number.as_ref().map(PhoneNumber::as_str), Some(text.as_str()));
        }
    });
}
