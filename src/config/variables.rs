use std::fmt::Write as _;

use super::flags::COMMANDS;

/// One setting: its name in the environment, from which the flag's name follows.
pub struct Variable {
    /// The name in the environment.
    pub name: &'static str,
    /// Its default as text; `None`: it is optional.
    pub default: Option<&'static str>,
    /// Secrets have no flag, since every process of the machine can read a command line; they may come from a file
    /// named by the variable with `_FILE` behind it.
    pub secret: bool,
    /// One line for `--help`.
    pub help: &'static str,
}

const fn plain(name: &'static str, default: &'static str, help: &'static str) -> Variable {
    Variable { name, default: Some(default), secret: false, help }
}

const fn unset(name: &'static str, help: &'static str) -> Variable {
    Variable { name, default: None, secret: false, help }
}

const fn secret(name: &'static str, help: &'static str) -> Variable {
    Variable { name, default: None, secret: true, help }
}

pub const VARIABLES: &[Variable] = &[
    plain("TAUTAN_LISTEN", "127.0.0.1:8080", "address and port of the HTTP listener"),
    unset("TAUTAN_METRICS_LISTEN", "address and port of a listener for metrics, without a token; none if not set"),
    unset(
        "TAUTAN_ADMIN_LISTEN",
        "address and port of a listener for your back end, for tokens with the scope whatsapp:admin; none if not set",
    ),
    plain("TAUTAN_DATA_DIR", "./data", "where the embedded store lives, without REDIS_URL; one process at a time"),
    secret(
        "REDIS_URL",
        "share the state with other instances: redis[s]:// or redis[s]+sentinel://host,host/SERVICE, with user:password@",
    ),
    secret(
        "JWT_SECRET",
        "HS256, HS384, HS512: the secret that the SaaS product signs its tokens with, 32 bytes or more",
    ),
    secret(
        "JWT_SECRET_PREVIOUS",
        "HS256, HS384, HS512: still accepted while what signed before is being replaced, by whatever key",
    ),
    secret("JWT_PUBLIC_KEY", "RS256, ES256, ES384 or EdDSA: a public key in PEM"),
    unset("JWT_JWKS", "a JSON Web Key Set, file or URL; keys are chosen by kid"),
    unset("JWT_ISSUER", "required iss of every token"),
    unset("JWT_AUDIENCE", "required aud of every token"),
    plain("TAUTAN_COOKIE", "fibidy_auth", "the cookie that carries the token"),
    plain("TAUTAN_TENANT_CLAIM", "id", "the claim that names the tenant; a JSON pointer if it begins with /"),
    unset("TAUTAN_TENANT_NAME_CLAIM", "a claim with a name to show on the page"),
    unset("TAUTAN_PUBLIC_URL", "this service's origin as browsers see it"),
    unset("TAUTAN_LOGIN_URL", "where \"sign in again\" leads"),
    unset("TAUTAN_ALLOWED_ORIGINS", "other origins whose pages may use the API, separated by commas"),
    secret(
        "TAUTAN_ENCRYPTION_KEY",
        "32 bytes in base64; what is kept is sealed with keys derived from it; required with REDIS_URL",
    ),
    secret("TAUTAN_ENCRYPTION_KEY_PREVIOUS", "the key before, while it is being replaced, or the one to come"),
    plain("TAUTAN_WHATSAPP_URL", "wss://web.whatsapp.com/ws/chat", "the WhatsApp endpoint"),
    unset("TAUTAN_WHATSAPP_VERSION", "client version to send, as 2.3000.N; looked up if not set"),
    secret(
        "TAUTAN_WHATSAPP_PROXY",
        "the proxy for all connections to WhatsApp: http:// or socks5h://, with user:password@",
    ),
    secret("TAUTAN_WHATSAPP_PROXIES", "proxies that tokens may name, a line NAME = URL for each"),
    unset("TAUTAN_WHATSAPP_PROXY_CLAIM", "the claim that names one of them"),
    plain("TAUTAN_DEVICE_NAME", "Tautan", "the name in the phone's list of linked devices; 40 characters at most"),
    unset("TAUTAN_DEVICE_NAME_CLAIM", "a claim with that name, for the links of its tenant"),
    unset("TAUTAN_WEBHOOK_URL", "status changes are sent there by signed requests; https://"),
    secret("TAUTAN_WEBHOOK_SECRET", "what they are signed with: whsec_ and 24 to 64 bytes in base64"),
    plain("TAUTAN_HEARTBEAT", "15s", "no stream is silent for longer"),
    plain("TAUTAN_MAX_STREAMS_PER_TENANT", "20", "open streams of one tenant on this instance"),
    unset("TAUTAN_MAX_STREAMS", "open streams of this instance; follows from descriptors and memory if not set"),
    unset("TAUTAN_MAX_CONNECTIONS", "open connections of this instance; follows likewise"),
    unset("TAUTAN_MAX_CONNECTIONS_WITHOUT_TOKEN", "of these, those that have shown no valid token yet; likewise"),
    unset("TAUTAN_MAX_CONNECTIONS_PER_ADDRESS", "of these, those of one address that is no proxy; likewise"),
    unset("TAUTAN_MAX_CONNECTIONS_PER_TENANT", "of these, those of one tenant that came without a proxy; likewise"),
    unset("TAUTAN_TRUSTED_PROXIES", "addresses and networks of proxies, separated by commas; loopback is one always"),
    plain("TAUTAN_LIMIT_COMMANDS", "5/s", "commands of one tenant on this instance, once the burst is used up"),
    plain("TAUTAN_LIMIT_COMMAND_BURST", "20", "commands of one tenant at once on this instance"),
    plain("TAUTAN_LIMIT_READS", "20/s", "reads of one tenant on this instance, once the burst is used up"),
    plain("TAUTAN_LIMIT_READ_BURST", "100", "reads of the status and the code by one tenant at once on this instance"),
    plain("TAUTAN_LIMIT_STREAM_OPENINGS", "60/1m", "streams that one tenant may open on this instance"),
    plain("TAUTAN_LIMIT_PAIR_CODES", "5/10m", "pairing codes that one tenant may ask for, all instances together"),
    plain(
        "TAUTAN_LIMIT_DIALS",
        "10/10m",
        "connections to WhatsApp that one tenant may ask for, all instances together",
    ),
    plain("TAUTAN_LIMIT_NUMBER_CODES", "3/10m", "pairing codes for one phone number, over all tenants and instances"),
    plain("TAUTAN_FORGET_AFTER", "90d", "a tenant with no credentials and no request is forgotten after this time"),
    plain("TAUTAN_QR_WINDOWS", "3", "windows of six QR codes opened in all while a stream is open"),
    unset("TAUTAN_MAX_SESSIONS", "sessions this instance will own"),
    plain("TAUTAN_RESUME_RATE", "20/s", "links opened per second after a start"),
    plain("TAUTAN_DRAIN_DELAY", "0s", "time between turning unready and closing, for the balancer to notice"),
    plain("RUST_LOG", "info", "log filter, such as tautan=debug"),
    unset("TAUTAN_LOG", "text or json; text on a terminal, json elsewhere"),
];

