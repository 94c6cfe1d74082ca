use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;
use warp::{
    http::{HeaderValue, StatusCode, header},
    reply::{Reply, Response},
};

use super::budgets::whole_seconds;
use crate::{
    auth::TokenError,
    events::one_of,
    session::{EraseError, SessionError},
    store::{Limited, StoreError},
    telemetry::{
        Sampled, metrics,
        words::{DIALS, PAIR_CODES, SESSIONS},
    },
};

/// Declares the closed list of problems: code, status, title.
macro_rules! codes {
    ($($variant:ident = $code:literal, $status:ident, $title:literal;)+) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[doc = "The closed list of problems."]
        pub enum Code { $(#[doc = $title] $variant),+ }

        impl Code {
            /// Every code, in the order of `docs/api.md`.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The code as it is written.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $code),+ }
            }

            /// The status of the answer.
            pub fn status(self) -> StatusCode {
                match self { $(Self::$variant => StatusCode::$status),+ }
            }

            fn title(self) -> &'static str {
                match self { $(Self::$variant => $title),+ }
            }
        }
    };
}

codes! {
    BadRequest = "bad-request", BAD_REQUEST, "The request cannot be read";
    BadHost = "bad-host", BAD_REQUEST, "The request does not say for which host it is";
    BadJson = "bad-json", BAD_REQUEST, "The body is not the JSON expected here";
    BadPhoneNumber = "bad-phone-number", BAD_REQUEST, "The phone number cannot be used";
    BadPasskey = "bad-passkey", BAD_REQUEST, "The answer to the passkey step cannot be read";
    MissingToken = "missing-token", UNAUTHORIZED, "A token is needed";
    MalformedToken = "malformed-token", UNAUTHORIZED, "The token cannot be read";
    ExpiredToken = "expired-token", UNAUTHORIZED, "The token has expired";
    TokenNotYetValid = "token-not-yet-valid", UNAUTHORIZED, "The token is not valid yet";
    WrongSignature = "wrong-signature", UNAUTHORIZED, "The token is not signed with our key";
    WrongAlgorithm = "wrong-algorithm", UNAUTHORIZED, "The token is signed with another algorithm";
    UnknownKey = "unknown-key", UNAUTHORIZED, "The token is signed with an unknown key";
    TokenWithoutExpiry = "token-without-expiry", UNAUTHORIZED, "The token never expires";
    BadTenant = "bad-tenant", UNAUTHORIZED, "The token names no valid tenant";
    BadProxy = "bad-proxy", UNAUTHORIZED, "The token names no valid proxy";
    WrongIssuer = "wrong-issuer", UNAUTHORIZED, "The token comes from another issuer";
    WrongAudience = "wrong-audience", UNAUTHORIZED, "The token is meant for another audience";
    TokenRevoked = "token-revoked", UNAUTHORIZED, "The token was revoked";
    AmbiguousToken = "ambiguous-token", UNAUTHORIZED, "Several tokens name different tenants";
    ScopeMissing = "scope-missing", FORBIDDEN, "The token lacks the scope that is needed here";
    OriginMissing = "origin-missing", FORBIDDEN, "The request does not say where it comes from";
    OriginNotAllowed = "origin-not-allowed", FORBIDDEN, "The request comes from an origin that is not allowed";
    SignInRefused = "sign-in-refused", FORBIDDEN, "The sign-in code does not count";
    NotFound = "not-found", NOT_FOUND, "There is nothing here";
    NoQr = "no-qr", NOT_FOUND, "There is no QR code now";
    MethodNotAllowed = "method-not-allowed", METHOD_NOT_ALLOWED, "The method does not fit the address";
    NotAcceptable = "not-acceptable", NOT_ACCEPTABLE, "None of our formats is accepted";
    TenantChanged = "tenant-changed", CONFLICT, "The token is of another tenant";
    OtherAccountLinked = "other-account-linked", CONFLICT, "Another number is linked";
    PasskeyNotAsked = "passkey-not-asked", CONFLICT, "No passkey is asked for now";
    RequestTimeout = "request-timeout", REQUEST_TIMEOUT, "The request took too long to arrive";
    BodyTooLarge = "body-too-large", PAYLOAD_TOO_LARGE, "The body is too large";
    UnsupportedMediaType = "unsupported-media-type", UNSUPPORTED_MEDIA_TYPE, "The body is not JSON";
    HeadersTooLarge = "headers-too-large", REQUEST_HEADER_FIELDS_TOO_LARGE, "The request's headers are too large";
    TooManyStreams = "too-many-streams", TOO_MANY_REQUESTS, "Too many streams are open";
    TooManyCommands = "too-many-commands", TOO_MANY_REQUESTS, "Too many commands came";
    TooManyReads = "too-many-reads", TOO_MANY_REQUESTS, "Too many reads came";
    TooManyPairCodes = "too-many-pair-codes", TOO_MANY_REQUESTS, "Too many pairing codes were asked for";
    TooManyDials = "too-many-dials", TOO_MANY_REQUESTS, "Connections to WhatsApp were asked for too often";
    Internal = "internal", INTERNAL_SERVER_ERROR, "Something went wrong here";
    StoreUnavailable = "store-unavailable", SERVICE_UNAVAILABLE, "The store cannot be reached";
    SessionBusy = "session-busy", SERVICE_UNAVAILABLE, "The session has not ended yet";
    NoCapacity = "no-capacity", SERVICE_UNAVAILABLE, "There is no room for another session";
    KeysUnavailable = "keys-unavailable", SERVICE_UNAVAILABLE, "Tokens cannot be checked now";
}

