mod empty;
mod fuzz;
mod matching;

use super::*;
use crate::limit::Limit;

fn read(environment: &[(&str, &str)]) -> Result<Config, Vec<Mistake>> {
    let environment = environment.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    Config::read(Vec::new(), environment).map_err(|error| error.mistakes)
}

fn blamed(environment: &[(&str, &str)]) -> Vec<String> {
    read(environment).expect_err("a mistake").into_iter().map(|mistake| mistake.variable).collect()
}

const SECRET: &str = "c29tZXRoaW5nIHRoYXQgbm9ib2R5IGd1ZXNzZXM";

#[test]
fn empty_configuration_is_local_mode_with_default_values() {
    let config = read(&[]).unwrap();
    assert!(matches!(config.mode, Mode::Local));
    assert_eq!(config.listen, "127.0.0.1:8080".parse().unwrap());
    assert_eq!(config.data_dir, PathBuf::from("./data"));
    assert_eq!(config.whatsapp.url, "wss://web.whatsapp.com/ws/chat");
    assert_eq!(config.http.cookie, "fibidy_auth");
    assert_eq!(config.http.heartbeat, Duration::from_secs(15));
    assert_eq!((config.session.qr_windows, config.session.resume_rate), (3, 20));
    assert_eq!((config.session.sessions_max, config.http.streams_per_tenant_max), (None, 20));
    let limits = config.http.limits;
    assert_eq!((limits.command_burst, limits.commands_per_second), (20, 5));
    assert_eq!((limits.read_burst, limits.reads_per_second), (100, 20));
    assert_eq!(limits.stream_openings, Limit::new(60, Duration::from_secs(60)).unwrap());
    let Store::Embedded { limits, .. } = config.store else { panic!("{:?}", config.store) };
    let in_ten_minutes = |count| Limit::new(count, Duration::from_secs(600)).unwrap();
    assert_eq!((limits.pair_codes, limits.dials), (in_ten_minutes(5), in_ten_minutes(10)));
    assert_eq!(limits.number_codes, in_ten_minutes(3));
}

#[test]
fn every_configuration_mistake_is_reported_at_once() {
    let blamed = blamed(&[
        ("TAUTAN_LISTEN", "8080"),
        ("TAUTAN_HEARTBEAT", "soon"),
        ("TAUTAN_LISTN", "127.0.0.1:1"),
        ("JWT_SECRET", "secret"),
        ("TAUTAN_ALLOWED_ORIGINS", "https://a.example/path"),
        ("TAUTAN_RESUME_RATE", "0/s"),
    ]);
    for variable in [
        "TAUTAN_LISTEN",
        "TAUTAN_HEARTBEAT",
        "TAUTAN_LISTN",
        "JWT_SECRET",
        "TAUTAN_ALLOWED_ORIGINS",
        "TAUTAN_RESUME_RATE",
    ] {
        assert!(blamed.iter().any(|name| name == variable), "{variable} in {blamed:?}");
    }
    assert_eq!(blamed.len(), 6, "{blamed:?}");
}

#[test]
fn device_name_is_short_and_plain() {
    let name = |text: &str| read(&[("TAUTAN_DEVICE_NAME", text)]).map(|config| config.whatsapp.device_name);
    assert_eq!(read(&[]).unwrap().whatsapp.device_name.as_str(), "Tautan");
    assert_eq!(name("Toko Sari").unwrap().as_str(), "Toko Sari");
    let long = "x".repeat(41);
    for bad in [" Toko", "To\nko", "\u{202e}iraS", &long] {
        assert_eq!(name(bad).unwrap_err()[0].variable, "TAUTAN_DEVICE_NAME", "{bad:?}");
    }
    assert_eq!(
        blamed(&[("TAUTAN_DEVICE_NAME_CLAIM", "shop")]),
        ["TAUTAN_DEVICE_NAME_CLAIM"],
        "local mode has no claims"
    );
}

