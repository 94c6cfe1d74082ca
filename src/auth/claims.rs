use serde_json::Value;

use super::{Identity, LEEWAY, Settings, TokenError};
use crate::{clock::Timestamp, tenant::TenantId};

const DISPLAY_NAME_LENGTH_MAX: usize = 100;

/// What a token whose signature is good says, held against the settings and the time of day.
pub fn read(claims: &Value, settings: &Settings, now: Timestamp) -> Result<Identity, TokenError> {
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
        && claims.get("iss").and_then(Value::as_str) != Some(issuer)
    {
        return Err(TokenError::WrongIssuer);
    }
    if let Some(audience) = &settings.audience
        && !names(claims.get("aud"), audience)
    {
        return Err(TokenError::WrongAudience);
    }
    let tenant = find(claims, &settings.tenant_claim).and_then(tenant).ok_or(TokenError::BadTenant)?;
    let name = settings.tenant_name_claim.as_ref().and_then(|claim| find(claims, claim)?.as_str());
    Ok(Identity { tenant, display_name: name.and_then(display_name), expires_at })
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
    let name: String = text.trim().chars().filter(|c| !c.is_control()).take(DISPLAY_NAME_LENGTH_MAX).collect();
    (!name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn now() -> Timestamp {
        Timestamp::from_second(1_000_000).unwrap()
    }

    fn tenant_of(claims: Value, claim: &str) -> Result<String, TokenError> {
        let settings = Settings { tenant_claim: claim.into(), ..Settings::default() };
        read(&claims, &settings, now()).map(|identity| identity.tenant.as_str().to_owned())
    }

    #[test]
    fn a_tenant_is_found_by_name_or_by_pointer() {
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
    fn a_moment_is_read_in_every_writing_of_a_number() {
        for (written, second) in [(json!(5), 5), (json!(5.9), 5), (json!(-1), 0)] {
            assert_eq!(moment(&written), Timestamp::from_second(second).ok());
        }
        assert!(moment(&json!(1e300)).is_some_and(|at| at > now()));
        assert_eq!(moment(&json!("5")), None);
    }

    #[test]
    fn an_expiry_at_the_end_of_time_does_not_overflow() {
        assert!(tenant_of(json!({"exp": u64::MAX, "id": "toko"}), "id").is_ok());
    }
}
