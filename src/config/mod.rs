//! Flags and environment, the one place that knows their names. Every mistake is reported, all at once.

mod flags;
mod read;
mod variables;

use std::{ffi::OsString, fmt, net::SocketAddr, path::PathBuf, time::Duration};

pub use flags::flags;
pub use variables::Variable;

use crate::{
    auth, http, session,
    store::{crypt::MasterKey, redis},
    telemetry, webhook,
};
use read::Reader;

/// Any of them: the SaaS product's own tokens count, and there is no local mode.
const KEYS: [&str; 3] = ["JWT_SECRET", "JWT_PUBLIC_KEY", "JWT_JWKS"];

/// Everything the program was told, checked.
#[derive(Debug)]
pub struct Config {
    pub listen: SocketAddr,
    pub data_dir: PathBuf,
    pub mode: Mode,
    pub store: Store,
    pub whatsapp_url: String,
    pub whatsapp_version: Option<(u32, u32, u32)>,
    /// Time between "unready" and the end of the streams.
    pub drain_delay: Duration,
    pub http: http::Settings,
    pub session: session::Settings,
    pub telemetry: telemetry::Settings,
    /// `None`: no back end is told of anything.
    pub webhook: Option<webhook::Settings>,
}

/// Who vouches for a tenant.
#[derive(Debug)]
pub enum Mode {
    /// Nobody but the person at this machine: one tenant, one sign-in link, loopback only.
    Local,
    Tokens(auth::Settings),
}

/// Where the state is kept.
#[derive(Debug)]
pub enum Store {
    /// In the data directory, for one process. Without a key one is made there.
    Embedded { key: Option<MasterKey>, previous: Option<MasterKey> },
    /// Shared by any number of instances.
    Redis(redis::Settings),
}

/// Every mistake of the configuration, each naming its variable.
#[derive(Debug, thiserror::Error)]
pub struct ConfigError {
    pub mistakes: Vec<Mistake>,
}

#[derive(Debug, PartialEq, Eq)]
pub struct Mistake {
    pub variable: String,
    pub what: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Mistake { variable, what } in &self.mistakes {
            writeln!(f, "{variable}: {what}")?;
        }
        Ok(())
    }
}

impl Config {
    /// `flags`: what the command line said, by the variables' names; they win over `environment`.
    pub fn read(flags: Vec<(String, String)>, environment: Vec<(OsString, OsString)>) -> Result<Self, ConfigError> {
        let mut reader = Reader::new(flags, environment);
        let config = Self::with(&mut reader);
        reader.done().map(|()| config)
    }

    fn with(reader: &mut Reader) -> Self {
        let listen: SocketAddr = reader.parsed("TAUTAN_LISTEN", read::address);
        let auth = auth_settings(reader);
        // A key that is no good is one all the same: its owner did not mean local mode.
        let mode = if !KEYS.iter().any(|name| reader.is_named(name)) {
            for variable in ["JWT_ISSUER", "JWT_AUDIENCE", "JWT_SECRET_PREVIOUS"] {
                if reader.text(variable).is_some() {
                    reader.mistake(
                        variable,
                        "is set, but no key to check tokens with: set JWT_SECRET, JWT_PUBLIC_KEY or JWT_JWKS",
                    );
                }
            }
            if !listen.ip().is_loopback() {
                reader.mistake(
                    "TAUTAN_LISTEN",
                    "without JWT_SECRET, JWT_PUBLIC_KEY or JWT_JWKS the program runs in local mode, which listens on a \
                     loopback address only (such as 127.0.0.1:8080)",
                );
            }
            Mode::Local
        } else {
            Mode::Tokens(auth)
        };
        let session = session::Settings {
            qr_windows: reader.parsed("TAUTAN_QR_WINDOWS", read::positive),
            sessions_max: reader.optional("TAUTAN_MAX_SESSIONS", read::positive).map(|max| max as usize),
            resume_rate: reader.parsed("TAUTAN_RESUME_RATE", read::rate),
            ..session::Settings::default()
        };
        if reader.is_named("REDIS_URL") && matches!(mode, Mode::Local) {
            reader.mistake(
                "REDIS_URL",
                "is for instances that check the same tokens: set JWT_SECRET, JWT_PUBLIC_KEY or JWT_JWKS with it",
            );
        }
        Self {
            listen,
            data_dir: reader.parsed("TAUTAN_DATA_DIR", |text| Ok(PathBuf::from(text))),
            mode,
            store: store(reader, session.sessions_max),
            whatsapp_url: reader.parsed("TAUTAN_WHATSAPP_URL", read::websocket_url),
            whatsapp_version: reader.optional("TAUTAN_WHATSAPP_VERSION", read::version),
            drain_delay: reader.parsed("TAUTAN_DRAIN_DELAY", read::duration),
            http: http_settings(reader),
            session,
            telemetry: telemetry::Settings {
                filter: reader.parsed("RUST_LOG", read::log_filter),
                format: reader.optional("TAUTAN_LOG", read::log_format),
            },
            webhook: webhook_settings(reader),
        }
    }
}