#[test]
fn proxies_to_whatsapp_are_read_without_repeating_a_password() {
    let token = [("JWT_SECRET", SECRET)];
    let with = |more: &[(&str, &str)]| read(&[&token[..], more].concat());
    let proxies = with(&[
        ("TAUTAN_WHATSAPP_PROXY", "http://u:p@proxy:1"),
        ("TAUTAN_WHATSAPP_PROXIES", "jakarta = socks5h://u:p@proxy:2"),
        ("TAUTAN_WHATSAPP_PROXY_CLAIM", "/way/name"),
    ]);
    let proxies = proxies.unwrap().whatsapp.proxies;
    assert!(proxies.common.is_some_and(|proxy| proxy.port == 1) && proxies.named.len() == 1);
    for (wrong, variable) in [
        (&[("TAUTAN_WHATSAPP_PROXY", "ftp://u:hunter2@proxy:1")][..], "TAUTAN_WHATSAPP_PROXY"),
        (&[("TAUTAN_WHATSAPP_PROXY", "")], "TAUTAN_WHATSAPP_PROXY"),
        (&[("TAUTAN_WHATSAPP_PROXIES", " "), ("TAUTAN_WHATSAPP_PROXY_CLAIM", "way")], "TAUTAN_WHATSAPP_PROXIES"),
        (
            &[("TAUTAN_WHATSAPP_PROXIES", "a = http://u:hunter2@:1"), ("TAUTAN_WHATSAPP_PROXY_CLAIM", "way")],
            "TAUTAN_WHATSAPP_PROXIES",
        ),
        (&[("TAUTAN_WHATSAPP_PROXIES", "a = http://proxy:1")], "TAUTAN_WHATSAPP_PROXIES"),
        (&[("TAUTAN_WHATSAPP_PROXY_CLAIM", "way")], "TAUTAN_WHATSAPP_PROXY_CLAIM"),
    ] {
        let mistakes = with(wrong).unwrap_err();
        assert!(mistakes.iter().any(|mistake| mistake.variable == variable), "{wrong:?}: {mistakes:?}");
        assert!(!format!("{mistakes:?}").contains("hunter2"), "{mistakes:?}");
    }
}

#[test]
fn limit_is_a_number_in_a_duration() {
    let limit =
        |text: &str| read(&[("TAUTAN_LIMIT_STREAM_OPENINGS", text)]).map(|config| config.http.limits.stream_openings);
    assert_eq!(limit("7/90s").unwrap(), Limit::new(7, Duration::from_secs(90)).unwrap());
    for bad in ["60", "60/", "/1m", "0/1m", "60/0s", "-1/1m", "60/-1m", "1000001/1m", "60/25h", "60 in 1m"] {
        assert_eq!(limit(bad).unwrap_err()[0].variable, "TAUTAN_LIMIT_STREAM_OPENINGS", "{bad}");
    }
}

#[test]
fn caps_and_proxies_are_read_and_must_fit_into_each_other() {
    const MAX: [&str; 5] = [
        "TAUTAN_MAX_CONNECTIONS",
        "TAUTAN_MAX_CONNECTIONS_WITHOUT_TOKEN",
        "TAUTAN_MAX_CONNECTIONS_PER_ADDRESS",
        "TAUTAN_MAX_CONNECTIONS_PER_TENANT",
        "TAUTAN_MAX_STREAMS",
    ];
    let [connections, without_token, per_address, per_tenant, streams] = MAX;
    let config = read(&[(connections, "100"), (streams, "50"), ("TAUTAN_TRUSTED_PROXIES", "10.0.0.0/8, ::7")]).unwrap();
    let caps = config.caps;
    assert_eq!(
        (caps.connections, caps.without_token, caps.per_address, caps.per_tenant, caps.streams),
        (Some(100), None, None, None, Some(50))
    );
    assert_eq!(config.http.trusted_proxies.len(), 2);
    let one = |name, text| [(name, text)];
    for name in MAX {
        assert_eq!(blamed(&one(name, "0")), [name]);
    }
    for text in ["10.0.0.0/99", "10.0.0.0/8,", "proxy.example", "0.0.0.0/0"] {
        assert_eq!(blamed(&one("TAUTAN_TRUSTED_PROXIES", text)), ["TAUTAN_TRUSTED_PROXIES"], "{text}");
    }
    let more = [(connections, "100"), (without_token, "101"), (per_tenant, "101"), (streams, "101")];
    assert_eq!(blamed(&more), [per_tenant, without_token, streams]);
    assert_eq!(blamed(&[(without_token, "10"), (per_address, "11")]), [per_address]);
}

#[test]
fn forget_after_is_days_or_a_duration() {
    let after = |text: &str| {
        read(&[("TAUTAN_FORGET_AFTER", text)]).map(|config| match config.store {
            Store::Embedded { forget_after, .. } => forget_after,
            other @ Store::Redis(_) => panic!("{other:?}"),
        })
    };
    let days = |count: u64| Duration::from_secs(count * 24 * 3_600);
    assert_eq!(after("").unwrap(), days(90));
    for (text, expected) in [("1d", 1), ("24h", 1), ("400d", 400), ("3650d", 3_650)] {
        assert_eq!(after(text).unwrap(), days(expected), "{text}");
    }
    for bad in ["0d", "23h", "3651d", "-1d", "1.5d", "90", "d", "99999999999d", "never"] {
        assert_eq!(after(bad).unwrap_err()[0].variable, "TAUTAN_FORGET_AFTER", "{bad}");
    }
}

