use cookie::Cookie;
use futures::future::join_all;
use warp::http::{HeaderMap, HeaderValue, header};

use super::{
    RouteRequest,
    error::{Code, Problem},
    origin,
};
use crate::{
    auth::{self, Identity, TokenError, TokenVerifier},
    tenant::TenantId,
};

/// Cookies of our name in one request. A browser sends a few at most, one for each path and domain. More are refused: if
/// some were ignored, a sibling subdomain could plant so many that the user's own is not read.
const COOKIES_MAX: usize = 8;

/// The `tenantRef` that a command is meant for.
const IF_TENANT: &str = "if-tenant";

/// How a token came. Browsers attach cookies by themselves, also on foreign pages: such a command must prove its
/// origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Carrier {
    Bearer,
    Cookie,
}

/// The caller of a request that reads.
pub async fn read_caller(request: &RouteRequest) -> Result<Identity, Problem> {
    Ok(known(request).await?.0)
}

/// The caller of a command.
pub async fn command_caller(request: &RouteRequest) -> Result<Identity, Problem> {
    let (identity, carrier) = known(request).await?;
    if carrier == Carrier::Cookie {
        let checked = origin::check(&request.services().settings, &request.headers);
        checked.inspect_err(|problem| request.context.refusals.add(problem.code))?;
    }
    check_tenant(&request.headers, &identity.tenant)?;
    Ok(identity)
}

/// Refuses a command of a page that shows another tenant. The cookie may have changed since, because another user
/// signed in in another tab.
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

async fn known(request: &RouteRequest) -> Result<(Identity, Carrier), Problem> {
    let known = caller(request).await.inspect_err(|problem| request.context.refusals.add(problem.code))?;
    request.visitor.has_shown_token(&known.0.tenant);
    Ok(known)
}

async fn caller(request: &RouteRequest) -> Result<(Identity, Carrier), Problem> {
    let verifier = &request.services().verifier;
    // A bad Bearer never falls back to the cookie: the answer would be about another tenant than the caller expects.
    // Another scheme is for another server, such as the proxy of a staging site, and browsers send it with every
    // request.
    if let Some(token) = bearer_token(&request.headers)? {
        let identity = verifier.verify(token).await;
        return Ok((identity.map_err(|error| refused(error, "the token of Authorization", token))?, Carrier::Bearer));
    }
    let name = &request.services().settings.cookie;
    let tokens = cookies(&request.headers, name);
    if tokens.len() > COOKIES_MAX {
        let detail = format!(
            "{} cookies {name} came, at most {COOKIES_MAX} are looked at: delete this site's cookies and sign in again",
            tokens.len()
        );
        return Err(Problem::new(Code::AmbiguousToken, detail));
    }
    match from_cookies(verifier, &tokens).await {
        Ok(identity) => Ok((identity, Carrier::Cookie)),
        Err(Refusal::Ambiguous) => Err(Problem::new(
            Code::AmbiguousToken,
            "several cookies name different tenants: delete this site's cookies and sign in again",
        )),
        Err(Refusal::Token(TokenError::Missing, _)) => {
            Err(Problem::new(Code::MissingToken, missing(&request.headers, name, !tokens.is_empty())))
        }
        Err(Refusal::Token(error, token)) => Err(refused(error, &format!("the cookie {name}"), token)),
    }
}

/// The token of `Authorization: Bearer`, if there is one.
pub fn bearer_token(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let mut bearers = headers.get_all(header::AUTHORIZATION).iter().filter_map(bearer);
    let Some(token) = bearers.next() else { return Ok(None) };
    if bearers.any(|other| other != token) {
        return Err(Problem::new(Code::AmbiguousToken, "several Authorization: Bearer came; send one"));
    }
    Ok(Some(token.unwrap_or_default()))
}

/// Describes a text that is not a token: it is the only hint at a wrong login or a wrong setting.
pub fn refused(error: TokenError, place: &str, token: &str) -> Problem {
    match error {
        TokenError::Malformed => Problem::new(
            Code::MalformedToken,
            format!("{place} is not a signed JSON Web Token: {}", auth::describe(token)),
        ),
        error => error.into(),
    }
}

