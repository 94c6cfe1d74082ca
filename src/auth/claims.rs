use serde_json::Value;

use super::{Identity, LEEWAY, Settings, TokenError};
use crate::{
    clock::Timestamp,
    events::shown_name,
    link_options::{DeviceName, ProxyName},
    telemetry::Sampled,
    tenant::TenantId,
};

const SHOWN_LENGTH_MAX: usize = 200;

/// The lines of the log about claims that do not fit the settings.
#[derive(Debug, Default)]
pub struct Lines {
    issuer: Sampled,
    audience: Sampled,
    tenant: Sampled,
    proxy: Sampled,
}

/// Checks the claims that no token goes without. Returns when the token ends.
pub fn check(claims: &Value, settings: &Settings, now: Timestamp, lines: &Lines) -> Result<Timestamp, TokenError> {
    let expires = claims.get("exp").filter(|exp| !exp.is_null()).ok_or(TokenError::WithoutExpiry)?;
    let expires_at = later(moment(expires).ok_or(TokenError::WithoutExpiry)?);
    if now >= expires_at {
        return Err(TokenError::Expired);
    }
    if let Some(not_before) = claims.get("nbf").filter(|nbf| !nbf.is_null()) {
        let not_before = moment(not_before).ok_or(TokenError::Malformed)?;
        if not_before > later(now) {
            return Err(TokenError::NotYetValid);
        }
    }
    if let Some(issuer) = &settings.issuer
        && !is_from(claims, issuer)
    {
        if lines.issuer.is_due() {
            let (seen, slash) = compared(claims.get("iss"), issuer);
            tracing::warn!(%seen, expected = %issuer, "a token was refused: its iss is not the configured issuer{slash}");
        }
        return Err(TokenError::WrongIssuer);
    }
    if let Some(audience) = &settings.audience
        && !names(claims.get("aud"), audience)
    {
        if lines.audience.is_due() {
            let (seen, slash) = compared(claims.get("aud"), audience);
            tracing::warn!(%seen, expected = %audience, "a token was refused: its aud does not name the configured audience{slash}");
        }
        return Err(TokenError::WrongAudience);
    }
    Ok(expires_at)
}

/// Checks the claims of a token whose signature is good against the settings and the time of day.
pub fn read(claims: &Value, settings: &Settings, now: Timestamp, lines: &Lines) -> Result<Identity, TokenError> {
    let expires_at = check(claims, settings, now, lines)?;
    let claim = find(claims, &settings.tenant_claim);
    let tenant = claim.and_then(tenant).ok_or_else(|| {
        if lines.tenant.is_due() {
            tracing::warn!(claim = %settings.tenant_claim, seen = kind(claim), "a token was refused: its claim names no tenant");
        }
        TokenError::BadTenant
    })?;
    let text = |claim: &Option<String>| claim.as_ref().and_then(|claim| find(claims, claim)?.as_str());
    let display_name = text(&settings.tenant_name_claim).and_then(display_name);
    let device_name = text(&settings.device_name_claim).and_then(|name| DeviceName::parse(name).ok());
    let proxy = settings.proxy_claim.as_ref().map_or(Ok(None), |claim| proxy(find(claims, claim), claim, lines))?;
    let issued_at = claims.get("iat").and_then(moment);
    Ok(Identity { tenant, display_name, device_name, proxy, issued_at, expires_at })
}

/// The tenant that the token names, whether or not the token still counts. `None`: it names none, or has another issuer or
/// audience.
pub fn named_tenant(claims: &Value, settings: &Settings) -> Option<TenantId> {
    let is_ours = settings.issuer.as_ref().is_none_or(|issuer| is_from(claims, issuer))
        && settings.audience.as_ref().is_none_or(|audience| names(claims.get("aud"), audience));
    find(claims, &settings.tenant_claim).filter(|_| is_ours).and_then(tenant)
}

fn is_from(claims: &Value, issuer: &str) -> bool {
    claims.get("iss").and_then(Value::as_str) == Some(issuer)
}

