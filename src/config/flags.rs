use std::{path::PathBuf, process::ExitCode, time::Duration};

use clap::{Arg, ArgMatches, Command, error::ErrorKind};

use super::{
    read,
    variables::{VARIABLES, help},
};
use crate::tenant::TenantId;

/// What this process was started to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Task {
    /// Serve requests.
    Serve,
    /// Print a token of the tenant, to try things out.
    Token {
        /// The tenant that the token names.
        tenant: TenantId,
        /// From now to the token's `exp`.
        lifetime: Duration,
    },
    /// Check whether the service could start and reach the store and WhatsApp.
    Check,
    /// Check whether the service on this machine is up.
    Healthcheck,
    /// Remove all data of the tenant that standard input names.
    Erase,
    /// Move all tenants of an embedded store to Redis.
    Move {
        /// The data directory of the embedded store.
        from: PathBuf,
    },
}

/// Each command with its text in `--help`.
pub(super) const COMMANDS: [(&str, &str); 6] = [
    (SERVE, "runs the service; the same as no command"),
    (TOKEN, "prints a token: --tenant NAME, and --ttl 1h (the default) for how long it is good"),
    (CHECK, "says whether the settings are good, and the store and WhatsApp can be reached"),
    (HEALTHCHECK, "asks the service on this machine whether it is up: exit code 0 or 1"),
    (ERASE, "unlinks the tenant that standard input names, and removes all that is kept of it"),
    (MOVE, "moves all tenants from the data directory --from DIR to Redis (REDIS_URL, or --to redis://HOST:PORT)"),
];
const SERVE: &str = "serve";
const TOKEN: &str = "token";
const CHECK: &str = "check";
const HEALTHCHECK: &str = "healthcheck";
const ERASE: &str = "erase";
const MOVE: &str = "move";

const TENANT: &str = "tenant";
const LIFETIME: &str = "ttl";
const FROM: &str = "from";
const TO: &str = "to";

/// Reads the command line: the task, and settings by the variables' names. `Err`: help or an error was printed; the
/// exit code.
pub fn flags() -> Result<(Task, Vec<(String, String)>), ExitCode> {
    parse(std::env::args_os()).map_err(|error| {
        // A closed terminal must not fail the command.
        let _ = error.print();
        match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => ExitCode::SUCCESS,
            _ => ExitCode::from(64),
        }
    })
}

fn parse<T: Into<std::ffi::OsString> + Clone>(
    arguments: impl IntoIterator<Item = T>,
) -> clap::error::Result<(Task, Vec<(String, String)>)> {
    let mut command = Command::new("tautan")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Links WhatsApp accounts of a SaaS product's customers")
        .override_usage("tautan [COMMAND] [--SETTING VALUE]...")
        .disable_help_subcommand(true)
        .after_help(help())
        .help_template("{about}\n\nUsage: {usage}\n\n{after-help}");
    for (name, about) in COMMANDS {
        let mut subcommand = Command::new(name).about(about);
        if name == TOKEN {
            let tenant = Arg::new(TENANT).long(TENANT).required(true).value_parser(TenantId::parse);
            let lifetime = Arg::new(LIFETIME).long(LIFETIME).default_value("1h").value_parser(lifetime);
            subcommand = subcommand.arg(tenant).arg(lifetime);
        }
        if name == MOVE {
            let from = Arg::new(FROM).long(FROM).required(true).value_parser(clap::value_parser!(PathBuf));
            subcommand = subcommand.arg(from).arg(Arg::new(TO).long(TO));
        }
        command = command.subcommand(subcommand);
    }
    for variable in VARIABLES.iter().filter(|variable| !variable.secret) {
        command = command.arg(Arg::new(variable.name).long(variable.flag()).hide(true).global(true));
    }
    let matches = command.try_get_matches_from(arguments)?;
    let (task, matches) = match matches.subcommand() {
        Some((name, matches)) => (task(name, matches), matches.clone()),
        None => (Task::Serve, matches),
    };
    let named = |name: &'static str| Some((name.to_owned(), matches.get_one::<String>(name)?.clone()));
    let named = VARIABLES.iter().filter(|variable| !variable.secret).filter_map(|variable| named(variable.name));
    let to = matches.try_get_one::<String>(TO).ok().flatten();
    if to.is_some_and(|url| url.contains(['@', '?'])) {
        // Other users of the machine can read the command line.
        let what = "--to: leave user and password out, and set REDIS_URL or REDIS_URL_FILE instead\n";
        return Err(clap::Error::raw(ErrorKind::ValueValidation, what));
    }
    Ok((task, named.chain(to.map(|url| ("REDIS_URL".to_owned(), url.clone()))).collect()))
}