/// Describes what came instead of a token, without values and without names of other cookies.
fn missing(headers: &HeaderMap, name: &str, is_empty: bool) -> String {
    let mut detail = format!("neither Authorization: Bearer nor the cookie {name} came");
    if is_empty {
        detail = format!("there is no Authorization: Bearer, and the cookie {name} is empty");
    }
    if headers.contains_key(header::AUTHORIZATION) {
        detail.push_str("; Authorization does not begin with the word Bearer and a space");
    }
    let others = all_cookies(headers).filter(|cookie| cookie.name() != name).count();
    if others > 0 {
        detail.push_str(&format!("; {others} other cookies came"));
    }
    detail
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
fn all_cookies(headers: &HeaderMap) -> impl Iterator<Item = Cookie<'static>> {
    let lines = headers.get_all(header::COOKIE).iter().map(|value| String::from_utf8_lossy(value.as_bytes()));
    lines.flat_map(|line| Cookie::split_parse(line.into_owned())).filter_map(Result::ok)
}

fn cookies(headers: &HeaderMap, name: &str) -> Vec<String> {
    let ours = all_cookies(headers).filter(|cookie| cookie.name() == name);
    ours.map(|cookie| unwrapped(cookie.value()).to_owned()).collect()
}

/// The token in a cookie's value: back ends put quotes around it (RFC 6265 section 4.1.1), or the word Bearer before it,
/// and some percent-encode either.
fn unwrapped(value: &str) -> &str {
    let quoted = |quote: &str| value.strip_prefix(quote)?.strip_suffix(quote);
    let value = quoted("\"").or_else(|| quoted("%22")).unwrap_or(value);
    match value.split_at_checked("bearer".len()) {
        Some((word, rest)) if word.eq_ignore_ascii_case("bearer") => {
            ["%20", " ", "+"].iter().find_map(|space| rest.strip_prefix(space)).unwrap_or(value)
        }
        _ => value,
    }
}

/// Why the cookies name no tenant.
enum Refusal<'t> {
    Ambiguous,
    /// The most specific error, and the token's text.
    Token(TokenError, &'t str),
}

/// Another subdomain, or an attacker on one, can plant a second cookie of the same name, and can choose which comes
/// first. Tokens that we did not sign are skipped; two valid ones must name the same tenant. One that we signed and that
/// does not count, such as an expired one, must name it as well: it may be the user's own, and the user would link a phone to the tenant of a planted cookie. A token
/// that cannot be checked now may be the user's own too, so then none is accepted.
async fn from_cookies<'t>(verifier: &TokenVerifier, tokens: &'t [String]) -> Result<Identity, Refusal<'t>> {
    let mut found: Option<Identity> = None;
    let (mut refusal, mut uncounted) = ((TokenError::Missing, ""), Vec::new());
    let tokens: Vec<_> = tokens.iter().map(String::as_str).filter(|token| !token.is_empty()).collect();
    // At the same time: eight made-up keys must not wait for the key set one after the other.
    let checked = join_all(tokens.iter().map(|token| verifier.verify(token))).await;
    for (checked, token) in checked.into_iter().zip(tokens) {
        match (checked, &mut found) {
            (Err(TokenError::KeysUnavailable), _) => return Err(Refusal::Token(TokenError::KeysUnavailable, token)),
            (Ok(identity), Some(other)) if identity.tenant != other.tenant => return Err(Refusal::Ambiguous),
            (Ok(identity), Some(same)) if identity.expires_at > same.expires_at => *same = identity,
            (Ok(_), Some(_)) => {}
            (Ok(identity), none) => *none = Some(identity),
            (Err(error), _) => {
                refusal = (error, token);
                if is_of_signed_token(error) {
                    uncounted.push(token);
                }
            }
        }
    }
    if let Some(Identity { tenant, .. }) = &found {
        for token in uncounted {
            if verifier.named_tenant(token).await.is_some_and(|named| named != *tenant) {
                return Err(Refusal::Ambiguous);
            }
        }
    }
    found.ok_or(Refusal::Token(refusal.0, refusal.1))
}

/// Whether the refused token may be one of ours. The others are not asked again: an unknown key waits for a key set.
fn is_of_signed_token(error: TokenError) -> bool {
    match error {
        TokenError::Expired
        | TokenError::Revoked
        | TokenError::NotYetValid
        | TokenError::WithoutExpiry
        | TokenError::BadProxy => true,
        TokenError::Missing
        | TokenError::Malformed
        | TokenError::WrongSignature
        | TokenError::WrongAlgorithm
        | TokenError::UnknownKey
        | TokenError::BadTenant
        | TokenError::WrongIssuer
        | TokenError::WrongAudience
        | TokenError::KeysUnavailable => false,
    }
}

#[cfg(test)]
mod fuzz;
