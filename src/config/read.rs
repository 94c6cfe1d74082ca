use std::{collections::HashMap, error::Error as _, ffi::OsString, net::SocketAddr, time::Duration};

use warp::http::Uri;

use super::{
    ConfigError, Mistake,
    kubernetes::is_injected,
    variables::{VARIABLES, Variable},
};
use crate::{
    auth::{KeySource, Secret},
    http::Network,
    limit::Limit,
    link_options::DeviceName,
    proxy::{ProxyUrl, names_a_place},
    store::{crypt::MasterKey, redis},
    telemetry::{self, Format},
    webhook,
};

/// Bounds of a limit: each use is remembered until it no longer counts.
const LIMIT_COUNT_MAX: u32 = 1_000_000;
const LIMIT_TIME_MAX: Duration = DAY;
const FORGET_AFTER_MAX: Duration = Duration::from_secs(3_650 * 24 * 3_600);
const DAY: Duration = Duration::from_secs(24 * 3_600);
/// Modules that write lines of the log.
pub(super) const MODULES: [&str; 9] =
    ["app", "auth", "http", "session", "shutdown", "store", "telemetry", "webhook", "whatsapp"];

/// Reads settings one by one and collects what is wrong with them.
pub(super) struct Reader {
    values: HashMap<&'static str, String>,
    /// Variables that are set and empty, by their names; the value is the name that was used, maybe the file's.
    empty: HashMap<&'static str, String>,
    /// Names that begin like those of keys and are none.
    unknown_keys: Vec<String>,
    mistakes: Vec<Mistake>,
}

impl Reader {
    pub fn new(flags: Vec<(String, String)>, environment: Vec<(OsString, OsString)>) -> Self {
        let mut reader =
            Self { values: HashMap::new(), empty: HashMap::new(), unknown_keys: Vec::new(), mistakes: Vec::new() };
        let environment: HashMap<String, String> = environment
            .into_iter()
            .filter_map(|(name, value)| {
                let name = name.to_string_lossy().into_owned();
                let file_of = name.strip_suffix("_FILE").and_then(Variable::find);
                let ours = Variable::find(&name).is_some() || file_of.is_some_and(|variable| variable.secret);
                // Without it the start would go on with no key, or take tokens that it should not.
                let is_set = !value.to_string_lossy().trim().is_empty();
                if let Some(variable) = file_of.filter(|_| !ours && name.starts_with("JWT_") && is_set) {
                    reader.mistake(
                        &name,
                        &format!("is not read, since it holds no secret: set {} itself", variable.name),
                    );
                }
                if name.starts_with("JWT_") && !ours && file_of.is_none() {
                    reader.unknown_keys.push(name.clone());
                }
                if name.starts_with("TAUTAN_") && !ours && !is_injected(&name) {
                    reader.mistake(&name, "there is no such setting; `tautan --help` lists them");
                }
                let value = value.into_string();
                if ours && value.is_err() {
                    reader.mistake(&name, "is not text in UTF-8");
                }
                Some((name, value.ok()?))
            })
            .collect();
        for variable in VARIABLES {
            let value = reader.in_environment(variable, &environment);
            let flag = flags.iter().rev().find(|(name, _)| name == variable.name).map(|(_, value)| value.clone());
            match flag.or(value) {
                // An empty variable is how compose files and unit files write "not set".
                Some(value) if value.trim().is_empty() => {
                    reader.empty.insert(variable.name, variable.name.to_owned());
                }
                Some(value) => {
                    reader.values.insert(variable.name, value);
                }
                None => {}
            }
        }
        reader
    }

