//! A real Redis for each test, gone with it.

use std::{
    fs, io,
    io::{Read as _, Write as _},
    net::TcpStream,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::port::Port;

const PROGRAM: &str = "redis-server";
/// Where it keeps its append-only file, inside its directory.
const FOLDER: &str = "appendonlydir";
const START_TIME_MAX: Duration = Duration::from_secs(20);

pub struct RedisServer {
    child: Child,
    pub port: u16,
    dir: TempDir,
    memory: Memory,
    _reserved: Port,
}

/// What a server knows after a restart.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Memory {
    Nothing,
    /// An append-only file, synced every second, as the documentation of the program asks for.
    File,
}

/// A server's append-only file as it was at one moment.
pub struct Backup(TempDir);

/// False is said once for each test and fails it in CI, where it would hide half of the promises.
pub fn redis_is_installed() -> bool {
    let found = Command::new(PROGRAM).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    let found = found.is_ok_and(|status| status.success());
    if !found {
        assert!(std::env::var_os("CI").is_none(), "{PROGRAM} is not installed");
        println!("NOT RUN: {PROGRAM} is not installed");
    }
    found
}

impl RedisServer {
    pub fn start() -> Self {
        Self::start_with(Memory::Nothing)
    }

    /// One that keeps an append-only file, so that a restart brings back what was there.
    pub fn start_durable() -> Self {
        Self::start_with(Memory::File)
    }

    fn start_with(memory: Memory) -> Self {
        let (dir, reserved) = (tempfile::tempdir().unwrap(), Port::reserve());
        let port = reserved.number;
        let mut server = Self { child: start(port, &dir, memory), port, dir, memory, _reserved: reserved };
        assert!(server.answers(), "it starts");
        server
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    /// As `redis-cli` would ask: the raw answer, which is enough to see what is in it.
    pub fn ask(&self, command: &[&str]) -> Vec<u8> {
        let mut connection = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        // So that the connection ends with the answer.
        let request = encoded(command) + "QUIT\r\n";
        connection.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        connection.read_to_end(&mut answer).unwrap();
        answer
    }

    pub fn stop(&mut self) {
        let _ = self.child.kill();
        self.child.wait().unwrap();
    }

    /// On the same port, with what its file holds: without a file nothing.
    pub fn restart(&mut self) {
        self.stop();
        self.child = start(self.port, &self.dir, self.memory);
        assert!(self.answers(), "it starts again");
    }

    /// On the same port, with nothing in it.
    pub fn restart_empty(&mut self) {
        self.stop();
        let _ = fs::remove_dir_all(self.dir.path().join(FOLDER));
        self.restart();
    }

    /// What a crash at this moment would leave.
    pub fn backup(&self) -> Backup {
        let to = tempfile::tempdir().unwrap();
        copy(&self.dir.path().join(FOLDER), &to.path().join(FOLDER)).unwrap();
        Backup(to)
    }

    /// On the same port, as it was when the backup was made: whatever was written since is lost.
    pub fn restart_from(&mut self, backup: &Backup) {
        self.stop();
        fs::remove_dir_all(self.dir.path().join(FOLDER)).unwrap();
        copy(&backup.0.path().join(FOLDER), &self.dir.path().join(FOLDER)).unwrap();
        self.restart();
    }

    pub fn pause(&self) {
        kill_process(self.pid(), Signal::STOP).unwrap();
    }

    pub fn resume(&self) {
        kill_process(self.pid(), Signal::CONT).unwrap();
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    fn answers(&mut self) -> bool {
        let begin = Instant::now();
        while begin.elapsed() < START_TIME_MAX && self.child.try_wait().unwrap().is_none() {
            if pong(self.port).is_some() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        false
    }
}

fn start(port: u16, dir: &TempDir, memory: Memory) -> Child {
    let (port, appends) = (port.to_string(), if memory == Memory::File { "yes" } else { "no" });
    let mut command = Command::new(PROGRAM);
    command.args(["--port", &port, "--bind", "127.0.0.1", "--save", "", "--appendonly", appends]);
    // A rewrite would change the files while they are copied.
    command.args(["--appendfsync", "everysec", "--auto-aof-rewrite-percentage", "0", "--dir"]).arg(dir.path());
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        fs::copy(entry.path(), to.join(entry.file_name()))?;
    }
    Ok(())
}

/// A command as the protocol writes it.
pub fn encoded(command: &[&str]) -> String {
    let words = command.iter().map(|word| format!("${}\r\n{word}\r\n", word.len()));
    format!("*{}\r\n{}", command.len(), words.collect::<String>())
}

fn pong(port: u16) -> Option<()> {
    let mut connection = TcpStream::connect(("127.0.0.1", port)).ok()?;
    connection.set_read_timeout(Some(Duration::from_secs(1))).ok()?;
    connection.write_all(b"PING\r\n").ok()?;
    let mut answer = [0; 7];
    connection.read_exact(&mut answer).ok()?;
    (&answer == b"+PONG\r\n").then_some(())
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.stop();
    }
}
