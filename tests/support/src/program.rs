use std::{
    collections::VecDeque,
    io::{BufRead as _, BufReader, Write as _},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Condvar, Mutex, OnceLock},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::{Admin, Api, DEADLINE, SECRET};

/// Lines of the log that are kept.
const LINES_MAX: usize = 200_000;
/// Printed of each program of a test that fails.
const LINES_OF_A_FAILURE: usize = 200;
/// Most tests connect, disconnect and open streams more often than a user does. A test of a limit sets it, or removes it to
/// have the default.
const WIDE_LIMITS: [(&str, &str); 8] = [
    ("TAUTAN_LIMIT_NUMBER_CODES", "1000/10m"),
    ("TAUTAN_LIMIT_PAIR_CODES", "1000/10m"),
    ("TAUTAN_LIMIT_DIALS", "1000/10m"),
    ("TAUTAN_LIMIT_COMMANDS", "10000/s"),
    ("TAUTAN_LIMIT_COMMAND_BURST", "10000"),
    ("TAUTAN_LIMIT_READS", "10000/s"),
    ("TAUTAN_LIMIT_READ_BURST", "10000"),
    ("TAUTAN_LIMIT_STREAM_OPENINGS", "100000/1m"),
];
const LISTENING: &str = "\"listening\"";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binary {
    /// `tautan-sim`, the program built for the simulator.
    Sim,
    /// The same in release, for figures.
    SimRelease,
    /// The demo: the whole service beside a simulator of its own.
    Demo,
    /// `tautan-sim` of a later version, which `ci/later.sh` builds.
    Later,
}

impl Binary {
    /// Builds what is missing: a test that is run by its name alone has no example built before it.
    pub fn path(self) -> PathBuf {
        // For programs with a planted flaw, which are built elsewhere.
        if let Some(other) = std::env::var_os("TAUTAN_SIM_PROGRAM").filter(|_| self == Self::Sim) {
            return other.into();
        }
        if self == Self::Later {
            return std::env::var_os("TAUTAN_LATER_PROGRAM").expect("ci/later.sh says where it is").into();
        }
        static BUILT: [OnceLock<PathBuf>; 3] = [const { OnceLock::new() }; 3];
        let (slot, example, profile, folder) = match self {
            Self::Sim => (&BUILT[0], "tautan-sim", "dev", "debug"),
            Self::SimRelease => (&BUILT[1], "tautan-sim", "release", "release"),
            Self::Demo => (&BUILT[2], "demo", "dev", "debug"),
            Self::Later => unreachable!("it is not built here"),
        };
        slot.get_or_init(|| {
            let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
            let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
            // The selection of `make test`: another one has other features, and most dependencies would be built again.
            let build = ["build", "--quiet", "--workspace", "--example", example, "--profile", profile];
            let mut command = Command::new(cargo);
            // What cargo tells a test of the test's own package would make build scripts run again that look at it, and
            // with them most dependencies, twice for each run: here, and at the next build outside.
            for (name, _) in std::env::vars_os() {
                let name = name.to_string_lossy();
                if name.starts_with("CARGO_MANIFEST_") || name.starts_with("CARGO_PKG_") {
                    command.env_remove(&*name);
                }
            }
            let built = command.args(build).current_dir(&root).status().expect("cargo runs");
            assert!(built.success(), "{example} does not build");
            // The tests' own executable lies in <target>/<profile>/deps.
            let executable = std::env::current_exe().expect("this process has an executable");
            let target = executable.ancestors().nth(3).expect("it lies in the target directory");
            target.join(folder).join("examples").join(example)
        })
        .clone()
    }
}

/// How the program is started.
pub struct Settings {
    pub binary: Binary,
    pub data_dir: PathBuf,
    pub whatsapp_url: String,
    pub environment: Vec<(String, String)>,
    /// A command that runs the program, with its own arguments.
    pub runner: Vec<String>,
    pub arguments: Vec<String>,
    /// The text of its standard input.
    pub input: String,
}

