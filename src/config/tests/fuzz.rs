//! Any environment: no value panics, each mistake names its variable, and none repeats a secret.

use proptest::{prelude::*, sample::Index};

use super::*;
use crate::{
    bucket::{Bucket, Rate},
    config::variables::VARIABLES,
    fuzz::{COSTLY, check, text},
};

/// Is in values that may be secret, and in no text of the program.
const MARK: &str = "hunter2";

const PIECES: &[&str] = &[
    MARK,
    "hunter2hunter2hunter2hunter2hunter2hunter2",
    "redis://",
    "rediss://",
    "redis+sentinel://",
    "user:hunter2@",
    "127.0.0.1",
    ":6379",
    "/1",
    "?sentinel_password=hunter2",
    "#insecure",
    "https://",
    "http://",
    "wss://",
    "app.example.com",
    "[::1]",
    "[",
    "*",
    "whsec_",
    "aHVudGVyMiBodW50ZXIyIGh1bnRlcjIgaHVudGVyMg==",
    "q83vEjRWeJq83vEjRWeJq83vEjRWeJq83vEjRWeJq80=",
    "-----BEGIN PUBLIC KEY-----\nhunter2\n-----END PUBLIC KEY-----",
    "-----BEGIN PRIVATE KEY-----",
    "0",
    "1",
    "20",
    "4294967295",
    "9223372036854775807",
    "18446744073709551616",
    "s",
    "ms",
    "h",
    "/s",
    "/10m",
    "-",
    ".",
    ",",
    " ",
    "\n",
    "\u{0}",
    "\"",
    "'",
    "/",
    "~",
    "info",
    "tautan=debug",
    "[{",
    "=",
    "text",
    "json",
    "é",
];

/// A name of a variable, of its file variant, or one that is similar.
fn names() -> impl Strategy<Value = String> {
    (any::<Index>(), 0..12_u8, text(&["TAUTAN_", "JWT_", "_FILE", "PORT", "SERVICE", "X", "_"])).prop_map(
        |(at, kind, other)| {
            let name = at.get(VARIABLES).name;
            match kind {
                0 => other,
                1 => format!("{name}_FILE"),
                2 => format!("{name}S"),
                _ => name.to_owned(),
            }
        },
    )
}

/// Values that are or may be secret: a path is often confused with the contents of its file.
fn is_secret(name: &str) -> bool {
    let variable = Variable::find(name.strip_suffix("_FILE").unwrap_or(name));
    variable.is_some_and(|variable| variable.secret) || name == "TAUTAN_WEBHOOK_URL"
}

#[test]
fn no_environment_panics_and_each_mistake_names_its_variable() {
    let variables = prop::collection::vec((names(), text(PIECES)), 0..6);
    check("environments", COSTLY, variables, |variables| {
        let secrets = variables.iter().filter(|(name, _)| is_secret(name));
        let secrets: Vec<&str> =
            secrets.map(|(_, value)| value.as_str()).filter(|value| value.contains(MARK)).collect();
        let others = variables.iter().any(|(name, value)| !is_secret(name) && value.contains(MARK));
        let environment = variables.iter().map(|(name, value)| (name.into(), value.into())).collect();
        match Config::read(Vec::new(), environment) {
            Ok(config) => {
                let shown = format!("{config:?}");
                assert!(secrets.is_empty() || others || !shown.contains(MARK), "{shown}");
            }
            Err(error) => {
                assert!(!error.mistakes.is_empty());
                for Mistake { variable, what } in &error.mistakes {
                    let known = Variable::find(variable.strip_suffix("_FILE").unwrap_or(variable)).is_some();
                    let given = variables.iter().any(|(name, _)| name == variable);
                    assert!(known || given, "{variable} is neither ours nor was it given");
                    assert!(!what.is_empty());
                    assert!(!is_secret(variable) || !what.contains(MARK), "{variable} repeats its secret: {what}");
                }
                assert!(secrets.is_empty() || others || !error.to_string().contains(MARK), "{error}");
            }
        }
    });
}

/// Accepted values are used later without another check.
#[test]
fn accepted_numbers_can_be_used() {
    const NUMBERS: &[&str] =
        &["0", "1", "9", "20", "4294967295", "999999", "24", "ns", "s", "ms", "h", "m", "/", "/s", ".", "-"];
    let names = [
        "TAUTAN_RESUME_RATE",
        "TAUTAN_LIMIT_COMMANDS",
        "TAUTAN_LIMIT_COMMAND_BURST",
        "TAUTAN_LIMIT_READS",
        "TAUTAN_LIMIT_READ_BURST",
        "TAUTAN_LIMIT_STREAM_OPENINGS",
        "TAUTAN_DRAIN_DELAY",
        "TAUTAN_HEARTBEAT",
        "TAUTAN_MAX_SESSIONS",
    ];
    check("numbers-of-settings", COSTLY, (prop::sample::select(names.to_vec()), text(NUMBERS)), |(name, value)| {
        let Ok(config) = read(&[(name, &value)]) else { return };
        let now = tokio::time::Instant::now();
        let limits = config.http.limits;
        let commands = (limits.command_burst, limits.commands_per_second);
        for (burst, per_second) in [commands, (limits.read_burst, limits.reads_per_second)] {
            let rate = Rate { burst, every: Duration::from_secs(1) / per_second };
            let mut bucket = Bucket::full(now);
            assert_eq!(bucket.take(rate, now), Ok(()), "{name}={value}");
            assert_eq!(bucket.take(rate, now + Duration::from_secs(86_400)), Ok(()), "{name}={value}");
        }
        assert_eq!(limits.stream_openings.wait(std::iter::empty()), None);
        assert!(config.http.heartbeat >= Duration::from_secs(1));
        assert!(config.drain_delay.checked_add(config.http.grace).is_some());
    });
}