    fn in_environment(&mut self, variable: &Variable, environment: &HashMap<String, String>) -> Option<String> {
        let value = environment.get(variable.name).cloned();
        let file_name = format!("{}_FILE", variable.name);
        let Some(path) = environment.get(&file_name) else { return value };
        if path.trim().is_empty() {
            self.empty.insert(variable.name, file_name);
            return value;
        }
        if !variable.secret {
            return value;
        }
        if value.is_some_and(|value| !value.trim().is_empty()) {
            self.mistake(&file_name, &format!("is set and so is {}: choose one", variable.name));
            return None;
        }
        // The path is not repeated: the secret itself may stand in its place.
        match std::fs::read_to_string(path) {
            // Unlike an empty variable it cannot be meant as "not set": a file is mounted only to give a secret.
            Ok(text) if text.trim().is_empty() => {
                self.mistake(&file_name, "names a file that is empty");
                None
            }
            Ok(text) => Some(text.trim_end_matches(['\r', '\n']).to_owned()),
            Err(error) => {
                self.mistake(&file_name, &format!("names a file that cannot be read: {error}"));
                None
            }
        }
    }

    pub fn text(&self, name: &'static str) -> Option<String> {
        debug_assert!(Variable::find(name).is_some(), "{name} is not in the list");
        self.values.get(name).cloned()
    }

    /// Whether there is a value, or one that could not be read, which is a mistake already.
    pub fn is_named(&self, name: &str) -> bool {
        let blamed = |mistake: &Mistake| mistake.variable.strip_suffix("_FILE").unwrap_or(&mistake.variable) == name;
        self.values.contains_key(name) || self.mistakes.iter().any(blamed)
    }

    /// Reports a variable, or its file's, that is set and empty.
    pub fn must_not_be_empty(&mut self, name: &str, what: &str) {
        if let Some(used) = self.empty.get(name).filter(|_| !self.values.contains_key(name)).cloned() {
            self.mistake(&used, what);
        }
    }

    /// One of them may be a misspelt key.
    pub fn refuse_unknown_keys(&mut self, what: &str) {
        for name in std::mem::take(&mut self.unknown_keys) {
            self.mistake(&name, what);
        }
    }

    pub fn optional<T>(&mut self, name: &'static str, parse: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        let text = self.text(name)?;
        parse(&text).map_err(|what| self.mistake(name, &what)).ok()
    }

    /// A setting with a default. The default also replaces an unusable value: the start is refused then anyway.
    pub fn parsed<T>(&mut self, name: &'static str, parse: impl Fn(&str) -> Result<T, String>) -> T {
        let default = Variable::find(name).and_then(|variable| variable.default).expect("the list gives a default");
        self.optional(name, &parse).unwrap_or_else(|| parse(default).expect("the list's default is a good value"))
    }

    pub fn mistake(&mut self, variable: &str, what: &str) {
        self.mistakes.push(Mistake { variable: variable.to_owned(), what: what.to_owned() });
    }

    pub fn done(mut self) -> Result<(), ConfigError> {
        self.mistakes.sort_by(|a, b| a.variable.cmp(&b.variable));
        if self.mistakes.is_empty() { Ok(()) } else { Err(ConfigError { mistakes: self.mistakes }) }
    }
}

pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| format!("{text:?} is not an address and port such as 127.0.0.1:8080 or [::]:8080"))
}

pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let parsed = text.parse::<jiff::SignedDuration>().ok().and_then(|duration| Duration::try_from(duration).ok());
    parsed.ok_or_else(|| format!("{text:?} is not a duration such as 15s, 500ms or 2m"))
}

/// A duration that may be written in days.
pub(super) fn forget_after(text: &str) -> Result<Duration, String> {
    let days = text.strip_suffix('d').and_then(|days| days.parse().ok()).map(|days: u32| DAY.saturating_mul(days));
    let after = days.or_else(|| duration(text).ok()).filter(|after| (DAY..=FORGET_AFTER_MAX).contains(after));
    after.ok_or_else(|| format!("{text:?} is not a time such as 90d or 36h, from 1d to 3650d"))
}

pub(super) fn heartbeat(text: &str) -> Result<Duration, String> {
    let heartbeat = duration(text)?;
    if heartbeat < Duration::from_secs(1) || heartbeat > Duration::from_secs(60) {
        return Err(format!("{text:?} is not between 1s and 60s, after which proxies end a silent stream"));
    }
    Ok(heartbeat)
}