impl Settings {
    pub fn new(data_dir: &Path, whatsapp_url: &str) -> Self {
        Self {
            // Figures of a release build are those of the program in release.
            binary: if cfg!(debug_assertions) { Binary::Sim } else { Binary::SimRelease },
            data_dir: data_dir.to_owned(),
            whatsapp_url: whatsapp_url.to_owned(),
            environment: Vec::new(),
            runner: Vec::new(),
            arguments: Vec::new(),
            input: String::new(),
        }
    }

    /// `tautan erase` instead of the service.
    pub fn to_erase(mut self, input: &str) -> Self {
        self.input = input.to_owned();
        self.run(&["erase"])
    }

    /// With these arguments behind the program's name.
    pub fn run(mut self, arguments: &[&str]) -> Self {
        self.arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        self
    }

    /// Runs it by another command, such as `setsid`, which then is the process that signals go to.
    pub fn run_by(mut self, command: &[&str]) -> Self {
        self.runner = command.iter().map(|word| (*word).to_owned()).collect();
        self
    }

    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn binary(mut self, binary: Binary) -> Self {
        self.binary = binary;
        self
    }

    /// Starts it on a free port and returns once it listens.
    pub fn start(self) -> Program {
        self.spawn().listening()
    }

    /// Starts it without waiting: for starts that are meant to fail.
    pub fn spawn(self) -> Program {
        let mut words = self.runner.iter().map(Into::into).chain([self.binary.path().into_os_string()]);
        let mut command = Command::new(words.next().expect("the program itself"));
        command
            .args(words)
            .args(&self.arguments)
            .env_clear()
            .env("TAUTAN_LISTEN", "127.0.0.1:0")
            .env("TAUTAN_LOG", "json")
            .env("TAUTAN_DATA_DIR", &self.data_dir)
            .env("TAUTAN_WHATSAPP_URL", &self.whatsapp_url)
            .env("JWT_SECRET", SECRET)
            .envs(WIDE_LIMITS)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        for (name, value) in &self.environment {
            if value.is_empty() {
                command.env_remove(name);
            } else {
                command.env(name, value);
            }
        }
        let mut child = command.spawn().expect("the program starts");
        let mut stdin = child.stdin.take().expect("piped");
        // The service ends its input unread. Dropped, the input has an end.
        let _ = stdin.write_all(self.input.as_bytes());
        drop(stdin);
        let output = Arc::new(Output::default());
        let (stdout, stderr) = (child.stdout.take().expect("piped"), child.stderr.take().expect("piped"));
        let pipes = [Box::new(stdout) as Box<dyn std::io::Read + Send>, Box::new(stderr)];
        let readers = pipes.map(|pipe| {
            let output = output.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                    output.push(line);
                }
            })
        });
        Program {
            child,
            output,
            readers: readers.into(),
            base: String::new(),
            metrics: None,
            admin: None,
            data_dir: self.data_dir,
        }
    }
}

/// A running program; killed when dropped.
pub struct Program {
    child: Child,
    output: Arc<Output>,
    /// They end when the other ends of the pipes are closed.
    readers: Vec<JoinHandle<()>>,
    base: String,
    /// Where it exports metrics.
    metrics: Option<SocketAddr>,
    /// Where back ends reach it.
    admin: Option<SocketAddr>,
    pub data_dir: PathBuf,
}

#[derive(Default)]
struct Output {
    lines: Mutex<VecDeque<String>>,
    grown: Condvar,
}

impl Output {
    fn push(&self, line: String) {
        let mut lines = self.lines.lock().expect("no reader panics");
        if lines.len() < LINES_MAX {
            lines.push_back(line);
        }
        self.grown.notify_all();
    }
}

impl Program {
    fn listening(mut self) -> Self {
        let line = self.wait_for_line(LISTENING);
        self.listens_as(&line);
        self
    }

