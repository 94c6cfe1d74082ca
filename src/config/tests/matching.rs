//! Settings that nothing could ever match.

use super::*;

#[test]
fn origin_that_no_browser_sends_is_refused() {
    for name in ["TAUTAN_ALLOWED_ORIGINS", "TAUTAN_PUBLIC_URL"] {
        for bad in [
            "https://*.example.com",
            "https://*",
            "*",
            "null",
            "app.example.com",
            "https://app.example.com/path",
            "https://app.example.com?x",
            "https://app.example.com#x",
            "https://user@app.example.com",
            "https://app..example.com",
            "https://.example.com",
            "https://",
            "https:///",
            "https://:8443",
            "https://app.example.com:0",
            "https://app.example.com:99999",
            "https://app.example.com:https",
            "https://toko-tōko.example",
            "https://app%2Eexample.com",
            "https://app.example.com\\x",
            "https://app .example.com",
            "https://127.1",
            "https://0177.0.0.1",
            "https://1.2.3.4.5",
            "https://0x7f.0.0.1",
            "https://app.example.0x7f",
            "https://[::1",
            "https://[::g]",
            "ftp://app.example.com",
            "\"https://app.example.com\"",
            "https://a.example;https://b.example",
        ] {
            assert_eq!(blamed(&[(name, bad)]), [name], "{bad}");
        }
    }
    for none in [",", " , ,"] {
        assert_eq!(blamed(&[("TAUTAN_ALLOWED_ORIGINS", none)]), ["TAUTAN_ALLOWED_ORIGINS"], "{none}");
    }
    let hint = |bad: &str| read(&[("TAUTAN_ALLOWED_ORIGINS", bad)]).unwrap_err().remove(0).what;
    assert!(hint("https://*.example.com").contains("each origin"), "{}", hint("https://*.example.com"));
    assert!(hint("https://tōko.example").contains("xn--"), "{}", hint("https://tōko.example"));
}

