//! What Tautan is held against: a plain Node server, nginx with nchan, and a server that only sends.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use tautan_test_support::{DEADLINE, SECRET};
use tempfile::TempDir;

use crate::load::{Killed, children_end, program};

const HEARTBEAT_SECONDS: u32 = 15;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// `tests/bench/peers/node-sse.mjs`.
    Node,
    /// Debian's nginx-core and libnginx-mod-nchan, with its store in memory.
    Nchan,
}

/// A server that runs; killed when dropped.
pub struct Server {
    process: Killed,
    port: u16,
    _directory: Option<TempDir>,
}

impl Peer {
    pub fn name(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Nchan => "nchan",
        }
    }

    /// Of the stream, as `tautan-load` is given it.
    pub fn path(self) -> &'static str {
        match self {
            Self::Node => "/api/whatsapp/events",
            Self::Nchan => "/sub/{tenant}",
        }
    }

    /// `None`: it is not installed, and this has said so.
    pub fn start(self) -> Option<Server> {
        let port = free_port();
        let (mut command, directory) = match self {
            Self::Node => {
                let mut command = children_end(&find("node")?);
                command
                    .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bench/peers/node-sse.mjs"))
                    .env("PORT", port.to_string())
                    .env("JWT_SECRET", SECRET)
                    .env("HEARTBEAT_MS", (HEARTBEAT_SECONDS * 1000).to_string());
                (command, None)
            }
            Self::Nchan => {
                let module = "/usr/lib/nginx/modules/ngx_nchan_module.so";
                if !Path::new(module).exists() {
                    println!("NOT RUN: libnginx-mod-nchan is not installed");
                    return None;
                }
                let directory = tempfile::tempdir().expect("a directory");
                let folder = directory.path().to_str().expect("a plain name");
                let file = format!("{folder}/configuration");
                fs::write(&file, nchan(module, port, folder)).expect("it can be written");
                let mut command = children_end(&find("nginx")?);
                command.args(["-e", "stderr", "-p", folder, "-c", &file]);
                (command, Some(directory))
            }
        };
        let process = Killed(command.stdout(Stdio::null()).spawn().expect("it starts"));
        let began = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(began.elapsed() < DEADLINE, "{} does not listen", self.name());
            sleep(Duration::from_millis(20));
        }
        Some(Server { process, port, _directory: directory })
    }
}

impl Server {
    pub fn base(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub fn pid(&self) -> u32 {
        self.process.pid()
    }
}

/// A server that sends the same bytes at the same rate and does nothing else.
pub fn floor(streams: usize, bytes: u64, every_ms: u64, groups: u32, seconds: u64) -> Server {
    let numbers = [("streams", streams as u64), ("bytes", bytes), ("every-ms", every_ms), ("groups", groups.into())];
    let mut command = children_end(program());
    command.arg("floor").args(["--seconds", &seconds.to_string()]);
    for (name, number) in numbers {
        command.args([format!("--{name}"), number.to_string()]);
    }
    let mut child = command.stdout(Stdio::piped()).spawn().expect("it starts");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("a line");
    let port = line.trim().rsplit(':').next().and_then(|port| port.parse().ok()).expect("it says where it listens");
    Server { process: Killed(child), port, _directory: None }
}

fn free_port() -> u16 {
    let held = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    held.local_addr().expect("it is bound").port()
}

fn find(program: &str) -> Option<PathBuf> {
    let searched = std::env::var_os("PATH").unwrap_or_default();
    // Debian installs nginx there, and only root's PATH has it.
    let folders = std::env::split_paths(&searched).chain([PathBuf::from("/usr/sbin")]);
    let found = folders.map(|folder| folder.join(program)).find(|path| path.is_file());
    if found.is_none() {
        println!("NOT RUN: {program} is not installed");
    }
    found
}

/// One process: if a master is killed, its worker stays.
fn nchan(module: &str, port: u16, folder: &str) -> String {
    format!(
        "
load_module {module};
daemon off;
master_process off;
worker_rlimit_nofile 20000;
pid {folder}/pid;
error_log stderr crit;
events {{ worker_connections 19950; }}
http {{
  access_log off;
  tcp_nodelay on;
  client_body_temp_path {folder}/client_body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  nchan_shared_memory_size 512m;
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location ~ ^/sub/(.+)$ {{
      nchan_subscriber eventsource;
      nchan_channel_id $1;
      nchan_subscriber_first_message newest;
      nchan_eventsource_ping_interval {HEARTBEAT_SECONDS};
    }}
    location ~ ^/pub/(.+)$ {{
      nchan_publisher http;
      nchan_channel_id $1;
      nchan_message_buffer_length 1;
      nchan_message_timeout 60s;
    }}
  }}
}}
"
    )
}

/// What this machine is and which versions run on it.
pub fn machine() -> String {
    let line = |program: &str, argument: &str| {
        let output = Command::new(find(program)?).arg(argument).output().ok()?;
        let text = [output.stdout, output.stderr].concat();
        Some(String::from_utf8_lossy(&text).lines().next().unwrap_or_default().to_owned())
    };
    let file = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpu_info = file("/proc/cpuinfo");
    let value = |name: &str| {
        let found = cpu_info.lines().find_map(|line| line.strip_prefix(name));
        found.map_or_else(String::new, |value| value.trim_start_matches(['\t', ' ', ':']).to_owned())
    };
    let versions = [("nginx", "-v"), ("node", "--version"), ("redis-server", "--version")];
    let versions: Vec<_> = versions.iter().filter_map(|(program, argument)| line(program, argument)).collect();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!(
        "{} × {}, Linux {}, tautan {}, {}",
        cores,
        value("model name"),
        file("/proc/sys/kernel/osrelease").trim(),
        env!("CARGO_PKG_VERSION"),
        versions.join(", ")
    )
}
