use std::{
    error::Error,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    net::{TcpSocket, TcpStream},
    process::{Child, Command},
    sync::mpsc,
    time::{Instant, sleep},
};
use tokio_util::task::TaskTracker;

type Failure = Box<dyn Error>;

const START_TIME_MAX: Duration = Duration::from_secs(20);

/// The log lines of an instance that a visitor wants to see.
pub enum News {
    Listens {
        instance: usize,
        address: SocketAddr,
    },
    /// The session runs there: only its owner logs this.
    Runs {
        instance: usize,
        what: String,
    },
}

/// Real processes of the service, and the Redis between them. All end with it.
pub struct Fleet {
    instances: Vec<Child>,
    _redis: Child,
    program: PathBuf,
    folder: TempDir,
    environment: Vec<(String, String)>,
    sender: mpsc::Sender<News>,
    logs: TaskTracker,
}

impl Fleet {
    pub async fn start(
        instances: usize,
        environment: Vec<(String, String)>,
        sender: mpsc::Sender<News>,
    ) -> Result<Self, Failure> {
        let program = program()?;
        let folder = tempfile::tempdir()?;
        let (redis, url) = start_redis(folder.path()).await?;
        let environment = [environment, vec![("REDIS_URL".to_owned(), url)]].concat();
        let logs = TaskTracker::new();
        let mut fleet = Self { instances: Vec::new(), _redis: redis, program, folder, environment, sender, logs };
        for instance in 0..instances {
            let child = fleet.spawn(instance)?;
            fleet.instances.push(child);
        }
        Ok(fleet)
    }

    pub fn pid(&self, instance: usize) -> Option<u32> {
        self.instances[instance].id()
    }

    /// `kill -9`.
    pub async fn kill(&mut self, instance: usize) -> Result<(), Failure> {
        Ok(self.instances[instance].kill().await?)
    }

    /// Starts an instance in place of one that has ended, as an orchestrator does.
    pub fn start_again(&mut self, instance: usize) -> Result<(), Failure> {
        self.instances[instance] = self.spawn(instance)?;
        Ok(())
    }

    fn spawn(&self, instance: usize) -> Result<Child, Failure> {
        let mut command = Command::new(&self.program);
        command.env_clear().envs(self.environment.iter().cloned());
        command.env("TAUTAN_DATA_DIR", self.folder.path().join(instance.to_string()));
        command.env("TAUTAN_LISTEN", "127.0.0.1:0").env("TAUTAN_LOG", "json");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn()?;
        let stderr = child.stderr.take().ok_or("a process without its log")?;
        let sender = self.sender.clone();
        self.logs.spawn(async move {
            let mut lines = BufReader::new(stderr).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                if let Some(news) = news(instance, &line)
                    && sender.send(news).await.is_err()
                {
                    return;
                }
            }
        });
        Ok(child)
    }
}

fn news(instance: usize, line: &str) -> Option<News> {
    let line: Value = serde_json::from_str(line).ok()?;
    match line["message"].as_str()? {
        "listening" => Some(News::Listens { instance, address: line["address"].as_str()?.parse().ok()? }),
        what @ ("session started" | "whatsapp connected") => Some(News::Runs { instance, what: what.to_owned() }),
        _ => None,
    }
}

/// `tautan-sim`, which is built if it is not there: `cargo run --example demo` builds the demo alone.
fn program() -> Result<PathBuf, Failure> {
    let mine = std::env::current_exe()?;
    let program = mine.with_file_name("tautan-sim");
    if program.exists() {
        println!("running {}, as it was built last", program.display());
        return Ok(program);
    }
    let release = mine.components().any(|part| part.as_os_str() == "release");
    println!("building the program for the simulator …");
    let mut build = std::process::Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    build.args(["build", "--quiet", "--package", "tautan", "--example", "tautan-sim"]);
    build.args(release.then_some("--release")).current_dir(env!("CARGO_MANIFEST_DIR"));
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        // Build scripts that look at them would run again, and most dependencies with them.
        if name.starts_with("CARGO_MANIFEST_") || name.starts_with("CARGO_PKG_") {
            build.env_remove(&*name);
        }
    }
    if !build.status()?.success() {
        return Err("tautan-sim does not build".into());
    }
    Ok(program)
}

async fn start_redis(folder: &Path) -> Result<(Child, String), Failure> {
    // Held until Redis listens beside it: another program could be given the port meanwhile.
    let held = TcpSocket::new_v4()?;
    held.set_reuseaddr(true)?;
    held.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
    let port = held.local_addr()?.port();
    let mut command = Command::new("redis-server");
    command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "yes", "--dir"]);
    command.arg(folder).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    let redis = command.spawn().map_err(|error| format!("redis-server is needed for several instances: {error}"))?;
    let begun = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
        if begun.elapsed() > START_TIME_MAX {
            return Err("redis-server does not start".into());
        }
        sleep(Duration::from_millis(10)).await;
    }
    Ok((redis, format!("redis://127.0.0.1:{port}/")))
}
