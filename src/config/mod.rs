//! Reads flags and environment variables into checked settings.
//!
//! What it guarantees: every mistake is reported, all at once, each with its variable and without secrets. Unknown
//! names with our prefix are refused. It is the only module that knows the variables' names. What it must not do: open,
//! listen or connect. Start with `variables`, the list, then [`Config::read`].

mod flags;
mod kubernetes;
mod origin;
mod read;
#[cfg(test)]
mod tests;
mod variables;

use std::{ffi::OsString, fmt, net::SocketAddr, path::PathBuf, time::Duration};

pub use flags::{Task, flags};
pub use variables::Variable;

use crate::{
    auth, http,
    link_options::DeviceName,
    proxy::{self, Proxies},
    session,
    store::{self, crypt::MasterKey, redis},
    telemetry, webhook,
};
use read::Reader;

/// With any of them the SaaS product's own tokens are checked, and there is no local mode.
const KEYS: [&str; 3] = ["JWT_SECRET", "JWT_PUBLIC_KEY", "JWT_JWKS"];
/// Settings that apply only to tokens of the SaaS product.
const TOKEN_SETTINGS: [&str; 8] = [
    "JWT_ISSUER",
    "JWT_AUDIENCE",
    "JWT_SECRET_PREVIOUS",
    "TAUTAN_TENANT_CLAIM",
    "TAUTAN_TENANT_NAME_CLAIM",
    "TAUTAN_DEVICE_NAME_CLAIM",
    "TAUTAN_WHATSAPP_PROXY_CLAIM",
    "TAUTAN_ADMIN_LISTEN",
];
/// Beginnings of cookie names that browsers keep only when they come over https.
const SECURE_COOKIES: [&str; 2] = ["__host-", "__secure-"];

/// All settings, checked.
#[derive(Debug)]
pub struct Config {
    /// Address and port of the HTTP listener.
    pub listen: SocketAddr,
    /// Address and port of the listener for metrics; `None`: there is none, and nothing is measured.
    pub metrics_listen: Option<SocketAddr>,
    /// Where back ends reach their listener; `None`: there is none.
    pub admin_listen: Option<SocketAddr>,
    /// Where the embedded store and local mode keep their files.
    pub data_dir: PathBuf,
    /// Local mode, or the SaaS product's tokens.
    pub mode: Mode,
    /// The store.
    pub store: Store,
    /// How WhatsApp is reached.
    pub whatsapp: WhatsApp,
    /// Time between "unready" and the end of the streams.
    pub drain_delay: Duration,
    /// Settings of the module `http`.
    pub http: http::Settings,
    /// Limits on connections and streams.
    pub caps: http::ConfiguredCaps,
    /// Settings of the module `session`.
    pub session: session::Settings,
    /// Settings of the log.
    pub telemetry: telemetry::Settings,
    /// `None`: no webhooks are sent.
    pub webhook: Option<webhook::Settings>,
}

/// How WhatsApp is reached.
#[derive(Debug)]
pub struct WhatsApp {
    /// Its address.
    pub url: String,
    /// The client version to send; `None`: it is looked up.
    pub version: Option<(u32, u32, u32)>,
    /// How the phone's list of linked devices names links whose token has no name for them.
    pub device_name: DeviceName,
    /// The proxies that lead to it.
    pub proxies: Proxies,
}

/// How tenants are authenticated.
#[derive(Debug)]
pub enum Mode {
    /// For the user of this machine: one tenant, one sign-in link, loopback only.
    Local,
    /// By tokens of the SaaS product.
    Tokens(auth::Settings),
}

/// Where the state is kept.
#[derive(Debug)]
pub enum Store {
    /// In the data directory, for one process. Without a key one is made there.
    Embedded {
        /// The encryption key; `None`: one is made in the data directory.
        key: Option<MasterKey>,
        /// The key that is being replaced.
        previous: Option<MasterKey>,
        /// How often tenants may send requests.
        limits: store::Limits,
        /// A tenant that is idle for this long is forgotten.
        forget_after: Duration,
    },
    /// Shared by any number of instances.
    Redis(redis::Settings),
}

/// Every mistake of the configuration, each naming its variable.
#[derive(Debug, thiserror::Error)]
pub struct ConfigError {
    /// All of them, sorted by variable.
    pub mistakes: Vec<Mistake>,
}

