//! Debian's reverse proxies, each as its own process in front of programs: with the settings that harm streams, or
//! with the configuration that `deploy` has for it.

use std::{
    fs,
    net::TcpStream,
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::{Certificates, DEADLINE, port::Port};

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
    scheme: &'static str,
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
        let target = program_base.trim_start_matches("http://");
        self.run("http", |port, folder| self.configuration(port, target, folder), &[])
    }

    /// As [`Self::start`], with the configuration that `deploy` has for it, TLS included, in front of several programs.
    pub fn start_deployed(self, program_bases: &[&str], certificates: &Certificates) -> Option<RunningGateway> {
        let targets: Vec<&str> = program_bases.iter().map(|base| base.trim_start_matches("http://")).collect();
        let upstreams = targets.join(" ");
        let environment = [("TAUTAN_UPSTREAMS", upstreams.as_str())];
        self.run("https", |port, folder| self.deployed(port, &targets, folder, certificates), &environment)
    }

    fn run(
        self,
        scheme: &'static str,
        configuration: impl FnOnce(u16, &str) -> String,
        environment: &[(&str, &str)],
    ) -> Option<RunningGateway> {
        let Some(path) = find(self.program()) else {
            assert!(std::env::var_os("CI").is_none(), "{} is not installed", self.program());
            println!("NOT RUN: {} is not installed", self.program());
            return None;
        };
        let directory = tempfile::tempdir().expect("a directory");
        let folder = directory.path().to_str().expect("a plain name");
        let (port, file, log) = (Port::reserve(), format!("{folder}/configuration"), format!("{folder}/log"));
        fs::write(&file, configuration(port.number, folder)).expect("it can be written");
        let mut command = Command::new(path);
        match self {
            Self::HaProxy => command.args(["-db", "-f", &file]),
            Self::Nginx => command.args(["-e", "stderr", "-p", folder, "-c", &file]),
            Self::Caddy => command.args(["run", "--adapter", "caddyfile", "--config", &file]),
        };
        // Caddy keeps its state there.
        command.env("HOME", folder).env("XDG_DATA_HOME", folder).env("XDG_CONFIG_HOME", folder);
        command.env("TAUTAN_DOMAIN", format!("{scheme}://127.0.0.1:{}", port.number)).envs(environment.iter().copied());
        let output = fs::File::create(&log).expect("it can be written");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(output);
        let child = command.spawn().expect("it is executable");
        let mut running = RunningGateway { child, port, scheme, _directory: directory };
        let until = Instant::now() + DEADLINE;
        while TcpStream::connect(("127.0.0.1", running.port.number)).is_err() {
            let ended = running.child.try_wait().expect("its state can be asked").is_some();
            assert!(!ended && Instant::now() < until, "{self:?} does not listen: {:?}", fs::read_to_string(&log));
            sleep(Duration::from_millis(20));
        }
        // Caddy listens before its certificate is made, and refuses handshakes until then.
        while !running.shakes_hands() {
            assert!(Instant::now() < until, "{self:?} refuses handshakes: {:?}", fs::read_to_string(&log));
            sleep(Duration::from_millis(20));
        }
        Some(running)
    }

    /// The file of `deploy` with this test's addresses in it.
    fn deployed(self, port: u16, targets: &[&str], folder: &str, certificates: &Certificates) -> String {
        let both = format!("{folder}/both.pem");
        let read = |file: &str| fs::read_to_string(certificates.path(file)).expect("it was made");
        fs::write(&both, read("leaf.pem") + &read("leaf.key")).expect("it can be written");
        match self {
            Self::HaProxy => {
                let servers = targets.iter().enumerate();
                let servers = servers.map(|(at, target)| format!("server tautan-{at} {target}")).collect::<Vec<_>>();
                let bind = format!("bind 127.0.0.1:{port} ssl crt {both}");
                Text::of("haproxy.cfg")
                    .with("bind :443 ssl crt /etc/ssl/whatsapp.example.com.pem", &bind)
                    .with("server tautan-1 127.0.0.1:8080", &servers.join("\n    "))
                    .0
            }
            Self::Nginx => {
                let server = |target: &&str| format!("server {target} max_fails=1 fail_timeout=2s;");
                let site = Text::of("nginx.conf")
                    .with("listen 443 ssl http2", &format!("listen 127.0.0.1:{port} ssl http2"))
                    .with("/etc/ssl/whatsapp.example.com.pem", &both)
                    .with("/etc/ssl/whatsapp.example.com.key", &both)
                    .with(
                        "server 127.0.0.1:8080 max_fails=1 fail_timeout=2s;",
                        &targets.iter().map(server).collect::<String>(),
                    );
                nginx(folder, &site.0)
            }
            // Caddy makes its own certificate for an address; as root it would add its authority to the
            // machine's. On all addresses it could not listen while a client of another test has this port on one of them.
            Self::Caddy => {
                format!(
                    "{{\n  admin off\n  skip_install_trust\n  auto_https disable_redirects\n  default_bind 127.0.0.1\n}}\n{}",
                    Text::of("Caddyfile").0
                )
            }
        }
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
            Self::Nginx => nginx(
                folder,
                &format!(
                    "
server {{
  listen 127.0.0.1:{port};
  location / {{
    proxy_pass http://{target};
    proxy_ignore_client_abort on;
  }}
}}
"
                ),
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

/// A site of nginx with the configuration that it needs. One process: if a master is killed, its worker stays.
fn nginx(folder: &str, site: &str) -> String {
    format!(
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
{site}
}}
"
    )
}

/// A configuration file of `deploy`.
struct Text(String);

impl Text {
    fn of(file: &str) -> Self {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../deploy").join(file);
        Self(fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
    }

    /// The part that a user replaces.
    fn with(self, part: &str, by: &str) -> Self {
        assert!(self.0.contains(part), "{part:?} is not in {}", self.0);
        Self(self.0.replace(part, by))
    }
}

impl RunningGateway {
    pub fn base(&self) -> String {
        format!("{}://127.0.0.1:{}", self.scheme, self.port.number)
    }

    fn shakes_hands(&self) -> bool {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--insecure", "--max-time", "5", "--output", "/dev/null", &self.base()]);
        self.scheme == "http" || curl.stdin(Stdio::null()).status().expect("curl runs").success()
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
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let searched = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&searched).chain([PathBuf::from("/usr/sbin")]);
    folders.map(|folder| folder.join(program)).find(|path| path.is_file())
}