pub(super) fn positive(text: &str) -> Result<u32, String> {
    text.parse().ok().filter(|number| *number > 0).ok_or_else(|| format!("{text:?} is not a number above 0"))
}

/// Several, separated by commas.
pub(super) fn networks(text: &str) -> Result<Vec<Network>, String> {
    let network = |text: &str| {
        Network::parse(text).ok_or_else(|| format!("{text:?} is not an address or a network such as 10.0.0.0/8"))
    };
    text.split(',').map(|text| network(text.trim())).collect()
}

pub(super) fn rate(text: &str) -> Result<u32, String> {
    positive(text.strip_suffix("/s").unwrap_or(text)).map_err(|_| format!("{text:?} is not a rate such as 20/s"))
}

/// How often something may be done: a number and a time.
pub(super) fn limit(text: &str) -> Result<Limit, String> {
    let parts = text.split_once('/').and_then(|(count, per)| Some((positive(count).ok()?, duration(per).ok()?)));
    let limit = parts
        .filter(|(count, per)| *count <= LIMIT_COUNT_MAX && *per <= LIMIT_TIME_MAX)
        .and_then(|(count, per)| Limit::new(count, per));
    limit.ok_or_else(|| {
        format!("{text:?} is not a limit such as 5/10m, from 1 to {LIMIT_COUNT_MAX} times in 24h at most")
    })
}

pub(super) fn version(text: &str) -> Result<(u32, u32, u32), String> {
    let parts: Option<Vec<u32>> = text.split('.').map(|part| part.parse().ok()).collect();
    match parts.as_deref() {
        Some([primary, secondary, tertiary]) => Ok((*primary, *secondary, *tertiary)),
        _ => Err(format!("{text:?} is not three numbers such as 2.3000.1023")),
    }
}

pub(super) fn secret(text: &str) -> Result<KeySource, String> {
    let secret = Secret::new(text);
    secret.check().map(|()| KeySource::Secret(secret)).map_err(|weakness| weakness.to_string())
}

pub(super) fn public_key(pem: &str) -> Result<KeySource, String> {
    usable(KeySource::PublicKey(pem.to_owned()))
}

pub(super) fn jwks(place: &str) -> Result<KeySource, String> {
    if place.parse::<Uri>().is_ok_and(|uri| uri.scheme().is_some() && !names_a_place(&uri)) {
        return Err(format!("{place:?} names no host, or a port that cannot exist"));
    }
    usable(KeySource::Jwks(place.to_owned())).map_err(|what| format!("{place}: {what}"))
}

/// Checked now, where every mistake is reported at once and nothing is open yet.
fn usable(source: KeySource) -> Result<KeySource, String> {
    source.check().map(|()| source).map_err(|error| match error.source() {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    })
}

pub(super) fn master_key(text: &str) -> Result<MasterKey, String> {
    MasterKey::strong(text).map_err(|error| error.to_string())
}

/// May be weak: it is being replaced.
pub(super) fn previous_master_key(text: &str) -> Result<MasterKey, String> {
    MasterKey::from_base64(text).map_err(|error| error.to_string())
}

/// Repeats nothing of the URL, which may hold a password.
pub(super) fn redis_url(text: &str) -> Result<redis::Url, String> {
    redis::Url::parse(text).map_err(|error| error.to_string())
}

/// Repeats nothing of the URL, which may hold a token.
pub(super) fn webhook_url(text: &str) -> Result<webhook::Endpoint, String> {
    webhook::Endpoint::parse(text).map_err(|error| error.to_string())
}

pub(super) fn webhook_secret(text: &str) -> Result<webhook::SigningKey, String> {
    webhook::SigningKey::parse(text).map_err(|error| error.to_string())
}

