//! A real Redis for each test, gone with it.

use std::{
    fs, io,
    io::{Read as _, Write as _},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::deployment::{REDIS, RedisNode};

/// Where it keeps its append-only file, inside its directory.
const FOLDER: &str = "appendonlydir";
const SAVE_TIME_MAX: Duration = Duration::from_secs(20);

pub struct RedisServer {
    node: RedisNode,
    pub port: u16,
}

/// A server's append-only file as it was at one moment.
pub struct Backup(TempDir);

/// Logs once for each test if there is no Redis, and fails the test in CI, where half of the promises would be hidden.
pub fn redis_is_installed() -> bool {
    let found = Command::new(REDIS).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    let found = found.is_ok_and(|status| status.success());
    if !found {
        assert!(std::env::var_os("CI").is_none(), "{REDIS} is not installed");
        println!("NOT RUN: {REDIS} is not installed");
    }
    found
}

impl RedisServer {
    pub fn start() -> Self {
        Self::start_with("no")
    }

    /// One that keeps an append-only file, synced every second as the documentation of the program asks for, so that a
    /// restart brings back what was there.
    pub fn start_durable() -> Self {
        Self::start_with("yes")
    }

    fn start_with(appends: &str) -> Self {
        let appends = format!("appendonly {appends}");
        // A rewrite would change the files while they are copied.
        let settings = ["save \"\"", &appends, "appendfsync everysec", "auto-aof-rewrite-percentage 0"];
        let node = RedisNode::start(&settings);
        Self { port: node.port, node }
    }

    pub fn url(&self) -> String {
        self.node.url()
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
        self.node.stop();
    }

    /// Restarts it on the same port with the data of its file; without a file it is empty.
    pub fn restart(&mut self) {
        self.node.start_again();
    }

    /// On the same port, with nothing in it.
    pub fn restart_empty(&mut self) {
        self.stop();
        let _ = fs::remove_dir_all(self.node.dir().join(FOLDER));
        self.restart();
    }

    /// The file as a crash at this moment would leave it, with all writes that were answered.
    pub fn backup(&self) -> Backup {
        // Redis keeps answered writes in memory while the disk is busy.
        let is_written =
            || String::from_utf8_lossy(&self.ask(&["INFO", "persistence"])).contains("aof_buffer_length:0\r");
        while !is_written() {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        let to = tempfile::tempdir().unwrap();
        copy(&self.node.dir().join(FOLDER), &to.path().join(FOLDER)).unwrap();
        Backup(to)
    }

    /// On the same port, as it was when the backup was made: whatever was written since is lost.
    pub fn restart_from(&mut self, backup: &Backup) {
        self.stop();
        fs::remove_dir_all(self.node.dir().join(FOLDER)).unwrap();
        copy(&backup.0.path().join(FOLDER), &self.node.dir().join(FOLDER)).unwrap();
        self.restart();
    }

    /// A replica that was promoted at this moment.
    pub fn promoted(&self) -> RedisNode {
        let replica = RedisNode::start(&["save \"\""]);
        replica.follow(&self.node);
        replica
    }

    /// Follows the promoted replica and is the master again: whatever was written here since is lost.
    pub fn return_from(&self, replica: &RedisNode) {
        self.node.follow(replica);
    }

    pub fn pause(&self) {
        self.node.pause();
    }

    pub fn resume(&self) {
        self.node.resume();
    }

    pub fn set(&self, setting: &str, value: &str) {
        self.does(&["CONFIG", "SET", setting, value]);
    }

    /// From here on it refuses writes, as with a full disk: a snapshot cannot be moved to where a folder is.
    pub fn break_snapshots(&self) {
        fs::create_dir(self.snapshot()).unwrap();
        self.set("save", "3600 1");
        self.saves("err");
    }

    pub fn mend_snapshots(&self) {
        fs::remove_dir(self.snapshot()).unwrap();
        self.saves("ok");
    }

    fn snapshot(&self) -> PathBuf {
        self.node.dir().join("dump.rdb")
    }

    fn saves(&self, status: &str) {
        self.ask(&["BGSAVE"]);
        let (begin, wanted) = (Instant::now(), format!("rdb_last_bgsave_status:{status}\r\n"));
        while !String::from_utf8_lossy(&self.ask(&["INFO", "persistence"])).contains(&wanted) {
            assert!(begin.elapsed() < SAVE_TIME_MAX, "the snapshot ends {status}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Keeps it busy with a script for so long, and returns when it is over.
    pub fn run_slow_script(&self, time: Duration) {
        const SCRIPT: &str = "local began = redis.call('TIME') \
                              repeat local now = redis.call('TIME') \
                              until (now[1] - began[1]) * 1000000 + now[2] - began[2] >= tonumber(ARGV[1]) \
                              return redis.status_reply('OK')";
        self.does(&["EVAL", SCRIPT, "0", &time.as_micros().to_string()]);
    }

    /// A command that is answered `OK`.
    pub fn does(&self, command: &[&str]) {
        let answer = String::from_utf8_lossy(&self.ask(command)).into_owned();
        assert!(answer.starts_with("+OK"), "{command:?}: {answer}");
    }
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