fn store(reader: &mut Reader, sessions_max: Option<usize>) -> Store {
    let key = reader.optional("TAUTAN_ENCRYPTION_KEY", read::master_key);
    let previous = reader.optional("TAUTAN_ENCRYPTION_KEY_PREVIOUS", read::master_key);
    if !reader.is_named("TAUTAN_ENCRYPTION_KEY") && previous.is_some() {
        reader.mistake("TAUTAN_ENCRYPTION_KEY_PREVIOUS", "is set without TAUTAN_ENCRYPTION_KEY, the key to change to");
    }
    let url = reader.optional("REDIS_URL", read::redis_url);
    if reader.is_named("REDIS_URL") && !reader.is_named("TAUTAN_ENCRYPTION_KEY") {
        reader.mistake(
            "TAUTAN_ENCRYPTION_KEY",
            "is required with REDIS_URL: 32 random bytes in base64, the same for every instance (openssl rand -base64 32)",
        );
    }
    match (url, key) {
        (Some(url), Some(key)) => Store::Redis(redis::Settings { url, key, previous, sessions_max }),
        (_, key) => Store::Embedded { key, previous },
    }
}

fn webhook_settings(reader: &mut Reader) -> Option<webhook::Settings> {
    const URL: &str = "TAUTAN_WEBHOOK_URL";
    const SECRET: &str = "TAUTAN_WEBHOOK_SECRET";
    let endpoint = reader.optional(URL, read::webhook_url);
    let key = reader.optional(SECRET, read::webhook_secret);
    match (reader.is_named(URL), reader.is_named(SECRET)) {
        (true, false) => reader.mistake(
            SECRET,
            "is required with TAUTAN_WEBHOOK_URL, so that your back end knows who writes: `echo \"whsec_$(openssl rand \
             -base64 32)\"` prints one",
        ),
        (false, true) => reader.mistake(SECRET, "is set without TAUTAN_WEBHOOK_URL, the address of your back end"),
        (true, true) | (false, false) => {}
    }
    Some(webhook::Settings { endpoint: endpoint?, key: key? })
}

fn auth_settings(reader: &mut Reader) -> auth::Settings {
    let secret = reader.optional("JWT_SECRET", read::secret);
    let public_key = reader.optional("JWT_PUBLIC_KEY", read::public_key);
    let jwks = reader.optional("JWT_JWKS", read::jwks);
    // Beside any of them: what replaces a secret may be a key pair.
    let previous = reader.optional("JWT_SECRET_PREVIOUS", read::secret);
    auth::Settings {
        keys: [secret, public_key, jwks, previous].into_iter().flatten().collect(),
        issuer: reader.text("JWT_ISSUER"),
        audience: reader.text("JWT_AUDIENCE"),
        tenant_claim: reader.parsed("TAUTAN_TENANT_CLAIM", read::claim),
        tenant_name_claim: reader.optional("TAUTAN_TENANT_NAME_CLAIM", read::claim),
    }
}