/// A value that a claim must equal to the byte: no token's claim has white space or quotes around it, which are left
/// over from a file of settings.
pub(super) fn claim_value(text: &str) -> Result<String, String> {
    let quoted = ['"', '\''].iter().any(|quote| text.len() > 1 && text.starts_with(*quote) && text.ends_with(*quote));
    if quoted || text.trim() != text || text.chars().any(char::is_control) {
        return Err(format!(
            "{text:?} is in quotes, begins or ends with white space, or has a control character in it: no token says that"
        ));
    }
    Ok(text.to_owned())
}

/// Repeats nothing of the URL, which may hold a password.
pub(super) fn proxy(text: &str) -> Result<ProxyUrl, String> {
    ProxyUrl::parse(text).map_err(|error| error.to_string())
}

pub(super) fn device_name(text: &str) -> Result<DeviceName, String> {
    DeviceName::parse(text).map_err(|error| format!("{text:?}: {error}"))
}

pub(super) fn claim(text: &str) -> Result<String, String> {
    // RFC 6901: in a pointer ~0 stands for ~ and ~1 for /, and nothing else follows a ~.
    let escapes = text.split('~').skip(1).all(|after| after.starts_with(['0', '1']));
    if text == "/" || text.starts_with('/') && !escapes {
        return Err(format!("{text:?} is neither a claim's name nor a JSON pointer such as /org/id"));
    }
    claim_value(text)
}

pub(super) fn cookie_name(text: &str) -> Result<String, String> {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if text.bytes().all(token) {
        Ok(text.to_owned())
    } else {
        Err(format!("{text:?} is not a cookie's name (RFC 6265)"))
    }
}

pub(super) fn web_url(text: &str) -> Result<String, String> {
    let uri: Uri = text.parse().map_err(|_| format!("{text:?} is not a URL"))?;
    // Browsers read a backslash as a slash.
    let other_host = text.starts_with("//") || text.contains('\\');
    match uri.scheme_str() {
        Some("http" | "https") if names_a_place(&uri) => Ok(text.to_owned()),
        None if text.starts_with('/') && !other_host => Ok(text.to_owned()),
        _ => Err(format!("{text:?} is neither an http(s) URL nor a path on this host")),
    }
}

pub(super) fn websocket_url(text: &str) -> Result<String, String> {
    let uri: Option<Uri> = text.parse().ok().filter(names_a_place);
    match uri.as_ref().and_then(Uri::scheme_str) {
        Some("ws" | "wss") => Ok(text.to_owned()),
        _ => Err(format!("{text:?} is not a ws:// or wss:// URL")),
    }
}

pub(super) fn log_filter(text: &str) -> Result<String, String> {
    // The filter takes a word that is no level for a module's name and then logs nothing else. Spans hold commas.
    let words = text.split(',').map(str::trim).filter(|word| !word.is_empty() && !text.contains('['));
    for word in words {
        if let Some(rest) = word.strip_prefix("tautan") {
            let module = rest.split('=').next().unwrap_or_default();
            let first = module.strip_prefix("::").map(|path| path.split("::").next().unwrap_or_default());
            if !module.is_empty() && !first.is_some_and(|first| MODULES.contains(&first)) {
                return Err(format!(
                    "{word:?} is no part of the program: it is tautan, tautan::{}",
                    MODULES.join(", tautan::")
                ));
            }
        } else if !word.contains(['=', ':']) && word.parse::<tracing::level_filters::LevelFilter>().is_err() {
            return Err(format!(
                "{word:?} is not a level (error, warn, info, debug, trace, off); for a part of the program write {word}=debug"
            ));
        }
    }
    // The library reads a directive behind a space one byte too early: it takes another target, or panics.
    let trimmed = text.split(',').map(str::trim).collect::<Vec<_>>().join(",");
    telemetry::check_filter(&trimmed).map_err(|error| error.to_string())?;
    Ok(trimmed)
}

pub(super) fn log_format(text: &str) -> Result<Format, String> {
    match text {
        "text" => Ok(Format::Text),
        "json" => Ok(Format::Json),
        _ => Err(format!("{text:?} is neither text nor json")),
    }
}