#[test]
fn origin_is_normalized_to_what_browsers_send() {
    for (written, sent) in [
        ("https://app.example.com", "https://app.example.com"),
        (" HTTPS://App.Example.com:443/ ", "https://app.example.com"),
        ("http://localhost:3000", "http://localhost:3000"),
        ("http://app.example.com:80", "http://app.example.com"),
        ("https://app.example.com:", "https://app.example.com"),
        ("https://my_service:8080", "https://my_service:8080"),
        ("https://xn--tko-ioa.example", "https://xn--tko-ioa.example"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("http://[0:0:0:0:0:0:0:1]:8080", "http://[::1]:8080"),
        ("http://[2001:DB8::A]", "http://[2001:db8::a]"),
        ("http://[::ffff:127.0.0.1]", "http://[::ffff:7f00:1]"),
        ("https://4.example", "https://4.example"),
    ] {
        let config = read(&[("TAUTAN_PUBLIC_URL", written), ("TAUTAN_ALLOWED_ORIGINS", written)]).unwrap();
        assert_eq!(config.http.public_url.as_deref(), Some(sent));
        assert_eq!(config.http.allowed_origins, [sent]);
    }
}

#[test]
fn claim_setting_that_no_token_can_match_is_refused() {
    let key = ("JWT_SECRET", SECRET);
    for name in ["JWT_ISSUER", "JWT_AUDIENCE", "TAUTAN_TENANT_CLAIM", "TAUTAN_TENANT_NAME_CLAIM"] {
        for bad in ["https://us.example ", "\thttps://us.example", "\"https://us.example\"", "'us'", "u\u{0}s"] {
            assert_eq!(blamed(&[key, (name, bad)]), [name], "{bad:?}");
        }
        for good in ["https://us.example/", "us", "o'us", "/org/id", "/a~1b~0c/0"] {
            assert!(read(&[key, (name, good)]).is_ok(), "{name} {good}");
        }
    }
    for name in ["TAUTAN_TENANT_CLAIM", "TAUTAN_TENANT_NAME_CLAIM"] {
        for bad in ["/", "/org/~id", "/org~", "/a~2"] {
            assert_eq!(blamed(&[key, (name, bad)]), [name], "{bad:?}");
        }
        assert_eq!(blamed(&[(name, "sub")]), [name], "local mode reads no claim");
    }
}

#[test]
fn secure_cookie_name_is_refused_in_local_mode() {
    for name in ["__Host-auth", "__Secure-auth", "__host-auth"] {
        assert_eq!(blamed(&[("TAUTAN_COOKIE", name)]), ["TAUTAN_COOKIE"]);
        let key = ("JWT_SECRET", SECRET);
        assert!(read(&[("TAUTAN_COOKIE", name), key]).is_ok());
        let at = |url| ("TAUTAN_PUBLIC_URL", url);
        assert_eq!(blamed(&[("TAUTAN_COOKIE", name), key, at("http://app.example.com")]), ["TAUTAN_COOKIE"]);
        for good in ["https://app.example.com", "http://localhost:8080", "http://127.0.0.1:8080"] {
            assert!(read(&[("TAUTAN_COOKIE", name), key, at(good)]).is_ok(), "{good}");
        }
    }
    assert_eq!(blamed(&[("TAUTAN_COOKIE", "fibidy auth")]), ["TAUTAN_COOKIE"]);
}

#[test]
fn url_without_a_host_is_refused() {
    for (name, bad) in [
        ("TAUTAN_LOGIN_URL", "https://"),
        ("TAUTAN_LOGIN_URL", "https:///login"),
        ("TAUTAN_LOGIN_URL", "https://*.example.com/login"),
        ("TAUTAN_LOGIN_URL", "//app.example.com/login"),
        ("TAUTAN_LOGIN_URL", "/\\app.example.com"),
        ("TAUTAN_LOGIN_URL", "login"),
        ("TAUTAN_LOGIN_URL", "https://app.example.com:0/login"),
        ("TAUTAN_LOGIN_URL", "https://app.example.com:99999/login"),
        ("TAUTAN_WHATSAPP_URL", "wss://"),
        ("TAUTAN_WHATSAPP_URL", "wss://web.whatsapp.com:0/ws"),
        ("TAUTAN_WHATSAPP_URL", "wss:///ws"),
        ("TAUTAN_WHATSAPP_URL", "wss://*.example.com/ws"),
        ("JWT_JWKS", "https://*.example.com/jwks.json"),
        ("JWT_JWKS", "https://login.example:0/jwks.json"),
        ("JWT_JWKS", "ftp://login.example/jwks.json"),
        ("JWT_JWKS", "http://login.example/jwks.json"),
        ("JWT_JWKS", "HTTP://login.example/jwks.json"),
    ] {
        assert_eq!(blamed(&[(name, bad)]), [name], "{bad}");
    }
    let secret = ("TAUTAN_WEBHOOK_SECRET", "whsec_aHVudGVyMiBvZiB0aGUgYmFjayBlbmQsIGxvbmcgZW5vdWdo");
    for bad in ["https://*.example.com/hook", "https://app.example.com:0/hook"] {
        assert_eq!(blamed(&[("TAUTAN_WEBHOOK_URL", bad), secret]), ["TAUTAN_WEBHOOK_URL"], "{bad}");
    }
    assert!(read(&[("TAUTAN_LOGIN_URL", "/login?next=/#top")]).is_ok());
}

#[test]
fn unknown_log_level_is_refused() {
    for bad in [
        "wran",
        "infos",
        "tautan=debug,eror",
        "tautan=dbug",
        "verbose",
        "tautanx",
        "tautan_store=debug",
        "tautan::stroe=debug",
        "info,tautan::=debug",
    ] {
        assert_eq!(blamed(&[("RUST_LOG", bad)]), ["RUST_LOG"], "{bad}");
    }
    for good in [
        "warn",
        "OFF",
        "3",
        "tautan",
        "tautan::store",
        "tautan::store::redis=info",
        "tautan=debug,hyper=warn",
        "info,tautan=trace",
        "info,",
    ] {
        assert!(read(&[("RUST_LOG", good)]).is_ok(), "{good}");
    }
    let modules =
        include_str!("../../lib.rs").lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'));
    let modules: Vec<_> = modules.collect();
    assert!(read::MODULES.iter().all(|module| modules.contains(module)), "{modules:?}");
    let spaced = read(&[("RUST_LOG", "info, tautan=debug")]).unwrap();
    assert_eq!(spaced.telemetry.filter, "info,tautan=debug");
    // Found at random: the library panicked.
    let _ = read(&[("RUST_LOG", " é[::1]")]);
}