#[test]
fn local_mode_does_not_listen_to_the_network() {
    assert_eq!(blamed(&[("TAUTAN_LISTEN", "0.0.0.0:8080")]), ["TAUTAN_LISTEN"]);
    assert!(read(&[("TAUTAN_LISTEN", "0.0.0.0:8080"), ("JWT_SECRET", SECRET)]).is_ok());
}

/// For Services called `tautan`, `tautan-redis` and `tautan-web-2`, with named and unnamed ports.
#[test]
fn start_is_not_refused_for_variables_of_kubernetes() {
    let injected =
        [("TAUTAN_PORT", "tcp://10.0.0.1:80"), ("TAUTAN_PORT_80_TCP", "x"), ("TAUTAN_SERVICE_HOST", "10.0.0.1")];
    assert!(read(&injected).is_ok());
    assert!(read(&[("TAUTAN_REDIS_PORT", "tcp://10.0.0.1:6379"), ("TAUTAN_REDIS_SERVICE_HOST", "10.0.0.1")]).is_ok());
    assert_eq!(blamed(&[("TAUTAN_REDIS_PORTS", "x")]), ["TAUTAN_REDIS_PORTS"]);
}

#[test]
fn flag_wins_over_the_environment() {
    let flags = vec![("TAUTAN_LISTEN".to_owned(), "127.0.0.1:9".to_owned())];
    let environment = vec![("TAUTAN_LISTEN".into(), "127.0.0.1:8".into())];
    assert_eq!(Config::read(flags, environment).unwrap().listen.port(), 9);
}

#[test]
fn secret_is_read_from_a_file_or_a_variable_but_not_both() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!("{SECRET}\n")).unwrap();
    let path = file.path().to_str().unwrap();
    let config = read(&[("JWT_SECRET_FILE", path)]).unwrap();
    assert!(matches!(config.mode, Mode::Tokens(settings) if settings.keys.len() == 1));
    assert_eq!(blamed(&[("JWT_SECRET_FILE", path), ("JWT_SECRET", SECRET)]), ["JWT_SECRET_FILE"]);
}

/// An operator may put the secret itself into the variable of its file. Then it must not stand in the log.
#[test]
fn path_of_a_secrets_file_is_not_repeated() {
    let empty = tempfile::NamedTempFile::new().unwrap();
    for path in ["hunter2", empty.path().to_str().unwrap()] {
        let mistakes = read(&[("JWT_SECRET_FILE", path)]).unwrap_err();
        assert!(!mistakes[0].what.contains(path), "{mistakes:?}");
    }
}

/// Without this, an empty file would start the program in local mode, or with a store of its own.
#[test]
fn empty_or_missing_secret_file_is_the_only_mistake_reported() {
    let empty = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(empty.path(), " \n").unwrap();
    let redis = ("REDIS_URL", "redis://127.0.0.1/");
    let key = ("TAUTAN_ENCRYPTION_KEY", "q83vEjRWeJq83vEjRWeJq83vEjRWeJq83vEjRWeJq80=");
    for path in [empty.path().to_str().unwrap(), "/nowhere"] {
        let everywhere =
            [("JWT_SECRET_FILE", path), ("TAUTAN_LISTEN", "0.0.0.0:8080"), ("JWT_ISSUER", "us"), redis, key];
        assert_eq!(blamed(&everywhere), ["JWT_SECRET_FILE"]);
        assert_eq!(blamed(&[("REDIS_URL_FILE", path), ("JWT_SECRET", SECRET), key]), ["REDIS_URL_FILE"]);
        let keyless = [("TAUTAN_ENCRYPTION_KEY_FILE", path), ("JWT_SECRET", SECRET), redis];
        assert_eq!(blamed(&keyless), ["TAUTAN_ENCRYPTION_KEY_FILE"]);
    }
}

#[test]
fn setting_that_is_not_utf8_is_reported() {
    use std::os::unix::ffi::OsStringExt as _;
    let bytes = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
    let environment = vec![
        ("JWT_SECRET".into(), bytes(&[0xff; 40])),
        (bytes(b"TAUTAN_\xff"), "1".into()),
        ("LESSCHARSET".into(), bytes(&[0xff])),
    ];
    let mistakes = Config::read(Vec::new(), environment).unwrap_err().mistakes;
    let blamed: Vec<_> = mistakes.iter().map(|mistake| mistake.variable.as_str()).collect();
    assert_eq!(blamed, ["JWT_SECRET", "TAUTAN_\u{fffd}"]);
}