/// The JSON of an error answer (RFC 9457).
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Problem")]
pub struct ProblemBody<'a> {
    #[serde(rename = "type")]
    kind: String,
    title: &'static str,
    status: u16,
    /// What is wrong with this request, for people.
    detail: &'a str,
    #[schemars(schema_with = "every_code")]
    code: &'static str,
}

fn every_code(_: &mut SchemaGenerator) -> Schema {
    one_of(Code::ALL.iter().map(|code| code.as_str()))
}

/// An error answer as RFC 9457 describes it. People read the detail: it never holds anything secret.
#[derive(Clone, Debug)]
pub struct Problem {
    pub code: Code,
    detail: Cow<'static, str>,
    retry_after_seconds: Option<u32>,
    allow: Option<String>,
}

impl Problem {
    pub fn new(code: Code, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { code, detail: detail.into(), retry_after_seconds: None, allow: None }
    }

    pub fn retry_after(self, seconds: u32) -> Self {
        Self { retry_after_seconds: Some(seconds), ..self }
    }

    pub fn allow(self, methods: String) -> Self {
        Self { allow: Some(methods), ..self }
    }
}

impl Problem {
    /// The JSON.
    pub fn body(&self) -> String {
        let body = ProblemBody {
            kind: format!("urn:tautan:problem:{}", self.code.as_str()),
            title: self.code.title(),
            status: self.code.status().as_u16(),
            detail: &self.detail,
            code: self.code.as_str(),
        };
        serde_json::to_string(&body).expect("it consists of texts and a number")
    }
}

impl Reply for Problem {
    fn into_response(self) -> Response {
        metrics().problems.add(self.code.as_str());
        let status = self.code.status();
        let mut response = Response::new(self.body().into());
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(seconds) = self.retry_after_seconds {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        if let Some(methods) = self.allow.and_then(|methods| methods.try_into().ok()) {
            headers.insert(header::ALLOW, methods);
        }
        response
    }
}

impl From<TokenError> for Problem {
    fn from(error: TokenError) -> Self {
        let code = match error {
            TokenError::Missing => Code::MissingToken,
            TokenError::Malformed => Code::MalformedToken,
            TokenError::Expired => Code::ExpiredToken,
            TokenError::NotYetValid => Code::TokenNotYetValid,
            TokenError::WrongSignature => Code::WrongSignature,
            TokenError::WrongAlgorithm => Code::WrongAlgorithm,
            TokenError::UnknownKey => Code::UnknownKey,
            TokenError::WithoutExpiry => Code::TokenWithoutExpiry,
            TokenError::BadTenant => Code::BadTenant,
            TokenError::BadProxy => Code::BadProxy,
            TokenError::WrongIssuer => Code::WrongIssuer,
            TokenError::WrongAudience => Code::WrongAudience,
            TokenError::Revoked => Code::TokenRevoked,
            TokenError::KeysUnavailable => {
                return Self::new(Code::KeysUnavailable, error.to_string()).retry_after(5);
            }
        };
        Self::new(code, error.to_string())
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match &error {
            StoreError::Unavailable(cause) => {
                static LINES: Sampled = Sampled::new();
                if LINES.is_due() {
                    tracing::warn!(error = %cause, "the store could not be reached for a request");
                }
                Self::new(Code::StoreUnavailable, "The command may not have been saved. Retrying is safe.")
                    .retry_after(2)
            }
            StoreError::Limited { limited, wait } => {
                let (code, what, limit) = match limited {
                    Limited::PairCodes => (Code::TooManyPairCodes, "pairing codes", PAIR_CODES),
                    Limited::Dials => (Code::TooManyDials, "connections to WhatsApp", DIALS),
                };
                metrics().limits.add(limit);
                let seconds = whole_seconds(*wait);
                let detail = format!("this tenant has requested too many {what}; retry in {seconds} s");
                Self::new(code, detail).retry_after(seconds)
            }
            StoreError::Fenced | StoreError::Unreadable | StoreError::Damaged(_) => {
                static LINES: Sampled = Sampled::new();
                if LINES.is_due() {
                    tracing::error!(%error, "the store failed a request");
                }
                Self::new(Code::Internal, "the service's log has the cause")
            }
        }
    }
}

impl From<SessionError> for Problem {
    fn from(error: SessionError) -> Self {
        match error {
            SessionError::Store(error) => error.into(),
            SessionError::NoCapacity => {
                metrics().limits.add(SESSIONS);
                static LINES: Sampled = Sampled::new();
                if LINES.is_due() {
                    tracing::warn!("no instance has room for another session");
                }
                Self::new(Code::NoCapacity, "every instance owns as many sessions as it may").retry_after(60)
            }
        }
    }
}

impl From<EraseError> for Problem {
    fn from(error: EraseError) -> Self {
        match error {
            EraseError::Session(error) => error.into(),
            EraseError::Store(error) => error.into(),
            EraseError::Busy(_) => Self::new(Code::SessionBusy, error.to_string()).retry_after(2),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn erasure_that_takes_too_long_is_503() {
        let problem = Problem::from(EraseError::Busy(std::time::Duration::from_secs(25)));
        let answer = problem.into_response();
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(answer.headers()[header::RETRY_AFTER], "2");
    }

    #[test]
    fn codes_are_unique_and_in_kebab_case() {
        let words: HashSet<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(words.len(), Code::ALL.len());
        assert!(words.iter().all(|word| word.bytes().all(|b| b.is_ascii_lowercase() || b == b'-')));
    }
}
