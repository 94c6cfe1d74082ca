use std::process::ExitCode;

use clap::{Arg, Command, error::ErrorKind};

use super::variables::{VARIABLES, help};

/// What the program is started for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    Serve,
    /// Remove all that is kept of the tenant whom standard input names.
    Erase,
}

const ERASE: &str = "erase";

/// What the command line says: the task, and settings by the variables' names. `Err`: it asked for help or is
/// wrong; the help or the mistake is printed already.
pub fn flags() -> Result<(Task, Vec<(String, String)>), ExitCode> {
    let mut command = Command::new("tautan")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Links WhatsApp accounts of a SaaS product's customers")
        .override_usage("tautan [--SETTING VALUE]...\n       tautan erase [--SETTING VALUE]...")
        .subcommand(Command::new(ERASE).about("unlinks the tenant that standard input names, and removes all of it"))
        .disable_help_subcommand(true)
        .after_help(help())
        .help_template("{about}\n\nUsage: {usage}\n\n{after-help}");
    for variable in VARIABLES.iter().filter(|variable| !variable.secret) {
        command = command.arg(Arg::new(variable.name).long(variable.flag()).hide(true).global(true));
    }
    let matches = command.try_get_matches().map_err(|error| {
        // A terminal that is gone is no reason to fail.
        let _ = error.print();
        match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => ExitCode::SUCCESS,
            _ => ExitCode::from(64),
        }
    })?;
    let (task, matches) = match matches.subcommand() {
        Some((_, matches)) => (Task::Erase, matches.clone()),
        None => (Task::Serve, matches),
    };
    let named = |name: &'static str| Some((name.to_owned(), matches.get_one::<String>(name)?.clone()));
    let named = VARIABLES.iter().filter(|variable| !variable.secret).filter_map(|variable| named(variable.name));
    Ok((task, named.collect()))
}
