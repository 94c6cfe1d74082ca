//! A bash into which the blocks of documents are pasted, as a new operator does it.

use std::{
    fs,
    io::Write as _,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process_group};
use tautan_test_support::{Binary, FencedBlock, Port};
use tempfile::TempDir;

/// Longer than the longest block takes on a busy machine, and short enough for a loop in one that never ends.
const BLOCK_TIME_MAX: Duration = Duration::from_secs(90);
/// What a block runs besides the program and the demo.
const COMMANDS: [&str; 8] = ["redis-server", "redis-cli", "caddy", "curl", "jq", "openssl", "tar", "shred"];
/// The variables of ports, which the documents give defaults.
const PORTS: [&str; 5] = ["PORT", "FIRST", "SECOND", "REDIS_PORT", "WHATSAPP_PORT"];
const DONE: &str = "--- done";

/// Everything that was started in it ends with it.
pub struct Shell {
    bash: Child,
    input: ChildStdin,
    output: Receiver<String>,
    directory: TempDir,
    _ports: Vec<Port>,
}

impl Shell {
    /// In a fresh directory, with ports that are free. `None`: a command is missing, which fails the test in CI.
    pub fn start(settings: &[(&str, &str)]) -> Option<Self> {
        let is_missing = |command: &&str| {
            let found = Command::new("bash").args(["-c", "command -v \"$0\"", command]).output().expect("bash runs");
            !found.status.success()
        };
        if let Some(missing) = COMMANDS.iter().copied().find(is_missing) {
            assert!(std::env::var_os("CI").is_none(), "{missing} is not installed");
            println!("NOT RUN: {missing} is not installed");
            return None;
        }
        let directory = tempfile::tempdir().expect("a directory");
        let ports: Vec<Port> = PORTS.iter().map(|_| Port::reserve()).collect();
        let mut command = Command::new("bash");
        // Another group: a signal then reaches whatever the blocks have started, and nothing else.
        command.arg("-eEu").args(["-o", "pipefail"]).process_group(0).current_dir(env!("CARGO_MANIFEST_DIR"));
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("HOME", directory.path()).env("HERE", directory.path().join("here"));
        command.env("PROGRAM", Binary::Sim.path()).env("DEMO", Binary::Demo.path());
        command.envs(PORTS.iter().zip(&ports).map(|(name, port)| (name, port.number.to_string())));
        command.envs(settings.iter().copied());
        let mut bash = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("bash runs");
        let input = bash.stdin.take().expect("piped");
        let stdout = bash.stdout.take().expect("piped");
        let (sender, output) = channel();
        std::thread::spawn(move || {
            for line in std::io::BufRead::lines(std::io::BufReader::new(stdout)).map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let mut shell = Self { bash, input, output, directory, _ports: ports };
        shell.write(r#"trap 'echo "FAILED: $BASH_COMMAND" >&2' ERR"#);
        Some(shell)
    }

    /// Where the blocks work.
    pub fn here(&self) -> PathBuf {
        self.directory.path().join("here")
    }

    /// Runs all commands of the section, and returns what they printed.
    #[track_caller]
    pub fn run_section(&mut self, document: &str, heading: &str) -> String {
        section(document, heading).iter().map(|block| self.run(block)).collect()
    }

    /// Runs the block to its end, and returns what its commands printed.
    #[track_caller]
    pub fn run(&mut self, block: &FencedBlock) -> String {
        let FencedBlock { document, heading, line, text, .. } = block;
        let (file, log) = (self.directory.path().join(document), self.directory.path().join("printed"));
        fs::create_dir_all(file.parent().expect("it is in a directory")).expect("it can be made");
        // Below empty lines, so that bash names the line of the document.
        fs::write(&file, "\n".repeat(line - 1) + text).expect("it can be written");
        // Processes that the block leaves in the background keep its output, so it is no pipe.
        self.write(&format!(". '{}' </dev/null >'{}' 2>&1\necho '{DONE}'", file.display(), log.display()));
        let printed = || fs::read_to_string(&log).unwrap_or_default();
        let place = format!("the block in line {line} of {document} (\"{heading}\")");
        match self.output.recv_timeout(BLOCK_TIME_MAX) {
            Ok(done) => assert_eq!(done, DONE),
            Err(RecvTimeoutError::Timeout) => {
                panic!("{place} does not end:\n{text}\nIt printed:\n{}{}", printed(), self.logs())
            }
            Err(RecvTimeoutError::Disconnected) => {
                panic!("{place} fails:\n{text}\nIt printed:\n{}{}", printed(), self.logs())
            }
        }
        printed()
    }

    /// The ends of the logs that the blocks keep.
    fn logs(&self) -> String {
        let files = fs::read_dir(self.here()).into_iter().flatten().flatten().map(|entry| entry.path());
        let logs = files.filter(|file| file.extension().is_some_and(|extension| extension == "log"));
        let end = |file: PathBuf| {
            let text = fs::read_to_string(&file).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            format!("\n{}:\n{}\n", file.display(), lines[lines.len().saturating_sub(20)..].join("\n"))
        };
        logs.map(end).collect()
    }

    /// What a command of the test's own prints in this shell.
    #[track_caller]
    pub fn ask(&mut self, command: &str) -> String {
        let text = format!("{command}\n");
        let block = FencedBlock {
            document: "the-test.sh".to_owned(),
            heading: "a command of the test".to_owned(),
            line: 1,
            info: String::new(),
            text,
        };
        self.run(&block).trim().to_owned()
    }

    fn write(&mut self, line: &str) {
        // A bash that has ended is seen by its output.
        let _ = writeln!(self.input, "{line}");
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        // It may have ended already, with all that it started.
        let _ = kill_process_group(Pid::from_child(&self.bash), Signal::KILL);
        let _ = self.bash.wait();
    }
}

/// The text of a document, by its path from the root.
pub fn document(path: &str) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(file).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The blocks below this heading that a test can run.
#[track_caller]
pub fn section(path: &str, heading: &str) -> Vec<FencedBlock> {
    let mut blocks = FencedBlock::all(path, &document(path));
    blocks.retain(|block| block.info == "sh" && block.heading == heading);
    assert!(!blocks.is_empty(), "{path} has no commands below {heading:?}");
    blocks
}
