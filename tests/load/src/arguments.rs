//! The command line.

use std::{
    net::{SocketAddr, ToSocketAddrs as _},
    path::PathBuf,
    time::Duration,
};

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use crate::{client::Target, process::Watched, token::Signer};

const ABOUT: &str = "\
Opens event streams at a deployment and measures what they cost.

Each stream has a tenant of its own unless --tenants says otherwise, and a token \
that is signed here with the secret in JWT_SECRET (HS256). Run it on the machine \
of the instance: it reads memory and CPU of the processes given with --pid from \
/proc. It speaks plain HTTP; point it at the instance, not at the proxy that ends \
TLS. An instance has limits for connections of one address and for streams: raise \
TAUTAN_MAX_CONNECTIONS, TAUTAN_MAX_CONNECTIONS_WITHOUT_TOKEN, \
TAUTAN_MAX_CONNECTIONS_PER_ADDRESS and TAUTAN_MAX_STREAMS for thousands of streams.";

const EXAMPLES: &str = "\
Examples:
  JWT_SECRET=… tautan-load hold --url http://127.0.0.1:8080 --streams 5000 --pid tautan=$(pidof tautan)
  JWT_SECRET=… tautan-load stall --url http://127.0.0.1:8080 --streams 50 --stalled 100 --seconds 40";

pub fn command() -> Command {
    Command::new("tautan-load")
        .about(ABOUT)
        .after_help(EXAMPLES)
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(streams("hold", "Opens idle streams: opens per CPU second, memory of each, CPU while they idle"))
        .subcommand(publishing(streams("listen", "Reads events that carry a stamp: delays, CPU for each delivery")))
        .subcommand(streams("connect", "Posts \"connect\" for each of --tenants. Opens links to WhatsApp"))
        .subcommand(
            publishing(streams("stall", "Reads with --streams readers beside --stalled ones that never read"))
                .arg(number("stalled", "streams that never read", "100")),
        )
        .subcommand(
            streams("pair", "Asks for codes, one after the other: POST to the first qr-code. Opens links to WhatsApp")
                .arg(number("rounds", "how many times", "100"))
                .arg(number("readers", "streams that read beside it", "0"))
                .arg(text("until", "what an event holds that ends the wait", "event: qr-code\n")),
        )
        .subcommand(
            Command::new("floor")
                .about("A server that only sends: what the kernel alone costs. Prints its address, ends by itself")
                .arg(number("streams", "how many connections it waits for", "1000"))
                .arg(number("bytes", "size of each send", "300"))
                .arg(number("every-ms", "pause between two sends to the same connection", "100"))
                .arg(number("groups", "connections are sent to in as many groups, one after the other", "1"))
                .arg(number("seconds", "ends after this long", "60")),
        )
}

fn streams(name: &'static str, about: &'static str) -> Command {
    Command::new(name)
        .about(about)
        .arg(
            Arg::new("url")
                .long("url")
                .required(true)
                .help("where the instance listens, such as http://127.0.0.1:8080"),
        )
        .arg(text("path", "of the stream; {tenant} stands for the tenant", "/api/whatsapp/events"))
        .arg(number("streams", "how many are opened", "1000"))
        .arg(number("tenants", "how many tenants they belong to; 0: as many as streams", "0"))
        .arg(text("tenant", "the tenant's name; {n} stands for its number", "load-{n}"))
        .arg(text("claim", "the token's claim that names the tenant", "id"))
        .arg(number("at-once", "how many are being opened at the same time", "64"))
        .arg(number("seconds", "how long it measures once all are open", "15"))
        .arg(Arg::new("pid").long("pid").value_name("NAME=PID").action(ArgAction::Append).help("a process to measure"))
        .arg(Arg::new("json").long("json").action(ArgAction::SetTrue).help("prints one line of JSON instead of text"))
        .arg(
            Arg::new("secret-file")
                .long("secret-file")
                .value_parser(value_parser!(PathBuf))
                .help("where the secret stands, instead of JWT_SECRET"),
        )
}

fn publishing(command: Command) -> Command {
    command
        .arg(number("rate", "events a second that this tool publishes itself, for servers that take them", "0"))
        .arg(text("publish-path", "where it posts them; {tenant} stands for the tenant", "/pub/{tenant}"))
        .arg(number("bytes", "size of the body that it posts", "200"))
}

fn number(name: &'static str, help: &'static str, default: &'static str) -> Arg {
    Arg::new(name).long(name).value_name("N").value_parser(value_parser!(u64)).default_value(default).help(help)
}

fn text(name: &'static str, help: &'static str, default: &'static str) -> Arg {
    Arg::new(name).long(name).value_name("TEXT").default_value(default).help(help)
}

pub fn count(arguments: &ArgMatches, name: &str) -> usize {
    usize::try_from(*arguments.get_one::<u64>(name).expect("it has a default")).unwrap_or(usize::MAX)
}

pub fn seconds(arguments: &ArgMatches) -> Duration {
    Duration::from_secs(count(arguments, "seconds") as u64)
}

pub fn word<'a>(arguments: &'a ArgMatches, name: &str) -> &'a str {
    arguments.get_one::<String>(name).expect("it has a default")
}

/// The arguments of all commands that open streams.
pub struct Common {
    pub target: Target,
    pub streams: usize,
    pub tenants: usize,
    pub at_once: usize,
    pub time: Duration,
    pub watched: Vec<Watched>,
    pub json: bool,
}

impl Common {
    pub fn read(arguments: &ArgMatches) -> Result<Self, String> {
        let url: &String = arguments.get_one("url").expect("clap demands it");
        let host = url.strip_prefix("http://").ok_or("--url begins with http://")?.trim_end_matches('/');
        let address = address(host).ok_or_else(|| format!("--url: {host} leads nowhere"))?;
        let secret = match arguments.get_one::<PathBuf>("secret-file") {
            Some(file) => {
                std::fs::read(file).map_err(|error| format!("--secret-file: {error}"))?.trim_ascii().to_owned()
            }
            None => std::env::var("JWT_SECRET").unwrap_or_default().into_bytes(),
        };
        let signer = (!secret.is_empty()).then(|| Signer::new(secret, word(arguments, "claim").to_owned()));
        let target = Target {
            address,
            host: host.to_owned(),
            path: word(arguments, "path").to_owned(),
            tenant: word(arguments, "tenant").to_owned(),
            signer,
        };
        let streams = count(arguments, "streams");
        let tenants = match count(arguments, "tenants") {
            0 => streams.max(1),
            tenants => tenants,
        };
        let pids = arguments.get_many::<String>("pid").unwrap_or_default();
        let watched = pids.map(|pid| Watched::parse(pid)).collect::<Result<_, _>>()?;
        let (at_once, time) = (count(arguments, "at-once").max(1), seconds(arguments));
        Ok(Self { target, streams, tenants, at_once, time, watched, json: arguments.get_flag("json") })
    }
}

fn address(host: &str) -> Option<SocketAddr> {
    let with_port = if host.contains(':') { host.to_owned() } else { format!("{host}:80") };
    with_port.to_socket_addrs().ok()?.next()
}
