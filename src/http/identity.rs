use cookie::Cookie;
use warp::http::{HeaderMap, HeaderValue, header};

use super::{
    Ask,
    error::{Code, Problem},
    origin,
};
use crate::{
    auth::{Identity, TokenError, TokenVerifier},
    tenant::TenantId,
};

/// Cookies of one name that are looked at: a browser sends a few at most (one for each path and domain).
const COOKIES_MAX: usize = 8;

/// The `tenantRef` that a command is meant for.
const IF_TENANT: &str = "if-tenant";

/// How a token came. Browsers attach cookies by themselves, whoever wrote the page: such a command must prove its origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Carrier {
    Bearer,
    Cookie,
}

/// Who asks to read.
pub async fn reader(ask: &Ask) -> Result<Identity, Problem> {
    Ok(caller(ask).await?.0)
}

/// Who asks for a change.
pub async fn commander(ask: &Ask) -> Result<Identity, Problem> {
    let (identity, carrier) = caller(ask).await?;
    if carrier == Carrier::Cookie {
        origin::check(&ask.services().settings, &ask.headers)?;
    }
    check_tenant(&ask.headers, &identity.tenant)?;
    Ok(identity)
}

/// The cookie of a page that shows one tenant may by now be another's, whose user signed in in another tab: what the
/// page asks for must not be done to a tenant that it does not show.
fn check_tenant(headers: &HeaderMap, tenant: &TenantId) -> Result<(), Problem> {
    let reference = tenant.reference().to_string();
    if headers.get_all(IF_TENANT).iter().all(|expected| expected.as_bytes() == reference.as_bytes()) {
        return Ok(());
    }
    Err(Problem::new(
        Code::TenantChanged,
        "the token is of another tenant than If-Tenant says; nothing was done. Read the status again",
    ))
}

async fn caller(ask: &Ask) -> Result<(Identity, Carrier), Problem> {
    let verifier = &ask.services().verifier;
    // A bad Bearer never falls back to the cookie: the answer would be about another tenant than the caller thinks. Another
    // scheme speaks to somebody else, such as the proxy before a staging site, and browsers send it with every request.
    if let Some(token) = ask.headers.get_all(header::AUTHORIZATION).iter().find_map(bearer) {
        return Ok((verifier.verify(token.unwrap_or_default()).await?, Carrier::Bearer));
    }
    let tokens = cookies(&ask.headers, &ask.services().settings.cookie);
    Ok((from_cookies(verifier, &tokens).await?, Carrier::Cookie))
}

/// The token after the scheme's name, which is case-insensitive (RFC 9110 section 11.1), if it is text at all. `None`:
/// another scheme.
fn bearer(value: &HeaderValue) -> Option<Option<&str>> {
    let bytes = value.as_bytes();
    let end = bytes.iter().position(u8::is_ascii_whitespace).unwrap_or(bytes.len());
    let (scheme, token) = bytes.split_at(end);
    scheme.eq_ignore_ascii_case(b"bearer").then(|| str::from_utf8(token).ok().map(str::trim))
}

/// Browsers send all cookies of a domain in one line, whatever bytes the others' values are made of.
fn cookies(headers: &HeaderMap, name: &str) -> Vec<String> {
    let lines = headers.get_all(header::COOKIE).iter().map(|value| String::from_utf8_lossy(value.as_bytes()));
    let all = lines.flat_map(Cookie::split_parse).filter_map(Result::ok);
    all.filter(|cookie| cookie.name() == name).map(|cookie| cookie.value().to_owned()).take(COOKIES_MAX).collect()
}

/// Another subdomain, or an attacker on one, can plant a second cookie of the same name, and which comes first is theirs
/// to choose. Stale ones are passed over; two that count must mean the same tenant.
async fn from_cookies(verifier: &TokenVerifier, tokens: &[String]) -> Result<Identity, Problem> {
    let mut found: Option<Identity> = None;
    let mut refusal = TokenError::Missing;
    for token in tokens.iter().filter(|token| !token.is_empty()) {
        match (verifier.verify(token).await, &mut found) {
            (Ok(identity), Some(other)) if identity.tenant != other.tenant => {
                return Err(Problem::new(
                    Code::AmbiguousToken,
                    "several cookies name different tenants: sign in again",
                ));
            }
            (Ok(identity), Some(same)) if identity.expires_at > same.expires_at => *same = identity,
            (Ok(_), Some(_)) => {}
            (Ok(identity), none) => *none = Some(identity),
            // Another cookie that does not count says nothing of one that could not be checked.
            (Err(_), _) if refusal == TokenError::KeysUnavailable => {}
            (Err(error), _) => refusal = error,
        }
    }
    found.ok_or_else(|| refusal.into())
}