/// One mistake.
#[derive(Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The variable's name.
    pub variable: String,
    /// What is wrong, without secrets.
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
    /// `flags`: the values of the command line, by the variables' names; they win over `environment`.
    pub fn read(flags: Vec<(String, String)>, environment: Vec<(OsString, OsString)>) -> Result<Self, ConfigError> {
        let mut reader = Reader::new(flags, environment);
        let config = Self::with(&mut reader);
        reader.done().map(|()| config)
    }

    fn with(reader: &mut Reader) -> Self {
        let listen: SocketAddr = reader.parsed("TAUTAN_LISTEN", read::address);
        let metrics_listen = reader.optional("TAUTAN_METRICS_LISTEN", read::address);
        if metrics_listen == Some(listen) && listen.port() != 0 {
            reader.mistake("TAUTAN_METRICS_LISTEN", "is the address of TAUTAN_LISTEN; metrics have one of their own");
        }
        let admin_listen = reader.optional("TAUTAN_ADMIN_LISTEN", read::address);
        for (name, other) in [("TAUTAN_LISTEN", Some(listen)), ("TAUTAN_METRICS_LISTEN", metrics_listen)] {
            if admin_listen.is_some_and(|address| Some(address) == other && address.port() != 0) {
                reader.mistake("TAUTAN_ADMIN_LISTEN", &format!("is the address of {name}; give it one of its own"));
            }
        }
        let auth = auth_settings(reader);
        if !KEYS.iter().any(|name| reader.is_named(name)) {
            // For example because the variable that should fill it was missing: local mode was not meant.
            for name in KEYS {
                reader.must_not_be_empty(
                    name,
                    "is empty, and no other key is set: give it a value, or remove it for local mode",
                );
            }
        }
        let cookie = reader.text("TAUTAN_COOKIE").unwrap_or_default().to_ascii_lowercase();
        let needs_https = SECURE_COOKIES.iter().any(|prefix| cookie.starts_with(prefix));
        // An unusable key counts as one: its owner did not mean local mode.
        let mode = if !KEYS.iter().any(|name| reader.is_named(name)) {
            for variable in TOKEN_SETTINGS {
                if reader.text(variable).is_some() {
                    reader.mistake(
                        variable,
                        "is set, but no key to check tokens with: set JWT_SECRET, JWT_PUBLIC_KEY or JWT_JWKS",
                    );
                }
            }
            reader.refuse_unknown_keys("there is no such setting, and without a key the program runs in local mode");
            if needs_https {
                reader.mistake(
                    "TAUTAN_COOKIE",
                    "begins with a prefix of cookies that come over https alone: browsers drop it in local mode, choose another",
                );
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
            let public_url = reader.text("TAUTAN_PUBLIC_URL").and_then(|url| origin::origin(&url).ok());
            if needs_https && public_url.is_some_and(|url| origin::is_exposed(&url)) {
                reader.mistake(
                    "TAUTAN_COOKIE",
                    "begins with a prefix of cookies that come over https alone, and TAUTAN_PUBLIC_URL begins with http://",
                );
            }
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
            metrics_listen,
            admin_listen,
            data_dir: reader.parsed("TAUTAN_DATA_DIR", |text| Ok(PathBuf::from(text))),
            mode,
            store: store(reader, session.sessions_max),
            whatsapp: whatsapp(reader),
            drain_delay: reader.parsed("TAUTAN_DRAIN_DELAY", read::duration),
            http: http_settings(reader),
            caps: caps(reader),
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
    let limits = store::Limits {
        pair_codes: reader.parsed("TAUTAN_LIMIT_PAIR_CODES", read::limit),
        dials: reader.parsed("TAUTAN_LIMIT_DIALS", read::limit),
        number_codes: reader.parsed("TAUTAN_LIMIT_NUMBER_CODES", read::limit),
    };
    let forget_after = reader.parsed("TAUTAN_FORGET_AFTER", read::forget_after);
    let key = reader.optional("TAUTAN_ENCRYPTION_KEY", read::master_key);
    let previous = reader.optional("TAUTAN_ENCRYPTION_KEY_PREVIOUS", read::previous_master_key);
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
    // Last, so that the missing key is not reported as well.
    reader
        .must_not_be_empty("REDIS_URL", "is empty: give it a value, or remove it to keep the state in TAUTAN_DATA_DIR");
    match (url, key) {
        (Some(url), Some(key)) => {
            let (migrations, migrates, moving) = (redis::MIGRATIONS, true, None);
            Store::Redis(redis::Settings {
                url,
                key,
                previous,
                sessions_max,
                limits,
                forget_after,
                migrations,
                migrates,
                moving,
            })
        }
        (_, key) => Store::Embedded { key, previous, limits, forget_after },
    }
}

fn whatsapp(reader: &mut Reader) -> WhatsApp {
    WhatsApp {
        url: reader.parsed("TAUTAN_WHATSAPP_URL", read::websocket_url),
        version: reader.optional("TAUTAN_WHATSAPP_VERSION", read::version),
        device_name: reader.parsed("TAUTAN_DEVICE_NAME", read::device_name),
        proxies: proxies(reader),
    }
}

fn proxies(reader: &mut Reader) -> Proxies {
    const COMMON: &str = "TAUTAN_WHATSAPP_PROXY";
    const LIST: &str = "TAUTAN_WHATSAPP_PROXIES";
    const CLAIM: &str = "TAUTAN_WHATSAPP_PROXY_CLAIM";
    let common = reader.optional(COMMON, read::proxy);
    let named = reader.optional(LIST, proxy::read_list).unwrap_or_default();
    match (reader.text(CLAIM).is_some(), reader.is_named(LIST)) {
        (true, false) => {
            reader.mistake(CLAIM, "is set without TAUTAN_WHATSAPP_PROXIES_FILE, the proxies that it names")
        }
        (false, true) => {
            reader.mistake(LIST, "is set without TAUTAN_WHATSAPP_PROXY_CLAIM, the claim that names one of them");
        }
        (true, true) | (false, false) => {}
    }
    // An empty one is most likely a secret that was not filled in, and the links would go past the proxy.
    reader.must_not_be_empty(COMMON, "is empty: give it a value, or remove it to connect without a proxy");
    reader.must_not_be_empty(LIST, "is empty: give it a value, or remove it");
    Proxies { common, named }
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
        issuer: reader.optional("JWT_ISSUER", read::claim_value),
        audience: reader.optional("JWT_AUDIENCE", read::claim_value),
        tenant_claim: reader.parsed("TAUTAN_TENANT_CLAIM", read::claim),
        tenant_name_claim: reader.optional("TAUTAN_TENANT_NAME_CLAIM", read::claim),
        device_name_claim: reader.optional("TAUTAN_DEVICE_NAME_CLAIM", read::claim),
        proxy_claim: reader.optional("TAUTAN_WHATSAPP_PROXY_CLAIM", read::claim),
    }
}

fn http_settings(reader: &mut Reader) -> http::Settings {
    http::Settings {
        cookie: reader.parsed("TAUTAN_COOKIE", read::cookie_name),
        public_url: reader.optional("TAUTAN_PUBLIC_URL", origin::origin),
        login_url: reader.optional("TAUTAN_LOGIN_URL", read::web_url),
        allowed_origins: reader.optional("TAUTAN_ALLOWED_ORIGINS", origin::origins).unwrap_or_default(),
        heartbeat: reader.parsed("TAUTAN_HEARTBEAT", read::heartbeat),
        streams_per_tenant_max: reader.parsed("TAUTAN_MAX_STREAMS_PER_TENANT", read::positive) as usize,
        limits: http::Limits {
            command_burst: reader.parsed("TAUTAN_LIMIT_COMMAND_BURST", read::positive),
            commands_per_second: reader.parsed("TAUTAN_LIMIT_COMMANDS", read::rate),
            read_burst: reader.parsed("TAUTAN_LIMIT_READ_BURST", read::positive),
            reads_per_second: reader.parsed("TAUTAN_LIMIT_READS", read::rate),
            stream_openings: reader.parsed("TAUTAN_LIMIT_STREAM_OPENINGS", read::limit),
        },
        trusted_proxies: reader.optional("TAUTAN_TRUSTED_PROXIES", read::networks).unwrap_or_default(),
        ..http::Settings::default()
    }
}

fn caps(reader: &mut Reader) -> http::ConfiguredCaps {
    const CONNECTIONS: &str = "TAUTAN_MAX_CONNECTIONS";
    const WITHOUT_TOKEN: &str = "TAUTAN_MAX_CONNECTIONS_WITHOUT_TOKEN";
    const PER_ADDRESS: &str = "TAUTAN_MAX_CONNECTIONS_PER_ADDRESS";
    const PER_TENANT: &str = "TAUTAN_MAX_CONNECTIONS_PER_TENANT";
    let mut max = |name| reader.optional(name, read::positive).map(|max| max as usize);
    let (connections, without_token, per_address) = (max(CONNECTIONS), max(WITHOUT_TOKEN), max(PER_ADDRESS));
    let (per_tenant, streams) = (max(PER_TENANT), max("TAUTAN_MAX_STREAMS"));
    for (part, of, name, of_name) in [
        (without_token, connections, WITHOUT_TOKEN, CONNECTIONS),
        (per_address, without_token, PER_ADDRESS, WITHOUT_TOKEN),
        (per_tenant, connections, PER_TENANT, CONNECTIONS),
        (streams, connections, "TAUTAN_MAX_STREAMS", CONNECTIONS),
    ] {
        if part.zip(of).is_some_and(|(part, of)| part > of) {
            reader.mistake(name, &format!("is more than {of_name}, and each of them is one of those"));
        }
    }
    http::ConfiguredCaps { connections, without_token, per_address, per_tenant, streams }
}