impl Variable {
    /// The setting of this name.
    pub fn find(name: &str) -> Option<&'static Self> {
        VARIABLES.iter().find(|variable| variable.name == name)
    }

    /// `TAUTAN_DATA_DIR` → `data-dir`, `JWT_ISSUER` → `jwt-issuer`.
    pub fn flag(&self) -> String {
        self.name.strip_prefix("TAUTAN_").unwrap_or(self.name).to_lowercase().replace('_', "-")
    }
}

/// The list as `--help` prints it.
pub fn help() -> String {
    let mut out = String::from("Commands:\n");
    for (name, about) in COMMANDS {
        writeln!(out, "  {name:<38}{about}").expect("writing into a string cannot fail");
    }
    out.push_str(
        "\nEvery setting is an environment variable; all but secrets are flags too (--listen for TAUTAN_LISTEN).\n\
         Secrets may come from a file: JWT_SECRET_FILE=/run/secrets/jwt.\n\nSettings:\n",
    );
    for Variable { name, default, secret, help } in VARIABLES {
        let note = match (default, secret) {
            (Some(default), _) => format!(" [default: {default}]"),
            (None, true) => " [secret]".into(),
            (None, false) => String::new(),
        };
        writeln!(out, "  {name:<38}{help}{note}").expect("writing into a string cannot fail");
    }
    out
}