fn http_settings(reader: &mut Reader) -> http::Settings {
    http::Settings {
        cookie: reader.parsed("TAUTAN_COOKIE", read::cookie_name),
        public_url: reader.optional("TAUTAN_PUBLIC_URL", read::origin),
        login_url: reader.optional("TAUTAN_LOGIN_URL", read::web_url),
        allowed_origins: reader.optional("TAUTAN_ALLOWED_ORIGINS", read::origins).unwrap_or_default(),
        heartbeat: reader.parsed("TAUTAN_HEARTBEAT", read::heartbeat),
        streams_per_tenant_max: reader.parsed("TAUTAN_MAX_STREAMS_PER_TENANT", read::positive) as usize,
        ..http::Settings::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(environment: &[(&str, &str)]) -> Result<Config, Vec<Mistake>> {
        let environment = environment.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        Config::read(Vec::new(), environment).map_err(|error| error.mistakes)
    }

    fn blamed(environment: &[(&str, &str)]) -> Vec<String> {
        read(environment).expect_err("a mistake").into_iter().map(|mistake| mistake.variable).collect()
    }

    const SECRET: &str = "c29tZXRoaW5nIHRoYXQgbm9ib2R5IGd1ZXNzZXM";

    #[test]
    fn nothing_configured_is_local_mode_with_the_contract_s_defaults() {
        let config = read(&[]).unwrap();
        assert!(matches!(config.mode, Mode::Local));
        assert_eq!(config.listen, "127.0.0.1:8080".parse().unwrap());
        assert_eq!(config.data_dir, PathBuf::from("./data"));
        assert_eq!(config.whatsapp_url, "wss://web.whatsapp.com/ws/chat");
        assert_eq!(config.http.cookie, "fibidy_auth");
        assert_eq!(config.http.heartbeat, Duration::from_secs(15));
        assert_eq!((config.session.qr_windows, config.session.resume_rate), (3, 20));
        assert_eq!((config.session.sessions_max, config.http.streams_per_tenant_max), (None, 20));
    }

    #[test]
    fn every_mistake_is_told_at_once() {
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
    fn local_mode_does_not_listen_to_the_network() {
        assert_eq!(blamed(&[("TAUTAN_LISTEN", "0.0.0.0:8080")]), ["TAUTAN_LISTEN"]);
        assert!(read(&[("TAUTAN_LISTEN", "0.0.0.0:8080"), ("JWT_SECRET", SECRET)]).is_ok());
    }

    #[test]
    fn what_kubernetes_injects_for_a_service_of_our_name_is_left_alone() {
        let injected =
            [("TAUTAN_PORT", "tcp://10.0.0.1:80"), ("TAUTAN_PORT_80_TCP", "x"), ("TAUTAN_SERVICE_HOST", "10.0.0.1")];
        assert!(read(&injected).is_ok());
    }

    #[test]
    fn a_flag_wins_over_the_environment() {
        let flags = vec![("TAUTAN_LISTEN".to_owned(), "127.0.0.1:9".to_owned())];
        let environment = vec![("TAUTAN_LISTEN".into(), "127.0.0.1:8".into())];
        assert_eq!(Config::read(flags, environment).unwrap().listen.port(), 9);
    }

    #[test]
    fn a_secret_comes_from_a_file_or_from_the_variable_but_not_from_both() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), format!("{SECRET}\n")).unwrap();
        let path = file.path().to_str().unwrap();
        let config = read(&[("JWT_SECRET_FILE", path)]).unwrap();
        assert!(matches!(config.mode, Mode::Tokens(settings) if settings.keys.len() == 1));
        assert_eq!(blamed(&[("JWT_SECRET_FILE", path), ("JWT_SECRET", SECRET)]), ["JWT_SECRET_FILE"]);
    }

    /// Whatever else is configured: without what it should have been the program would be another one, with no key or with
    /// a store of its own.
    #[test]
    fn a_file_without_a_secret_is_blamed_and_nothing_else_is() {
        let empty = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(empty.path(), " \n").unwrap();
        let redis = ("REDIS_URL", "redis://127.0.0.1/");
        let key = ("TAUTAN_ENCRYPTION_KEY", "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=");
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
    fn what_is_no_text_is_blamed_where_it_is_a_setting() {
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
    fn a_secret_that_is_being_replaced_counts_beside_a_key_of_any_kind() {
        let pem = include_str!("../../tests/api/keys/p256.pub.pem");
        for key in [("JWT_SECRET", SECRET), ("JWT_PUBLIC_KEY", pem), ("JWT_JWKS", "https://login.example/jwks.json")] {
            let config = read(&[key, ("JWT_SECRET_PREVIOUS", SECRET)]).unwrap();
            assert!(matches!(config.mode, Mode::Tokens(settings) if settings.keys.len() == 2), "{}", key.0);
            assert_eq!(blamed(&[key, ("JWT_SECRET_PREVIOUS", "hunter2")]), ["JWT_SECRET_PREVIOUS"]);
        }
        assert_eq!(blamed(&[("JWT_SECRET_PREVIOUS", SECRET)]), ["JWT_SECRET_PREVIOUS"]);
    }

    #[test]
    fn a_key_that_is_no_good_is_named_and_nothing_else_is_blamed_for_it() {
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
        let key = ("TAUTAN_ENCRYPTION_KEY", "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=");
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
    fn a_webhook_needs_an_address_and_a_secret() {
        let url = ("TAUTAN_WEBHOOK_URL", "https://app.example.com/hooks/hunter2");
        let secret = ("TAUTAN_WEBHOOK_SECRET", "whsec_aHVudGVyMmh1bnRlcjJodW50ZXIyaHVudGVyMg==");
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
}