    /// For starts that may go wrong: false if it ended before it listened.
    pub fn comes_up(&mut self) -> bool {
        let line = self.find_line(LISTENING);
        if let Some(line) = &line {
            self.listens_as(line);
        }
        line.is_some()
    }

    fn listens_as(&mut self, line: &str) {
        let line: serde_json::Value = serde_json::from_str(line).expect("the log is JSON");
        self.base = format!("http://{}", line["address"].as_str().expect("the line says where"));
        let listener = |name: &str| line[name].as_str().map(|address| address.parse().expect("an address"));
        (self.metrics, self.admin) = (listener("metrics"), listener("admin"));
    }

    pub fn base(&self) -> &str {
        &self.base
    }

    pub fn address(&self) -> SocketAddr {
        self.base.strip_prefix("http://").and_then(|address| address.parse().ok()).expect("it listens")
    }

    /// Where it exports metrics, if `TAUTAN_METRICS_LISTEN` is set.
    pub fn metrics_address(&self) -> SocketAddr {
        self.metrics.expect("it exports metrics")
    }

    /// A back end's client, if `TAUTAN_ADMIN_LISTEN` is set.
    pub fn admin(&self) -> Admin {
        Admin::new(self.admin.expect("it has a listener for back ends"))
    }

    /// Memory that is resident now.
    pub fn memory_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("the kernel says so");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn api(&self, tenant: &str) -> Api {
        Api::new(&self.base, tenant)
    }

    /// Everything it has printed, standard output and error.
    pub fn output(&self) -> Vec<String> {
        self.output.lines.lock().expect("no reader panics").iter().cloned().collect()
    }

    pub fn wait_for_line(&mut self, part: &str) -> String {
        self.find_line(part).unwrap_or_else(|| panic!("it ended without {part:?}: {:#?}", self.output()))
    }

    /// `None`: it ended without such a line.
    pub fn find_line(&mut self, part: &str) -> Option<String> {
        let until = Instant::now() + DEADLINE;
        let mut lines = self.output.lines.lock().expect("no reader panics");
        loop {
            if let Some(line) = lines.iter().find(|line| line.contains(part)) {
                return Some(line.clone());
            }
            let left = until.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "no line with {part:?} in {lines:#?}");
            // They push under the lock that is held here, so what they have pushed has been looked at.
            if self.readers.iter().all(JoinHandle::is_finished) {
                return None;
            }
            (lines, _) = self.output.grown.wait_timeout(lines, left.min(Duration::from_millis(50))).expect("no poison");
        }
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        // It may have ended already: then there is nothing to kill.
        let _ = self.child.kill();
        self.wait();
    }

    /// SIGTERM, as a deploy sends it.
    pub fn terminate(&mut self) {
        self.signal(Signal::TERM);
    }

    /// SIGSTOP: a machine that sleeps.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// SIGCONT.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it runs");
    }

    /// Waits for the end: its exit code (`None`: killed) and everything it printed.
    pub fn ended(&mut self) -> (Option<i32>, String) {
        let status = self.wait();
        for reader in self.readers.drain(..) {
            reader.join().expect("no reader panics");
        }
        (status.code(), self.output().join("\n"))
    }

    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("its state can be asked").is_some()
    }

    pub fn wait(&mut self) -> ExitStatus {
        let until = Instant::now() + DEADLINE;
        loop {
            if let Some(status) = self.child.try_wait().expect("its state can be asked") {
                return status;
            }
            assert!(Instant::now() < until, "it does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // A program that is gone already is what we want.
        let _ = self.child.kill();
        let _ = self.child.wait();
        // Without it a test that fails once in a hundred runs would leave nothing to find the cause by.
        if std::thread::panicking() {
            let output = self.output();
            let last = &output[output.len().saturating_sub(LINES_OF_A_FAILURE)..];
            println!("the last lines of {}:\n{}", self.base, last.join("\n"));
        }
    }
}
