//! Debian's reverse proxies, each as a process of its own in front of one program, with the settings that harm streams.

use std::{
    fs,
    net::TcpStream,
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::{DEADLINE, port::Port};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gateway {
    /// With its defaults: without `abortonclose`, a stream stays open after its client has gone.
    HaProxy,
    /// With `proxy_ignore_client_abort on`: the same.
    Nginx,
    /// With `flush_interval -1`: the same. With `encode`: it compresses what clients accept.
    Caddy,
}

/// A reverse proxy that runs; killed when dropped.
pub struct RunningGateway {
    child: Child,
    port: Port,
    _directory: TempDir,
}

impl Gateway {
    fn program(self) -> &'static str {
        match self {
            Self::HaProxy => "haproxy",
            Self::Nginx => "nginx",
            Self::Caddy => "caddy",
        }
    }

    /// Starts it in front of the program and returns once it listens. `None`: it is not installed, which fails the test in CI.
    pub fn start(self, program_base: &str) -> Option<RunningGateway> {
        let Some(path) = find(self.program()) else {
            assert!(std::env::var_os("CI").is_none(), "{} is not installed", self.program());
            println!("NOT RUN: {} is not installed", self.program());
            return None;
        };
        let directory = tempfile::tempdir().expect("a directory");
        let folder = directory.path().to_str().expect("a plain name");
        let (port, file, log) = (Port::reserve(), format!("{folder}/configuration"), format!("{folder}/log"));
        let target = program_base.trim_start_matches("http://");
        fs::write(&file, self.configuration(port.number, target, folder)).expect("it can be written");
        let mut command = Command::new(path);
        match self {
            Self::HaProxy => command.args(["-db", "-f", &file]),
            Self::Nginx => command.args(["-e", "stderr", "-p", folder, "-c", &file]),
            Self::Caddy => command.args(["run", "--adapter", "caddyfile", "--config", &file]),
        };
        // Caddy keeps its state there.
        command.env("HOME", folder).env("XDG_DATA_HOME", folder).env("XDG_CONFIG_HOME", folder);
        let output = fs::File::create(&log).expect("it can be written");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(output);
        let child = command.spawn().expect("it is executable");
        let mut running = RunningGateway { child, port, _directory: directory };
        let until = Instant::now() + DEADLINE;
        while TcpStream::connect(("127.0.0.1", running.port.number)).is_err() {
            let ended = running.child.try_wait().expect("its state can be asked").is_some();
            assert!(!ended && Instant::now() < until, "{self:?} does not listen: {:?}", fs::read_to_string(&log));
            sleep(Duration::from_millis(20));
        }
        Some(running)
    }

    fn configuration(self, port: u16, target: &str, folder: &str) -> String {
        match self {
            Self::HaProxy => format!(
                "
defaults
  mode http
  timeout connect 5s
  timeout client 1m
  timeout server 1m
listen tautan
  bind 127.0.0.1:{port}
  server one {target}
"
            ),
            // One process: if a master is killed, its worker stays.
            Self::Nginx => format!(
                "
daemon off;
master_process off;
pid {folder}/pid;
events {{}}
http {{
  access_log off;
  client_body_temp_path {folder}/client_body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://{target};
      proxy_ignore_client_abort on;
    }}
  }}
}}
"
            ),
            Self::Caddy => format!(
                "
{{
  admin off
  auto_https off
}}
http://127.0.0.1:{port} {{
  bind 127.0.0.1
  encode gzip zstd
  reverse_proxy {target} {{
    flush_interval -1
  }}
}}
"
            ),
        }
    }
}

impl RunningGateway {
    pub fn base(&self) -> String {
        format!("http://127.0.0.1:{}", self.port.number)
    }
}

impl Drop for RunningGateway {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Debian installs servers in `/usr/sbin`, which is in root's PATH only.
fn find(program: &str) -> Option<PathBuf> {
    let searched = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&searched).chain([PathBuf::from("/usr/sbin")]);
    folders.map(|folder| folder.join(program)).find(|path| path.is_file())
}