/// Whether the claim `scope` has this word. It is a text of words with spaces between them (RFC 8693 section 4.2), or a
/// list of words, as some identity providers write it.
pub fn has_scope(claims: &Value, scope: &str) -> bool {
    match claims.get("scope") {
        Some(Value::String(words)) => words.split(' ').any(|word| word == scope),
        Some(Value::Array(words)) => words.iter().any(|word| word.as_str() == Some(scope)),
        _ => false,
    }
}

/// A claim that cannot be read is no missing one: without a name the link might go past the proxy that was meant.
fn proxy(claim: Option<&Value>, name: &str, lines: &Lines) -> Result<Option<ProxyName>, TokenError> {
    match claim {
        None | Some(Value::Null) => Ok(None),
        Some(value) => match value.as_str().map(ProxyName::parse) {
            Some(Ok(proxy)) => Ok(Some(proxy)),
            Some(Err(_)) | None => {
                if lines.proxy.is_due() {
                    tracing::warn!(claim = %name, seen = kind(claim), "a token was refused: its claim names no proxy");
                }
                Err(TokenError::BadProxy)
            }
        },
    }
}

/// A claim for the log, with a hint if it differs by a slash at the end only. The token's signature is good, so a
/// setting is wrong, here or where the token was made.
fn compared(claim: Option<&Value>, expected: &str) -> (String, &'static str) {
    let seen = claim.map_or_else(|| "missing".to_owned(), Value::to_string);
    let trimmed = expected.trim_end_matches('/');
    let texts = match claim {
        Some(Value::Array(several)) => several.iter().collect(),
        one => Vec::from_iter(one),
    };
    let by_slash = texts.iter().any(|text| text.as_str().is_some_and(|text| text.trim_end_matches('/') == trimmed));
    (seen.chars().take(SHOWN_LENGTH_MAX).collect(), if by_slash { ", they differ by a slash at the end" } else { "" })
}

/// The kind of the claim and not its value, which may be personal data.
fn kind(claim: Option<&Value>) -> &'static str {
    match claim {
        None | Some(Value::Null) => "missing",
        Some(Value::String(_)) => "a text",
        Some(Value::Number(_)) => "a number",
        Some(Value::Bool(_)) => "true or false",
        Some(Value::Array(_)) => "a list",
        Some(Value::Object(_)) => "an object",
    }
}

/// A claim by its name, or anywhere in the claims by JSON pointer.
fn find<'c>(claims: &'c Value, claim: &str) -> Option<&'c Value> {
    if claim.starts_with('/') { claims.pointer(claim) } else { claims.get(claim) }
}

fn tenant(value: &Value) -> Option<TenantId> {
    match value {
        Value::String(text) => TenantId::parse(text).ok(),
        // 1.0 is not an integer here: another library might write it differently the next time, and be another tenant.
        Value::Number(number) if number.is_i64() || number.is_u64() => TenantId::parse(&number.to_string()).ok(),
        _ => None,
    }
}

/// A NumericDate (RFC 7519 section 2): seconds, maybe with a fraction. One beyond all calendars is the end of time.
fn moment(value: &Value) -> Option<Timestamp> {
    let seconds = value.as_f64().filter(|seconds| seconds.is_finite())?;
    if seconds < 0.0 {
        return Some(Timestamp::UNIX_EPOCH);
    }
    let bounded = seconds.min(Timestamp::MAX.as_second() as f64);
    Some(Timestamp::from_second(bounded as i64).unwrap_or(Timestamp::MAX))
}

fn later(at: Timestamp) -> Timestamp {
    at.checked_add(LEEWAY).unwrap_or(Timestamp::MAX)
}

/// `aud` is one string or a list of them (RFC 7519 section 4.1.3).
fn names(claim: Option<&Value>, audience: &str) -> bool {
    match claim {
        Some(Value::String(one)) => one == audience,
        Some(Value::Array(several)) => several.iter().any(|one| one.as_str() == Some(audience)),
        _ => false,
    }
}

