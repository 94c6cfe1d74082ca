//! Settings that are there and say nothing.

use super::*;
use crate::config::variables::VARIABLES;

const PROXIES: [&str; 2] = ["TAUTAN_WHATSAPP_PROXY", "TAUTAN_WHATSAPP_PROXIES"];

#[test]
fn empty_key_or_redis_url_refuses_the_start() {
    let redis = ("REDIS_URL", "redis://127.0.0.1/");
    let key = ("TAUTAN_ENCRYPTION_KEY", "q83vEjRWeJq83vEjRWeJq83vEjRWeJq83vEjRWeJq80=");
    let good = ("JWT_SECRET", SECRET);
    for empty in ["", " ", "\n"] {
        for name in ["JWT_SECRET", "JWT_PUBLIC_KEY", "JWT_JWKS", "JWT_SECRET_FILE", "JWT_PUBLIC_KEY_FILE"] {
            assert_eq!(blamed(&[(name, empty)]), [name], "{empty:?}");
            let everywhere = [(name, empty), ("TAUTAN_LISTEN", "0.0.0.0:8080"), ("JWT_ISSUER", "us"), redis, key];
            assert_eq!(blamed(&everywhere), [name], "{empty:?}");
            assert_eq!(blamed(&[(name, empty), ("JWT_SECRET_PREVIOUS", SECRET)]), [name], "{empty:?}");
        }
        let all = [("JWT_JWKS", empty), ("JWT_PUBLIC_KEY", empty), ("JWT_SECRET", empty)];
        assert_eq!(blamed(&all), ["JWT_JWKS", "JWT_PUBLIC_KEY", "JWT_SECRET"]);
        assert!(read(&[good, ("JWT_JWKS", empty), ("JWT_PUBLIC_KEY", empty), ("JWT_PUBLIC_KEY_FILE", empty)]).is_ok());
        for name in ["REDIS_URL", "REDIS_URL_FILE"] {
            assert_eq!(blamed(&[(name, empty)]), [name], "{empty:?}");
            assert_eq!(blamed(&[(name, empty), good]), [name], "{empty:?}");
        }
    }
    let flag = Config::read(vec![("JWT_JWKS".into(), String::new())], Vec::new()).unwrap_err();
    assert_eq!(flag.mistakes[0].variable, "JWT_JWKS");
}

#[test]
fn misspelt_key_does_not_start_local_mode() {
    for name in ["JWT_SERCET", "JWT_SECRETS", "JWT_JWKS_URL"] {
        assert_eq!(blamed(&[(name, SECRET)]), [name]);
        assert!(read(&[(name, SECRET), ("JWT_SECRET", SECRET)]).is_ok(), "with a key another program may read it");
    }
}

#[test]
fn empty_variable_does_not_hide_its_file() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), SECRET).unwrap();
    for empty in ["", " "] {
        let config = read(&[("JWT_SECRET", empty), ("JWT_SECRET_FILE", file.path().to_str().unwrap())]).unwrap();
        assert!(matches!(config.mode, Mode::Tokens(settings) if settings.keys.len() == 1));
    }
}

#[test]
fn empty_variable_counts_as_unset() {
    for Variable { name, .. } in VARIABLES {
        if !KEYS.contains(name) && *name != "REDIS_URL" && !PROXIES.contains(name) {
            assert!(read(&[(name, "")]).is_ok(), "{name}");
        }
    }
}

/// A secret that was not filled in must not send the links past the proxy.
#[test]
fn empty_proxy_to_whatsapp_refuses_the_start() {
    for name in PROXIES {
        for name in [name.to_owned(), format!("{name}_FILE")] {
            assert_eq!(blamed(&[(&name, "")]), [name]);
        }
    }
}

#[test]
fn file_variable_of_a_setting_without_secret_is_refused() {
    for name in ["JWT_JWKS_FILE", "JWT_ISSUER_FILE", "JWT_AUDIENCE_FILE"] {
        assert_eq!(blamed(&[(name, "/run/secrets/x")]), [name]);
    }
    for name in ["JWT_ISSUER_FILE", "JWT_AUDIENCE_FILE"] {
        assert!(read(&[(name, "")]).is_ok(), "{name}");
    }
    assert_eq!(blamed(&[("JWT_JWKS_FILE", "")]), ["JWT_JWKS_FILE"], "somebody meant a key set");
    assert!(read(&[("JWT_JWKS_FILE", ""), ("JWT_SECRET", SECRET)]).is_ok());
}