fn task(name: &str, matches: &ArgMatches) -> Task {
    match name {
        SERVE => Task::Serve,
        TOKEN => Task::Token {
            tenant: matches.get_one::<TenantId>(TENANT).expect("it is required").clone(),
            lifetime: *matches.get_one(LIFETIME).expect("it has a default"),
        },
        CHECK => Task::Check,
        HEALTHCHECK => Task::Healthcheck,
        ERASE => Task::Erase,
        MOVE => Task::Move { from: matches.get_one::<PathBuf>(FROM).expect("it is required").clone() },
        other => unreachable!("{other} is not in the list of commands"),
    }
}

fn lifetime(text: &str) -> Result<Duration, String> {
    let lifetime = read::duration(text)?;
    if lifetime < Duration::from_secs(1) { Err(format!("{text:?} is less than a second")) } else { Ok(lifetime) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task_of(line: &str) -> clap::error::Result<Task> {
        parse(["tautan"].into_iter().chain(line.split_whitespace())).map(|(task, _)| task)
    }

    #[test]
    fn command_line_names_one_task() {
        assert_eq!(task_of("").unwrap(), Task::Serve);
        assert_eq!(task_of("serve").unwrap(), Task::Serve);
        assert_eq!(task_of("check").unwrap(), Task::Check);
        assert_eq!(task_of("healthcheck").unwrap(), Task::Healthcheck);
        assert_eq!(task_of("erase").unwrap(), Task::Erase);
        for wrong in ["serve erase", "start", "token", "erase --tenant a", "token --tenant a --ttl soon"] {
            assert!(task_of(wrong).is_err(), "{wrong}");
        }
        for wrong in ["token --tenant a --ttl 0s", "token --tenant a\u{f6}", "token --tenant a --jwt-secret x"] {
            assert!(task_of(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn token_lives_an_hour_by_default() {
        let token = |seconds| Task::Token {
            tenant: TenantId::parse("toko-sari").unwrap(),
            lifetime: Duration::from_secs(seconds),
        };
        assert_eq!(task_of("token --tenant toko-sari").unwrap(), token(3_600));
        assert_eq!(task_of("token --tenant toko-sari --ttl 90s").unwrap(), token(90));
    }

    #[test]
    fn move_names_its_redis_without_a_password() {
        let read = |line: &str| parse(["tautan"].into_iter().chain(line.split_whitespace()));
        let from = || Task::Move { from: "data".into() };
        assert_eq!(read("move --from data").unwrap(), (from(), vec![]));
        let (task, settings) = read("move --from data --to redis://127.0.0.1/").unwrap();
        assert_eq!((task, settings), (from(), vec![("REDIS_URL".to_owned(), "redis://127.0.0.1/".to_owned())]));
        for wrong in ["move", "move --to redis://127.0.0.1/", "move --from data --to redis://:hunter2@127.0.0.1/"] {
            let error = read(wrong).unwrap_err();
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
        assert!(read("serve --to redis://127.0.0.1/").is_err());
    }

    #[test]
    fn settings_may_stand_on_either_side_of_the_command() {
        for line in ["--listen 127.0.0.1:9 check", "check --listen 127.0.0.1:9"] {
            let (task, flags) = parse(["tautan"].into_iter().chain(line.split(' '))).unwrap();
            assert_eq!(task, Task::Check);
            assert_eq!(flags, [("TAUTAN_LISTEN".to_owned(), "127.0.0.1:9".to_owned())]);
        }
    }
}
