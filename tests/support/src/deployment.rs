//! Redis in other deployments: with its own arguments, behind TLS, watched by sentinels. Each process ends with its
//! test.

use std::{
    fs, io,
    io::{Read as _, Write as _},
    net::{Shutdown, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::{port::Port, redis::encoded};

pub const REDIS: &str = "redis-server";
const START_TIME_MAX: Duration = Duration::from_secs(20);
const SENTINELS: usize = 3;
/// The name that the sentinels know the master by.
pub const SERVICE: &str = "shop";

/// A server, or a sentinel, with the configuration it is given.
pub struct RedisNode {
    program: &'static str,
    child: Child,
    pub port: u16,
    dir: TempDir,
    tls: bool,
    _reserved: Port,
}

impl RedisNode {
    /// `settings`: lines of its configuration file.
    pub fn start(settings: &[&str]) -> Self {
        Self::start_as(REDIS, |_, _| settings.iter().map(|line| (*line).to_owned()).collect())
    }

    /// On a certificate that is for 127.0.0.1, and on nothing else.
    pub fn start_with_tls(certificates: &Certificates, settings: &[&str]) -> Self {
        Self::start_as(REDIS, |port, _| certificates.lines(port, settings))
    }

    /// One sentinel alone.
    pub fn start_sentinel(master: &Self) -> Self {
        Self::start_as("redis-sentinel", |_, _| vec![watch_alone(master)])
    }

    /// The same, behind TLS like the master that it watches.
    pub fn start_sentinel_with_tls(certificates: &Certificates, master: &Self) -> Self {
        let watch = watch_alone(master);
        Self::start_as("redis-sentinel", |port, _| certificates.lines(port, &["tls-replication yes", &watch]))
    }

    fn start_as(program: &'static str, settings: impl Fn(u16, &Path) -> Vec<String>) -> Self {
        let (dir, reserved) = (tempfile::tempdir().unwrap(), Port::reserve());
        let port = reserved.number;
        let mut lines = settings(port, dir.path());
        let tls = lines.iter().any(|line| line.starts_with("tls-port"));
        lines.push(format!("port {}", if tls { 0 } else { port }));
        lines.push("bind 127.0.0.1".to_owned());
        lines.push(format!("dir {}", dir.path().display()));
        fs::write(dir.path().join("conf"), lines.join("\n") + "\n").unwrap();
        let child = spawn(program, &dir);
        let mut node = Self { program, child, port, dir, tls, _reserved: reserved };
        assert!(node.is_up(), "it starts");
        node
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    /// The raw answer, where neither a password nor TLS stands before it.
    pub fn ask(&self, command: &[&str]) -> String {
        let mut connection = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        let mut answer = Vec::new();
        // The connection ends with the answer, where a sentinel knows no QUIT; and before it where the sentinels make the
        // server a master or a replica, which cuts off its clients.
        let asked = connection.write_all(encoded(command).as_bytes());
        let _ = asked
            .and_then(|()| connection.shutdown(Shutdown::Write))
            .and_then(|()| connection.read_to_end(&mut answer));
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// Waits until this replica has applied all that its master has taken so far. That their link is up says less: it is
    /// up as soon as the replica has loaded the first snapshot, and what the master took since is still on its way.
    pub fn catches_up_with(&self, master: &Self) {
        let taken = master.offset("master_repl_offset").expect("a master counts what it takes");
        wait_for("the replica to have it all", || {
            self.replication().contains("master_link_status:up")
                && self.offset("slave_repl_offset").is_some_and(|applied| applied >= taken)
        });
    }

    /// Takes over the other one's data and is a master again, as after two failovers. Clients stay connected.
    pub fn follow(&self, other: &Self) {
        assert!(
            other.ask(&["CONFIG", "SET", "repl-diskless-sync", "no"]).starts_with("+OK"),
            "the copy begins at once"
        );
        assert!(self.ask(&["REPLICAOF", "127.0.0.1", &other.port.to_string()]).starts_with("+OK"));
        self.catches_up_with(other);
        assert!(self.ask(&["REPLICAOF", "NO", "ONE"]).starts_with("+OK"));
    }

    fn offset(&self, field: &str) -> Option<u64> {
        self.replication().lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':')?.parse().ok())
    }

    fn replication(&self) -> String {
        self.ask(&["INFO", "replication"])
    }

    pub fn stop(&mut self) {
        let _ = self.child.kill();
        self.child.wait().unwrap();
    }

    /// Restarts it on the same port with the data that it last wrote.
    pub fn start_again(&mut self) {
        self.stop();
        self.child = spawn(self.program, &self.dir);
        assert!(self.is_up(), "it starts again");
    }

    pub fn pause(&self) {
        kill_process(Pid::from_child(&self.child), Signal::STOP).unwrap();
    }

    pub fn resume(&self) {
        kill_process(Pid::from_child(&self.child), Signal::CONT).unwrap();
    }

    fn is_up(&mut self) -> bool {
        let begin = Instant::now();
        while begin.elapsed() < START_TIME_MAX && self.child.try_wait().unwrap().is_none() {
            if self.answers().is_ok_and(|answers| answers) {
                return true;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        false
    }
}

impl RedisNode {
    /// Behind TLS it is only seen to listen. Any answer will do but that it still reads its file.
    fn answers(&self) -> io::Result<bool> {
        let mut connection = TcpStream::connect(("127.0.0.1", self.port))?;
        if self.tls {
            return Ok(true);
        }
        connection.set_read_timeout(Some(Duration::from_secs(1)))?;
        connection.write_all(b"PING\r\n")?;
        let mut answer = [0; 5];
        connection.read_exact(&mut answer)?;
        Ok(&answer != b"-LOAD")
    }
}

impl Drop for RedisNode {
    fn drop(&mut self) {
        self.stop();
    }
}

fn watch_alone(master: &RedisNode) -> String {
    format!("sentinel monitor {SERVICE} 127.0.0.1 {} 1", master.port)
}

fn spawn(program: &str, dir: &TempDir) -> Child {
    let mut command = Command::new(program);
    command.arg(dir.path().join("conf")).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// A root of its own and a certificate for 127.0.0.1 from it.
pub struct Certificates(TempDir);

impl Certificates {
    pub fn new() -> Self {
        let made = Self(tempfile::tempdir().unwrap());
        let curve = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -batch";
        made.openssl(&format!("req -x509 {curve} -keyout ca.key -out ca.pem -days 2 -subj /CN=root"));
        made.openssl(&format!("req {curve} -keyout leaf.key -out leaf.csr -subj /CN=redis"));
        fs::write(made.path("leaf.ext"), "basicConstraints=critical,CA:FALSE\nsubjectAltName=IP:127.0.0.1\n").unwrap();
        made.openssl(
            "x509 -req -in leaf.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile leaf.ext -out leaf.pem",
        );
        made
    }

    /// The root, as `SSL_CERT_FILE` names it.
    pub fn root(&self) -> String {
        self.path("ca.pem").display().to_string()
    }

    pub fn path(&self, file: &str) -> PathBuf {
        self.0.path().join(file)
    }

    /// A configuration file's, before further settings.
    fn lines(&self, port: u16, settings: &[&str]) -> Vec<String> {
        let mut lines = vec![format!("tls-port {port}"), "tls-auth-clients no".to_owned()];
        for (name, file) in
            [("tls-ca-cert-file", "ca.pem"), ("tls-cert-file", "leaf.pem"), ("tls-key-file", "leaf.key")]
        {
            lines.push(format!("{name} {}", self.path(file).display()));
        }
        lines.extend(settings.iter().map(|line| (*line).to_owned()));
        lines
    }

    fn openssl(&self, arguments: &str) {
        let mut command = Command::new("openssl");
        let ended = command.args(arguments.split(' ')).current_dir(self.0.path()).output().expect("openssl runs");
        assert!(ended.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&ended.stderr));
    }
}

impl Default for Certificates {
    fn default() -> Self {
        Self::new()
    }
}

/// A node of a busy machine that was not heard for half a second is not down, and what was not meant to fail over did.
const DOWN_AFTER_MS: u32 = 1_500;

/// A master, a replica, and three sentinels that watch them.
pub struct Watched {
    /// Which of them is the master changes.
    pub nodes: [RedisNode; 2],
    pub sentinels: Vec<RedisNode>,
}

impl Watched {
    pub fn start() -> Self {
        let settings = ["save \"\"", "appendonly no", "repl-diskless-sync-delay 0"];
        let master = RedisNode::start(&settings);
        let port = master.port;
        let following = format!("replicaof 127.0.0.1 {port}");
        let replica = RedisNode::start(&[settings.as_slice(), &[&following]].concat());
        let watch = |_, _: &Path| {
            vec![
                format!("sentinel monitor {SERVICE} 127.0.0.1 {port} 2"),
                format!("sentinel down-after-milliseconds {SERVICE} {DOWN_AFTER_MS}"),
                format!("sentinel failover-timeout {SERVICE} 3000"),
            ]
        };
        let sentinels: Vec<_> = (0..SENTINELS).map(|_| RedisNode::start_as("redis-sentinel", watch)).collect();
        let watched = Self { nodes: [master, replica], sentinels };
        watched.is_settled(0);
        watched
    }

    /// Waits until `master` is one, the other follows it, and every sentinel knows both and all others. What the other one
    /// said itself counts, not what a sentinel holds it to be: one that last heard it call itself a master makes it a
    /// replica later, and undoes what was decided meanwhile.
    pub fn is_settled(&self, master: usize) {
        let master_port = format!("\r\n{}\r\n", self.nodes[master].port);
        let settled = |sentinel: &RedisNode| {
            sentinel.ask(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE]).contains(&master_port)
                && sentinel.ask(&["SENTINEL", "CKQUORUM", SERVICE]).contains(&format!("OK {SENTINELS} usable"))
                && sentinel.ask(&["SENTINEL", "REPLICAS", SERVICE]).contains("\r\nrole-reported\r\n$5\r\nslave\r\n")
        };
        wait_for("the sentinels to know all", || self.sentinels.iter().all(settled));
        self.nodes[1 - master].catches_up_with(&self.nodes[master]);
    }

    /// Waits until the sentinels have made it the master.
    pub fn is_promoted(&self, node: usize) {
        wait_for("the promotion", || self.nodes[node].ask(&["ROLE"]).contains("\r\nmaster\r\n"));
    }

    pub fn url(&self) -> String {
        let hosts: Vec<_> = self.sentinels.iter().map(|sentinel| format!("127.0.0.1:{}", sentinel.port)).collect();
        format!("redis+sentinel://{}/{SERVICE}", hosts.join(","))
    }
}

/// Answers every connection with bytes that are not Redis's, until it is dropped.
pub fn stranger() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut connection in listener.incoming().map_while(Result::ok) {
            // The client may have disconnected.
            let _ = connection.read(&mut [0; 512]);
            let _ = connection.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n");
        }
    });
    port
}

fn wait_for(what: &str, mut so: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !so() {
        assert!(begin.elapsed() < Duration::from_secs(60), "in time: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
