use warp::{
    http::{HeaderMap, HeaderValue, StatusCode, header},
    reply::Response,
};

use super::{
    Settings,
    error::{Code, Problem},
    host::HostPort,
};

const SHOWN_LENGTH_MAX: usize = 120;
const PREFLIGHT_AGE_SECONDS: &str = "600";
/// Headers that pages may send beside those that need no permission. Clients of streams that use `fetch` send the two
/// in the middle when they reconnect, and without permission they never come back. The last two come from tracing
/// libraries, which send them with every request.
const REQUEST_HEADERS: &str =
    "authorization, content-type, last-event-id, cache-control, if-tenant, x-request-id, traceparent";
/// Headers that pages may read beside those that need no permission.
const ANSWER_HEADERS: &str = "retry-after, x-request-id";

/// Whether a command with a cookie was sent by an allowed page, and not by a foreign one that the user visits.
pub fn check(settings: &Settings, headers: &HeaderMap) -> Result<(), Problem> {
    let site = text(headers, "sec-fetch-site");
    match text(headers, header::ORIGIN.as_str()) {
        // A sandboxed frame or a redirect, which every site can make.
        Some("null") => Err(Problem::new(
            Code::OriginNotAllowed,
            "the request comes from Origin: null, as browsers call a sandboxed frame, a file and a page that asks for no \
             referrer; no setting allows it: serve the page from an address of its own",
        )),
        Some(_) if site == Some("same-origin") => Ok(()),
        Some(origin) if is_allowed(settings, headers, origin) => Ok(()),
        Some(origin) => Err(not_allowed(origin)),
        None => match site {
            Some("same-origin") => Ok(()),
            Some(site) => Err(Problem::new(
                Code::OriginNotAllowed,
                format!(
                    "the browser sends Sec-Fetch-Site: {} and no Origin, so the page that sent the request is unknown; \
                     proxies before this service must pass Origin on",
                    shown(site)
                ),
            )),
            None => Err(Problem::new(
                Code::OriginMissing,
                "a request with a cookie must send Origin or Sec-Fetch-Site, as browsers do; outside a browser send the \
                 token as Authorization: Bearer",
            )),
        },
    }
}

/// Names the variable only where what would be put there is taken. Named ones are compared in the form that browsers send.
fn not_allowed(origin: &str) -> Problem {
    let name_it = "to allow an origin, name it in TAUTAN_ALLOWED_ORIGINS";
    let advice = match web(origin).map(|(scheme, port, host_port)| host_port.origin(scheme, port)) {
        Some(usual) if usual != origin => format!("{name_it}, and send {} as browsers do", shown(&usual)),
        None if !origin.starts_with("https://") && !origin.starts_with("http://") => {
            "only https:// and http:// origins can be allowed".to_owned()
        }
        Some(_) | None => name_it.to_owned(),
    };
    Problem::new(Code::OriginNotAllowed, format!("the request comes from {}; {advice}", shown(origin)))
}

fn shown(header: &str) -> String {
    header.chars().take(SHOWN_LENGTH_MAX).collect()
}

/// Adds what a browser needs to let an allowed page read the answer. The answer varies even where nothing is added.
pub fn expose(settings: &Settings, headers: &HeaderMap, mut answer: Response) -> Response {
    let added = answer.headers_mut();
    added.append(header::VARY, HeaderValue::from_static("Origin"));
    if let Some(origin) = allowed(settings, headers) {
        added.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        added.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        added.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(ANSWER_HEADERS));
    }
    answer
}

/// Answers `OPTIONS`. A page that is not allowed gets a plain 204, and its browser stops there.
pub fn preflight(settings: &Settings, headers: &HeaderMap, methods: &str) -> Response {
    let mut answer = Response::new("".into());
    *answer.status_mut() = StatusCode::NO_CONTENT;
    if allowed(settings, headers).is_some() {
        let added = answer.headers_mut();
        if let Ok(methods) = HeaderValue::from_str(methods) {
            added.insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
        }
        added.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(REQUEST_HEADERS));
        added.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static(PREFLIGHT_AGE_SECONDS));
    }
    answer
}

fn allowed(settings: &Settings, headers: &HeaderMap) -> Option<HeaderValue> {
    let origin = headers.get(header::ORIGIN)?;
    is_allowed(settings, headers, origin.to_str().ok()?).then(|| origin.clone())
}

/// Configured origins are compared as texts: browsers send origins in one form, lower-case and without a default port.
/// `Host` comes in whatever form a proxy writes, so there host and port are compared.
fn is_allowed(settings: &Settings, headers: &HeaderMap, origin: &str) -> bool {
    let named = settings.public_url.iter().chain(&settings.allowed_origins);
    if named.map(|named| named.trim_end_matches('/')).any(|named| named == origin) {
        return true;
    }
    let Some((_, default_port, host_port)) = web(origin) else { return false };
    text(headers, header::HOST.as_str()).and_then(|host| HostPort::parse(host, default_port)) == Some(host_port)
}

/// Scheme, the scheme's own port, and place of an origin on the web.
fn web(origin: &str) -> Option<(&'static str, u16, HostPort)> {
    let (scheme, authority) = origin.split_once("://")?;
    let known = [("https", 443), ("http", 80)];
    let (scheme, port) = known.into_iter().find(|(known, _)| known.eq_ignore_ascii_case(scheme))?;
    Some((scheme, port, HostPort::parse(authority, port)?))
}

fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}
