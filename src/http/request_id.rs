use tracing::{Span, error_span, field};
use warp::http::{HeaderMap, HeaderName, HeaderValue};

/// Names a request in its answer and in every log line about it.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The trace that a request belongs to (<https://www.w3.org/TR/trace-context/>).
const TRACEPARENT: &str = "traceparent";

const LENGTH_MAX: usize = 128;

/// The caller's id, if there is one that can stand in a log line; otherwise a new one.
pub fn of(headers: &HeaderMap) -> HeaderValue {
    only(headers, REQUEST_ID.as_str()).filter(|id| is_good(id.as_bytes())).cloned().unwrap_or_else(fresh)
}

/// A new id: 128 random bits.
pub fn fresh() -> HeaderValue {
    HeaderValue::try_from(format!("{:032x}", rand::random::<u128>())).expect("hexadecimal digits are a header's value")
}

/// What the log lines of a request begin with. At the level of errors, so that no filter takes the id from a line that it
/// lets through.
pub fn span(id: &HeaderValue, headers: &HeaderMap) -> Span {
    let trace = only(headers, TRACEPARENT).and_then(|parent| trace_id(parent.as_bytes()));
    error_span!("request", request_id = id.to_str().unwrap_or_default(), trace_id = trace.map(field::display))
}

fn is_good(id: &[u8]) -> bool {
    (1..=LENGTH_MAX).contains(&id.len()) && id.iter().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(byte))
}

/// Of several lines none counts: a proxy before us may have looked at another one.
fn only<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h HeaderValue> {
    let mut lines = headers.get_all(name).iter();
    lines.next().filter(|_| lines.next().is_none())
}

/// The trace id of a `traceparent`: version, trace id, parent id and flags. Later versions may have more behind them.
fn trace_id(parent: &[u8]) -> Option<&str> {
    let text = str::from_utf8(parent).ok()?;
    let mut parts = text.splitn(5, '-');
    let mut digits = |length: usize| {
        let part = parts.next()?;
        let is_hex = part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        (part.len() == length && is_hex).then_some(part)
    };
    let (version, trace, parent, _flags) = (digits(2)?, digits(32)?, digits(16)?, digits(2)?);
    let is_zero = |id: &str| id.bytes().all(|byte| byte == b'0');
    let ends = version != "00" || parts.next().is_none();
    (version != "ff" && ends && !is_zero(trace) && !is_zero(parent)).then_some(trace)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_id_is_replaced_unless_it_can_stand_in_a_line() {
        let longest = "x".repeat(LENGTH_MAX);
        for good in ["7", "a.b_c-D9", "0af7651916cd43dd8448eb211c80319c", &longest] {
            let headers = HeaderMap::from_iter([(REQUEST_ID, HeaderValue::from_str(good).unwrap())]);
            assert_eq!(of(&headers), good);
        }
        let too_long = "x".repeat(LENGTH_MAX + 1);
        for bad in ["", " ", "a b", "a\tb", "a\"b", "a,b", "a/b", "é", "a\u{85}b", &too_long] {
            let headers = HeaderMap::from_iter([(REQUEST_ID, HeaderValue::from_bytes(bad.as_bytes()).unwrap())]);
            let id = of(&headers);
            assert!(id != bad && is_good(id.as_bytes()) && id.len() == 32, "{bad:?} {id:?}");
        }
        let mut twice = HeaderMap::new();
        twice.append(REQUEST_ID, HeaderValue::from_static("a"));
        twice.append(REQUEST_ID, HeaderValue::from_static("b"));
        assert_eq!(of(&twice).len(), 32);
        assert_ne!(of(&HeaderMap::new()), of(&HeaderMap::new()));
    }

    /// Cases of <https://www.w3.org/TR/trace-context/#traceparent-header>.
    #[test]
    fn trace_id_is_read_from_a_valid_traceparent_alone() {
        const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
        for good in [
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00",
            "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-what-the-future-brings",
        ] {
            assert_eq!(trace_id(good.as_bytes()), Some(TRACE), "{good}");
        }
        for bad in [
            "",
            "00",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01.more",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319cc-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319g-b7ad6b7169203331-01",
            " 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ] {
            assert_eq!(trace_id(bad.as_bytes()), None, "{bad}");
        }
    }
}
