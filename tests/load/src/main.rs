//! Opens event streams at a deployment and measures what they cost: memory, CPU, delays, and what readers that do not read
//! hold. `tautan-load --help` lists the commands, docs/measurements.md shows them at work.

mod arguments;
mod client;
mod decode;
mod floor;
mod frames;
mod hold;
mod listen;
mod opening;
mod pair;
mod process;
mod report;
mod stall;
mod token;

use std::process::ExitCode;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

fn main() -> ExitCode {
    let matches = arguments::command().get_matches();
    let limit = getrlimit(Resource::Nofile);
    // Where it cannot be raised, what it is counts.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
    let (name, arguments) = matches.subcommand().expect("clap demands one");
    if name == "floor" {
        return finish(floor::run(arguments));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let tasks = tokio::task::LocalSet::new();
    finish(tasks.block_on(&runtime, async {
        match name {
            "hold" => hold::run(arguments).await,
            "listen" => listen::run(arguments).await,
            "stall" => stall::run(arguments).await,
            "connect" => pair::connect(arguments).await,
            _ => pair::run(arguments).await,
        }
    }))
}

fn finish(result: Result<(), String>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