fn display_name(text: &str) -> Option<String> {
    shown_name(&text.chars().filter(|c| !c.is_control()).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::io::{Read as _, Seek as _};

    fn now() -> Timestamp {
        Timestamp::from_second(1_000_000).unwrap()
    }

    fn tenant_of(claims: Value, claim: &str) -> Result<String, TokenError> {
        let settings = Settings { tenant_claim: claim.into(), ..Settings::default() };
        read(&claims, &settings, now(), &Lines::default()).map(|identity| identity.tenant.as_str().to_owned())
    }

    #[test]
    fn tenant_is_found_by_claim_name_or_json_pointer() {
        assert_eq!(tenant_of(json!({"exp": 2e6, "id": "toko"}), "id"), Ok("toko".into()));
        assert_eq!(tenant_of(json!({"exp": 2e6, "id": 42}), "id"), Ok("42".into()));
        assert_eq!(tenant_of(json!({"exp": 2e6, "org": {"id": "toko"}}), "/org/id"), Ok("toko".into()));
        assert_eq!(tenant_of(json!({"exp": 2e6, "https://x/org": "toko"}), "https://x/org"), Ok("toko".into()));
        for bad in
            [json!(null), json!(4.5), json!(1.0), json!(true), json!(["toko"]), json!({}), json!(""), json!("a b")]
        {
            assert_eq!(tenant_of(json!({"exp": 2e6, "id": bad}), "id"), Err(TokenError::BadTenant));
        }
    }

    #[test]
    fn device_name_comes_from_its_claim_only_if_it_is_plain() {
        let settings = Settings { device_name_claim: Some("/shop/name".into()), ..Settings::default() };
        let named = |name: Value| {
            let claims = json!({"exp": 2e6, "id": "toko", "shop": {"name": name}});
            let identity = read(&claims, &settings, now(), &Lines::default()).unwrap();
            identity.device_name.map(String::from)
        };
        assert_eq!(named(json!("Toko Sari")).as_deref(), Some("Toko Sari"));
        for unusable in [json!(null), json!(7), json!(""), json!("x".repeat(41)), json!("\u{202e}iraS"), json!("a\nb")]
        {
            assert_eq!(named(unusable.clone()), None, "{unusable}");
        }
        let unset = Settings::default();
        let claims = json!({"exp": 2e6, "id": "toko", "shop": {"name": "Toko Sari"}});
        assert_eq!(read(&claims, &unset, now(), &Lines::default()).unwrap().device_name, None);
    }

    #[test]
    fn proxy_claim_is_a_name_or_refuses_the_token() {
        let settings = Settings { proxy_claim: Some("proxy".into()), ..Settings::default() };
        let named = |claims: Value| {
            let identity = read(&claims, &settings, now(), &Lines::default());
            identity.map(|identity| identity.proxy.map(String::from))
        };
        assert_eq!(named(json!({"exp": 2e6, "id": "toko", "proxy": "jakarta"})), Ok(Some("jakarta".into())));
        assert_eq!(named(json!({"exp": 2e6, "id": "toko", "proxy": null})), Ok(None));
        assert_eq!(named(json!({"exp": 2e6, "id": "toko"})), Ok(None));
        for bad in [json!("http://evil:1"), json!(""), json!(7), json!(["jakarta"]), json!("x".repeat(65))] {
            assert_eq!(named(json!({"exp": 2e6, "id": "toko", "proxy": bad})), Err(TokenError::BadProxy));
        }
    }

    #[test]
    fn scope_is_a_whole_word_of_a_text_or_a_list() {
        let has = |scope: Value| has_scope(&json!({ "scope": scope }), "whatsapp:admin");
        for good in [json!("whatsapp:admin"), json!("openid whatsapp:admin email"), json!(["a", "whatsapp:admin"])] {
            assert!(has(good.clone()), "{good}");
        }
        for bad in [
            json!(null),
            json!(""),
            json!("whatsapp:administrator"),
            json!("whatsapp:admin,email"),
            json!("WhatsApp:admin"),
            json!(["whatsapp:admin email"]),
            json!({"whatsapp:admin": true}),
            json!(7),
        ] {
            assert!(!has(bad.clone()), "{bad}");
        }
        assert!(!has_scope(&json!({"scp": "whatsapp:admin"}), "whatsapp:admin"));
    }

    #[test]
    fn issue_time_is_whole_seconds_or_missing() {
        let issued = |iat: Value| {
            let claims = json!({"exp": 2e6, "id": "toko", "iat": iat});
            let identity = read(&claims, &Settings::default(), now(), &Lines::default()).unwrap();
            identity.issued_at.map(Timestamp::as_second)
        };
        assert_eq!(issued(json!(5)), Some(5));
        assert_eq!(issued(json!(5.9)), Some(5));
        for missing in [json!(null), json!("5"), json!([5]), json!({})] {
            assert_eq!(issued(missing.clone()), None, "{missing}");
        }
    }

    #[test]
    fn numeric_date_is_read_in_every_number_format() {
        for (written, second) in [(json!(5), 5), (json!(5.9), 5), (json!(-1), 0)] {
            assert_eq!(moment(&written), Timestamp::from_second(second).ok());
        }
        assert!(moment(&json!(1e300)).is_some_and(|at| at > now()));
        assert_eq!(moment(&json!("5")), None);
    }

    #[test]
    fn expiry_at_the_end_of_time_does_not_overflow() {
        assert!(tenant_of(json!({"exp": u64::MAX, "id": "toko"}), "id").is_ok());
    }

    /// What `read` logs.
    fn logged(claims: &Value, settings: &Settings) -> String {
        let mut file = tempfile::tempfile().unwrap();
        let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(file.try_clone().unwrap()).finish();
        tracing::subscriber::with_default(subscriber, || read(claims, settings, now(), &Lines::default()).unwrap_err());
        let mut lines = String::new();
        file.rewind().unwrap();
        file.read_to_string(&mut lines).unwrap();
        lines
    }

    #[test]
    fn refused_issuer_or_audience_is_logged_beside_the_expected_one() {
        let ours = Settings {
            issuer: Some("https://login.example/".into()),
            audience: Some("https://wa.example/".into()),
            ..Settings::default()
        };
        let log = logged(&json!({"exp": 2e6, "id": "toko", "iss": "https://login.example"}), &ours);
        for part in ["WARN", "\"https://login.example\"", "https://login.example/", "slash"] {
            assert!(log.contains(part), "{part} in {log}");
        }
        let log = logged(&json!({"exp": 2e6, "id": "toko"}), &ours);
        assert!(log.contains("missing") && !log.contains("slash"), "{log}");
        let audience =
            json!({"exp": 2e6, "id": "toko", "iss": "https://login.example/", "aud": ["a\n", "https://wa.example"]});
        let log = logged(&audience, &ours);
        for part in [r#"["a\n","https://wa.example"]"#, "https://wa.example/", "slash"] {
            assert!(log.contains(part), "{part} in {log}");
        }
        let long = json!({"exp": 2e6, "id": "toko", "iss": "x".repeat(10_000)});
        assert!(logged(&long, &ours).len() < 1_000);
    }

    #[test]
    fn refused_tenant_claim_is_logged_with_its_name_and_type() {
        let claim = Settings { tenant_claim: "/org/id".into(), ..Settings::default() };
        for (claims, kind) in [
            (json!({"exp": 2e6, "id": "toko"}), "missing"),
            (json!({"exp": 2e6, "org": {"id": ["hunter2"]}}), "a list"),
            (json!({"exp": 2e6, "org": {"id": "hunter2 hunter2"}}), "a text"),
            (json!({"exp": 2e6, "org": {"id": 1.5}}), "a number"),
        ] {
            let log = logged(&claims, &claim);
            assert!(log.contains("/org/id") && log.contains(kind) && !log.contains("hunter2"), "{log}");
        }
    }
}
