//! Keys that can be guessed or are public refuse the start.

use std::ffi::OsString;

use serde_json::json;
use tautan::{
    auth::{KeySource, Secret},
    config::Config,
};

const SECRET: (&str, &str) = ("JWT_SECRET", crate::support::SECRET);

/// The mistakes in the settings, by variable.
fn mistakes(environment: &[(&str, &str)]) -> Vec<(String, String)> {
    let environment: Vec<(OsString, OsString)> =
        environment.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    let read = Config::read(Vec::new(), environment);
    read.err().map_or(Vec::new(), |error| error.mistakes.into_iter().map(|m| (m.variable, m.what)).collect())
}

fn refused(environment: &[(&str, &str)], variable: &str, said: &str) {
    let mistakes = mistakes(environment);
    assert!(mistakes.len() == 1 && mistakes[0].0 == variable, "{variable} {environment:?}: {mistakes:?}");
    assert!(mistakes[0].1.contains(said), "{said}: {mistakes:?}");
}

#[test]
fn hardening_a_weak_encryption_key_refuses_the_start() {
    for (weak, said) in [
        ("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", "repeats"),
        ("BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=", "repeats"),
        ("//////////////////////////////////////////8=", "repeats"),
        ("AQIDBAECAwQBAgMEAQIDBAECAwQBAgMEAQIDBAECAwQ=", "repeats"),
        ("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=", "well-known"),
        ("AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA=", "well-known"),
        ("HxwZFhMQDQoHBAH++/j18u/s6ebj4N3a19TRzsvIxcI=", "well-known"),
        // 0123456789abcdef0123456789abcdef and please-change-this-secret-key-32.
        ("MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=", "well-known"),
        ("cGxlYXNlLWNoYW5nZS10aGlzLXNlY3JldC1rZXktMzI=", "well-known"),
    ] {
        let redis = ("REDIS_URL", "redis://127.0.0.1/");
        refused(&[SECRET, ("TAUTAN_ENCRYPTION_KEY", weak)], "TAUTAN_ENCRYPTION_KEY", said);
        refused(&[SECRET, redis, ("TAUTAN_ENCRYPTION_KEY", weak)], "TAUTAN_ENCRYPTION_KEY", said);
        // Data that was saved with a weak key must stay readable while the key is changed.
        let strong = ("TAUTAN_ENCRYPTION_KEY", "q83vEjRWeJq83vEjRWeJq83vEjRWeJq83vEjRWeJq80=");
        assert_eq!(mistakes(&[SECRET, strong, ("TAUTAN_ENCRYPTION_KEY_PREVIOUS", weak)]), []);
    }
}

#[test]
fn hardening_a_weak_webhook_secret_refuses_the_start() {
    let url = ("TAUTAN_WEBHOOK_URL", "https://app.example.com/hooks");
    for (weak, said) in [
        ("whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "repeats"),
        ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "well-known"),
        ("whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=", "well-known"),
    ] {
        refused(&[SECRET, url, ("TAUTAN_WEBHOOK_SECRET", weak)], "TAUTAN_WEBHOOK_SECRET", said);
    }
}

#[test]
fn hardening_a_token_secret_of_a_tutorial_refuses_the_start() {
    for weak in [
        "a-valid-string-secret-that-is-at-least-512-bits-long-which-is-very-long",
        "super-secret-jwt-token-with-at-least-32-characters-long",
        "09d25e094faa6ca2556c818166b7a9563b93f7099f6f0f4caa6cf63b88e8d3e7",
        "404E635266556A586E3272357538782F413F4428472B4B6250645367566B5970",
        "3EK6FD+o0+c7tzBNVfjpMkNDi2yARAAKzQlk8O2IKoxQu4nF7EdAh8s3TwpHwrdWT6R",
        "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow",
        "DO NOT USE THIS VALUE. INSTEAD, CREATE A COMPLEX SECRET AND KEEP IT SAFE OUTSIDE OF THE SOURCE CODE.",
        "0123456789abcdef0123456789abcdef",
        "abcdefghijklmnopqrstuvwxyz0123456789",
        "qwertyuiopasdfghjklzxcvbnm123456",
    ] {
        refused(&[("JWT_SECRET", weak)], "JWT_SECRET", "well-known");
        refused(&[SECRET, ("JWT_SECRET_PREVIOUS", weak)], "JWT_SECRET_PREVIOUS", "well-known");
        assert!(KeySource::Secret(Secret::new(weak)).check().is_err());
    }
}

#[test]
fn hardening_a_weak_public_key_refuses_the_start() {
    let short = include_str!("keys/rsa1024.pub.pem");
    refused(&[("JWT_PUBLIC_KEY", short)], "JWT_PUBLIC_KEY", "1024 bits");
    refused(&[("JWT_PUBLIC_KEY", include_str!("keys/rsa8192.pub.pem"))], "JWT_PUBLIC_KEY", "8192 bits");
    for pem in [
        "-----BEGIN PUBLIC KEY-----\n\
         MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEEVs/o5+uQbTjL3chynL4wXgUg2R9\n\
         q9UU8I5mEovUf86QZ7kOBIjJwqnzD1omageEHWwHdBO6B+dFabmdT9POxg==\n\
         -----END PUBLIC KEY-----",
        "-----BEGIN PUBLIC KEY-----\n\
         MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAEC1uWSXj2czCDwMTLWV5BFmwxdM6PX9p+\n\
         Pk9Yf9rIf374m5XP1U8q79dBhLSIuaojsvOT39UUcPJROSD1FqYLued0rXiooIii\n\
         1D3jaW6pmGVJFhodzC31cy5sfOYotrzF\n\
         -----END PUBLIC KEY-----",
        "-----BEGIN PUBLIC KEY-----\n\
         MCowBQYDK2VwAyEAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n\
         -----END PUBLIC KEY-----",
    ] {
        refused(&[("JWT_PUBLIC_KEY", pem)], "JWT_PUBLIC_KEY", "");
    }
}

#[test]
fn hardening_a_key_set_file_with_a_weak_key_refuses_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("jwks.json");
    let path = path.to_str().unwrap();
    let strong =
        json!({"kty": "OKP", "crv": "Ed25519", "kid": "one", "x": "mTbalCscyWPOwD1dVN-S7DRIBkflDoyfecVzaY1qlEI"});
    let rsa = |n: &str| json!({"kty": "RSA", "kid": "two", "n": n, "e": "AQAB"});
    let (short, known) = (
        format!("wA{}", "A".repeat(168)),
        format!("u1SU1LfVLPHCozMxH2Mo4lgOEePzNm0tRgeLezV6ffAt0gun{}", "A".repeat(294)),
    );
    for weak in [
        rsa(&short),
        rsa(&known),
        json!({"kty": "OKP", "crv": "Ed25519", "kid": "two", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}),
        json!({"kty": "OKP", "crv": "Ed25519", "kid": "two", "x": "A".repeat(43)}),
        json!({"kty": "OKP", "crv": "Ed25519", "kid": "two", "x": "AAAA"}),
        json!({"kty": "EC", "crv": "P-256", "kid": "two", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}),
    ] {
        std::fs::write(path, json!({"keys": [strong, weak]}).to_string()).unwrap();
        refused(&[("JWT_JWKS", path)], "JWT_JWKS", "two");
    }
    std::fs::write(path, json!({"keys": [strong]}).to_string()).unwrap();
    assert_eq!(mistakes(&[("JWT_JWKS", path)]), []);
}
