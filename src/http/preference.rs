//! Parses lists of preferences: `Accept`, `Accept-Encoding` and `Accept-Language` (RFC 9110 section 12.5).

/// One element of such a list.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Preference<'h> {
    /// Without its parameters, such as `text/plain`, `gzip` or `en-US`.
    pub value: &'h str,
    /// From 0, "not this one", to 1, which is also meant where there is no weight. `None`: it cannot be read.
    pub weight: Option<f32>,
}

/// The elements of a header in the order in which they are written.
pub fn preferences(header: &str) -> impl Iterator<Item = Preference<'_>> {
    outside_quotes(header, ',').map(str::trim).filter(|element| !element.is_empty()).map(|element| {
        let mut parts = outside_quotes(element, ';').map(str::trim);
        let value = parts.next().unwrap_or_default();
        Preference { value, weight: parts.find_map(weight).unwrap_or(Some(1.0)) }
    })
}

/// `None`: another parameter. `Some(None)`: a weight that cannot be read.
fn weight(parameter: &str) -> Option<Option<f32>> {
    let (name, value) = parameter.split_once('=')?;
    let is_digits = value.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let read = || value.parse().ok().filter(|weight| is_digits && *weight <= 1.0);
    name.eq_ignore_ascii_case("q").then(read)
}

/// Splits at a separator, but not within a quoted string, which may hold one.
fn outside_quotes(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(move |c| {
        quoted ^= c == '"' && !escaped;
        escaped = quoted && !escaped && c == '\\';
        c == separator && !quoted
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weight_is_read_in_every_writing() {
        for (header, expected) in [
            ("en", vec![("en", Some(1.0))]),
            ("en-US, en ; Q=0.5 ,id;q=0", vec![("en-US", Some(1.0)), ("en", Some(0.5)), ("id", Some(0.0))]),
            ("text/html;level=1;q=.25", vec![("text/html", Some(0.25))]),
            ("a/b;x=\"1,2;q=0\\\";\";q=0.5, c", vec![("a/b", Some(0.5)), ("c", Some(1.0))]),
            (
                "gzip;q=x, br;q=2, zstd;q=-1, a;q=nan, b;q=",
                ["gzip", "br", "zstd", "a", "b"].map(|name| (name, None)).to_vec(),
            ),
            (" , ,;q=1", vec![("", Some(1.0))]),
            ("", vec![]),
        ] {
            let read: Vec<_> = preferences(header).map(|one| (one.value, one.weight)).collect();
            assert_eq!(read, expected, "{header:?}");
        }
    }
}
