use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use cookie::{Cookie, SameSite};
use sha2::{Digest as _, Sha256};
use warp::{
    http::{HeaderMap, HeaderValue, StatusCode, header},
    reply::Response,
};

use super::{
    RouteRequest,
    error::{Code, Problem},
    page,
};
use crate::{auth::Minter, tenant::TenantId};

/// As long as the SaaS product's own cookie lives.
const LIFETIME: Duration = Duration::from_secs(7 * 24 * 3600);

/// Signs in the user of local mode by a code that is valid once.
pub struct LocalSignIn {
    /// The code's digest, so that the time of a comparison does not show how much of a guess was right. `None`: used.
    code: Mutex<Option<[u8; 32]>>,
    minter: Minter,
    tenant: TenantId,
}

impl LocalSignIn {
    /// `code`: random, at least 128 bits of it, in characters that stand in a URL unescaped.
    pub fn new(code: &str, minter: Minter, tenant: TenantId) -> Self {
        Self { code: Mutex::new(Some(digest(code))), minter, tenant }
    }

    fn redeem(&self, code: &str) -> bool {
        self.code.lock().unwrap_or_else(PoisonError::into_inner).take_if(|good| *good == digest(code)).is_some()
    }
}

fn digest(code: &str) -> [u8; 32] {
    Sha256::digest(code.as_bytes()).into()
}

/// Whether a browser fetches the link ahead of its user: Chrome and Firefox send `Sec-Purpose`, Safari and older
/// browsers the other headers.
fn is_ahead(headers: &HeaderMap) -> bool {
    let names = ["sec-purpose", "purpose", "x-purpose", "x-moz"].into_iter();
    let values = names.flat_map(|name| headers.get_all(name)).filter_map(|value| value.to_str().ok());
    let mut purposes = values.flat_map(|value| value.split([';', ','])).map(str::trim);
    purposes.any(|purpose| ["prefetch", "prerender", "preview"].iter().any(|ahead| ahead.eq_ignore_ascii_case(purpose)))
}

/// `GET /local/sign-in?code=…`: sets the cookie and leads to the page.
pub fn sign_in(request: RouteRequest, query: String) -> Result<Response, Problem> {
    let Some(local) = &request.services().sign_in else {
        return Err(Problem::new(Code::NotFound, "no such address"));
    };
    // Before the code is looked at: the browser may never show what it fetched, and the user would open a used link.
    if is_ahead(&request.headers) {
        let detail = "the browser fetched this link ahead of its user; open it to sign in";
        return Err(Problem::new(Code::SignInRefused, detail));
    }
    let code = query.split('&').find_map(|pair| pair.strip_prefix("code=")).unwrap_or_default();
    if !local.redeem(code) {
        request.context.refusals.add(Code::SignInRefused);
        let detail = "the code is wrong or was used already; restart tautan for a new one";
        return Err(Problem::new(Code::SignInRefused, detail));
    }
    let token = local.minter.mint(&local.tenant, request.services().clock.now(), LIFETIME);
    // Lax: with Strict the browser would leave the cookie out of the redirect when the link was opened from elsewhere.
    let cookie = Cookie::build((request.services().settings.cookie.as_str(), token))
        .path("/")
        .http_only(true)
        .same_site(SameSite::Lax)
        .build();
    let max_age = LIFETIME.as_secs();
    let Ok(cookie) = HeaderValue::try_from(format!("{cookie}; Max-Age={max_age}")) else {
        return Err(Problem::new(Code::Internal, "the cookie's name cannot stand in a header"));
    };
    tracing::info!(tenant = %local.tenant, "signed in for tenant");
    let mut answer = Response::new("".into());
    *answer.status_mut() = StatusCode::SEE_OTHER;
    let headers = answer.headers_mut();
    headers.insert(header::SET_COOKIE, cookie);
    headers.insert(header::LOCATION, HeaderValue::from_static(page::PATH));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    Ok(answer)
}
