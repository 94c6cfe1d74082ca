use warp::{
    http::{HeaderMap, HeaderValue, header},
    reply::Response,
};

use super::{
    RouteRequest,
    error::{Code, Problem},
    identity,
    payload::{QrBody, seconds_left},
    preference::{Preference, preferences},
};
use crate::{
    clock::Timestamp,
    events::{QrCode, Status},
    qr as draw,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Terminal,
    Png,
    Svg,
    Json,
}

/// In the server's order of preference: it decides if a wildcard fits several.
const FORMS: [(&str, Form); 4] = [
    ("text/plain", Form::Terminal),
    ("image/png", Form::Png),
    ("image/svg+xml", Form::Svg),
    ("application/json", Form::Json),
];

pub async fn qr(request: RouteRequest) -> Result<Response, Problem> {
    let mut answer = match current(&request).await {
        Ok(answer) => answer,
        Err(problem) => warp::reply::Reply::into_response(problem),
    };
    let headers = answer.headers_mut();
    headers.append(header::VARY, HeaderValue::from_static("Accept"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(answer)
}

async fn current(request: &RouteRequest) -> Result<Response, Problem> {
    let identity = identity::read_caller(request).await?;
    request.context.budgets.take_read(&identity.tenant)?;
    let form = negotiate(&request.headers)?;
    let none = || Problem::new(Code::NoQr, "POST /api/whatsapp/connect asks for one");
    let shown = request.services().journal.latest(&identity.tenant).await?;
    // A stale code has no live owner that would notice the scan.
    let event = shown.filter(|shown| !shown.stale).ok_or_else(none)?.event;
    let Status::QrPending { qr, .. } = &event.status else { return Err(none()) };
    let now = request.services().clock.now();
    seconds_left(qr.ends(now), now).ok_or_else(none)?;
    let (kind, body) = match form {
        Form::Terminal => ("text/plain; charset=utf-8", draw::terminal(qr.text()).into_bytes()),
        Form::Png => ("image/png", draw::png(qr.text())),
        Form::Svg => ("image/svg+xml", draw::svg(qr.text()).into_bytes()),
        Form::Json => ("application/json", json(qr, now).ok_or_else(none)?),
    };
    let mut answer = Response::new(body.into());
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    Ok(answer)
}

fn json(qr: &QrCode, now: Timestamp) -> Option<Vec<u8>> {
    serde_json::to_vec(&QrBody::of(qr, now)?).ok()
}

/// An `Accept` that cannot be read counts as none. The default is the form for terminals, for requests typed by hand.
pub(super) fn negotiate(headers: &HeaderMap) -> Result<Form, Problem> {
    let lines = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let ranges: Option<Vec<Range<'_>>> = lines.flat_map(preferences).map(Range::read).collect();
    let Some(ranges) = ranges.filter(|ranges| !ranges.is_empty()) else { return Ok(Form::Terminal) };
    let mut best: Option<(f32, Precision, usize, Form)> = None;
    for (kind, form) in FORMS {
        // The most precise range decides about a form, and of several the first.
        let fitting = ranges.iter().enumerate().filter(|(_, range)| range.fits(kind));
        let Some((at, range)) = fitting.min_by_key(|(_, range)| range.precision) else { continue };
        let better = match best {
            None => true,
            Some((weight, precision, earlier, _)) => {
                range.weight > weight || range.weight == weight && (range.precision, at) < (precision, earlier)
            }
        };
        if range.weight > 0.0 && better {
            best = Some((range.weight, range.precision, at, form));
        }
    }
    best.map(|(.., form)| form).ok_or_else(|| {
        Problem::new(Code::NotAcceptable, "text/plain, image/png, image/svg+xml and application/json are to be had")
    })
}

/// A media range of `Accept`. There is one charset and one version of each form, so other parameters do not count.
struct Range<'h> {
    group: &'h str,
    subtype: &'h str,
    weight: f32,
    precision: Precision,
}

/// The most precise first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Precision {
    Type,
    Group,
    Anything,
}

impl<'h> Range<'h> {
    /// `None`: it is no media range, or its weight cannot be read.
    fn read(preference: Preference<'h>) -> Option<Self> {
        let (group, subtype) = preference.value.split_once('/')?;
        let is_name = |text: &str| {
            !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$&-^_.+*".contains(&b))
        };
        let precision = match (group, subtype) {
            ("*", "*") => Precision::Anything,
            ("*", _) => return None,
            (_, "*") => Precision::Group,
            _ => Precision::Type,
        };
        let weight = preference.weight?;
        (is_name(group) && is_name(subtype)).then_some(Self { group, subtype, weight, precision })
    }

    fn fits(&self, kind: &str) -> bool {
        let (group, subtype) = kind.split_once('/').expect("the forms are media types");
        let same = |ours: &str, theirs: &str| theirs == "*" || ours.eq_ignore_ascii_case(theirs);
        same(group, self.group) && same(subtype, self.subtype)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn most_precise_range_decides_and_then_the_first() {
        for (accept, form) in [
            ("application/json, text/plain", Some(Form::Json)),
            ("text/plain, application/json", Some(Form::Terminal)),
            ("*/*, image/svg+xml", Some(Form::Svg)),
            ("image/*;q=0.5, image/png;q=0.1", Some(Form::Svg)),
            ("*/*;q=0.1, text/plain;q=0", Some(Form::Png)),
            ("IMAGE/PNG", Some(Form::Png)),
            ("image/png;q=1;x=\"a,b\", */*;q=0.2", Some(Form::Png)),
            ("image/png, nonsense", Some(Form::Terminal)),
            ("image/png;q=2", Some(Form::Terminal)),
            ("text/html", None),
        ] {
            let headers = HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static(accept))]);
            assert_eq!(negotiate(&headers).ok(), form, "{accept:?}");
        }
    }
}