#[test]
fn previous_secret_is_accepted_beside_every_kind_of_key() {
    let pem = include_str!("../../tests/api/keys/p256.pub.pem");
    for key in [("JWT_SECRET", SECRET), ("JWT_PUBLIC_KEY", pem), ("JWT_JWKS", "https://login.example/jwks.json")] {
        let config = read(&[key, ("JWT_SECRET_PREVIOUS", SECRET)]).unwrap();
        assert!(matches!(config.mode, Mode::Tokens(settings) if settings.keys.len() == 2), "{}", key.0);
        assert_eq!(blamed(&[key, ("JWT_SECRET_PREVIOUS", "hunter2")]), ["JWT_SECRET_PREVIOUS"]);
    }
    assert_eq!(blamed(&[("JWT_SECRET_PREVIOUS", SECRET)]), ["JWT_SECRET_PREVIOUS"]);
}

#[test]
fn unusable_key_is_the_only_mistake_reported() {
    let private = include_str!("../../tests/api/keys/p256.pem");
    for (name, wrong) in [
        ("JWT_SECRET", "hunter2"),
        ("JWT_PUBLIC_KEY", "hunter2"),
        ("JWT_PUBLIC_KEY", private),
        ("JWT_JWKS", "/nowhere/jwks.json"),
        ("JWT_JWKS", "Cargo.toml"),
        ("JWT_JWKS", "https://"),
    ] {
        let mistakes = read(&[(name, wrong), ("TAUTAN_LISTEN", "0.0.0.0:8080"), ("JWT_ISSUER", "us")]).unwrap_err();
        assert_eq!(mistakes.iter().map(|mistake| mistake.variable.as_str()).collect::<Vec<_>>(), [name]);
        assert!(!mistakes[0].what.contains("hunter2") && !mistakes[0].what.contains("MIG"), "{mistakes:?}");
    }
}

#[test]
fn redis_needs_the_keys_that_its_instances_share() {
    let url = ("REDIS_URL", "redis://user:hunter2@127.0.0.1:6379/1");
    let key = ("TAUTAN_ENCRYPTION_KEY", "q83vEjRWeJq83vEjRWeJq83vEjRWeJq83vEjRWeJq80=");
    let config = read(&[url, key, ("JWT_SECRET", SECRET), ("TAUTAN_MAX_SESSIONS", "5")]).unwrap();
    assert!(matches!(&config.store, Store::Redis(settings) if settings.sessions_max == Some(5)));
    assert!(!format!("{config:?}").contains("hunter2"));
    assert_eq!(blamed(&[url, ("JWT_SECRET", SECRET)]), ["TAUTAN_ENCRYPTION_KEY"]);
    assert_eq!(blamed(&[url, key]), ["REDIS_URL"], "local mode is one process");
    for url in ["127.0.0.1:6379", "redis+cluster://127.0.0.1:6379", "redis+sentinel://127.0.0.1"] {
        assert_eq!(blamed(&[("REDIS_URL", url), key, ("JWT_SECRET", SECRET)]), ["REDIS_URL"]);
    }
    let previous = ("TAUTAN_ENCRYPTION_KEY_PREVIOUS", "CAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAg=");
    let config = read(&[url, key, previous, ("JWT_SECRET", SECRET)]).unwrap();
    assert!(matches!(&config.store, Store::Redis(settings) if settings.previous.is_some()));
}

#[test]
fn webhook_needs_url_and_secret() {
    let url = ("TAUTAN_WEBHOOK_URL", "https://app.example.com/hooks/hunter2");
    let secret = ("TAUTAN_WEBHOOK_SECRET", "whsec_aHVudGVyMiBvZiB0aGUgYmFjayBlbmQsIGxvbmcgZW5vdWdo");
    let config = read(&[url, secret]).unwrap();
    assert!(config.webhook.is_some() && read(&[]).unwrap().webhook.is_none());
    let shown = format!("{config:?}");
    assert!(!shown.contains("hunter2") && !shown.contains("aHVudGVy"), "{shown}");
    for wrong in [&[url][..], &[secret], &[url, ("TAUTAN_WEBHOOK_SECRET", "hunter2")]] {
        assert_eq!(blamed(wrong), ["TAUTAN_WEBHOOK_SECRET"]);
    }
    assert_eq!(blamed(&[("TAUTAN_WEBHOOK_URL", "http://app.example.com/"), secret]), ["TAUTAN_WEBHOOK_URL"]);
}

#[test]
fn no_mistake_repeats_a_secret() {
    let error = read(&[("JWT_SECRET", "hunter2"), ("TAUTAN_ENCRYPTION_KEY", "hunter3")]).unwrap_err();
    assert_eq!(error.len(), 2);
    assert!(error.iter().all(|mistake| !mistake.what.contains("hunter")), "{error:?}");
}
