use std::str::FromStr;

use headers_accept::Accept;
use mediatype::{
    MediaType, MediaTypeList, ReadParams as _,
    names::{APPLICATION, IMAGE, JSON, PLAIN, PNG, Q, SVG, TEXT, XML},
};
use warp::{
    http::{HeaderMap, HeaderValue, header},
    reply::Response,
};

use super::{
    Ask,
    error::{Code, Problem},
    identity,
    payload::{QrBody, seconds_left},
};
use crate::{
    clock::Timestamp,
    events::{QrCode, Status},
    qr as draw,
};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Terminal,
    Png,
    Svg,
    Json,
}

/// In our order of preference: it decides where a wildcard fits several.
static FORMS: [(MediaType<'static>, Form); 4] = [
    (MediaType::new(TEXT, PLAIN), Form::Terminal),
    (MediaType::new(IMAGE, PNG), Form::Png),
    (MediaType::from_parts(IMAGE, SVG, Some(XML), &[]), Form::Svg),
    (MediaType::new(APPLICATION, JSON), Form::Json),
];

pub async fn qr(ask: Ask) -> Result<Response, Problem> {
    let mut answer = match current(&ask).await {
        Ok(answer) => answer,
        Err(problem) => warp::reply::Reply::into_response(problem),
    };
    let headers = answer.headers_mut();
    headers.append(header::VARY, HeaderValue::from_static("Accept"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(answer)
}

async fn current(ask: &Ask) -> Result<Response, Problem> {
    let identity = identity::reader(ask).await?;
    let form = negotiate(&ask.headers)?;
    let none = || Problem::new(Code::NoQr, "POST /api/whatsapp/connect asks for one");
    let shown = ask.services().journal.latest(&identity.tenant).await?;
    // Behind a stale one stands nobody who would notice the scan.
    let event = shown.filter(|shown| !shown.stale).ok_or_else(none)?.event;
    let Status::QrPending { qr, .. } = &event.status else { return Err(none()) };
    let now = ask.services().clock.now();
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

/// An `Accept` that cannot be read counts as none: the terminal's form is of use to whoever typed it.
fn negotiate(headers: &HeaderMap) -> Result<Form, Problem> {
    let lines = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let written = lines.collect::<Vec<_>>().join(",");
    let ranges: Option<Vec<_>> = MediaTypeList::new(&written).map(|range| Some(weighed(&range.ok()?))).collect();
    let accept = ranges.and_then(|ranges| Accept::from_str(&ranges.join(",")).ok());
    let Some(accept) = accept.filter(|accept| accept.media_types().next().is_some()) else {
        return Ok(Form::Terminal);
    };
    let chosen = accept.negotiate(FORMS.iter().map(|(kind, _)| kind));
    let form = FORMS.iter().find(|(kind, _)| Some(kind) == chosen).map(|(_, form)| *form);
    form.ok_or_else(|| {
        Problem::new(Code::NotAcceptable, "text/plain, image/png, image/svg+xml and application/json are to be had")
    })
}

/// There is one charset and one version of each form: of what a range demands besides only its weight counts.
fn weighed(range: &MediaType<'_>) -> String {
    let weight = range.get_param(Q).map(|weight| format!(";q={weight}")).unwrap_or_default();
    format!("{}{weight}", range.essence())
}
