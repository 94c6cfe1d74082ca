use std::process::ExitCode;

use clap::{Arg, Command, error::ErrorKind};

use super::variables::{VARIABLES, help};

/// What the command line says, by the variables' names. `Err`: it asked for help or cannot be understood, and was told.
pub fn flags() -> Result<Vec<(String, String)>, ExitCode> {
    let mut command = Command::new("tautan")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Links WhatsApp accounts of a SaaS product's customers")
        .override_usage("tautan [--SETTING VALUE]...")
        .after_help(help())
        .help_template("{about}\n\nUsage: {usage}\n\n{after-help}");
    for variable in VARIABLES.iter().filter(|variable| !variable.secret) {
        command = command.arg(Arg::new(variable.name).long(variable.flag()).hide(true));
    }
    let matches = command.try_get_matches().map_err(|error| {
        // A terminal that is gone is no reason to fail.
        let _ = error.print();
        match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => ExitCode::SUCCESS,
            _ => ExitCode::from(64),
        }
    })?;
    let named = |name: &'static str| Some((name.to_owned(), matches.get_one::<String>(name)?.clone()));
    Ok(VARIABLES.iter().filter(|variable| !variable.secret).filter_map(|variable| named(variable.name)).collect())
}
