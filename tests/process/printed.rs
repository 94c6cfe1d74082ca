use std::{
    io::{self, BufRead as _, BufReader},
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    time::{Duration, Instant},
};

use tautan_test_support::DEADLINE;

/// Reads the lines of another program, which is killed when this is dropped.
pub struct Printed {
    child: Child,
    lines: Receiver<String>,
}

impl Drop for Printed {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Printed {
    pub fn by(command: &mut Command) -> io::Result<Self> {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let (sender, lines) = channel();
        let stdout = child.stdout.take().expect("piped");
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line.trim_end_matches('\r').to_owned()).is_err() {
                    return;
                }
            }
        });
        Ok(Self { child, lines })
    }

    /// The next line, if one comes in this time.
    pub fn next(&self, time: Duration) -> Result<String, RecvTimeoutError> {
        self.lines.recv_timeout(time)
    }

    /// Lines up to the first that is wanted, which is the last of them. The deadline holds for all: heartbeats come for
    /// ever, so a deadline for each line would never pass.
    pub fn until(&self, what: &str, wanted: impl Fn(&str) -> bool) -> Vec<String> {
        let until = Instant::now() + DEADLINE;
        let mut lines: Vec<String> = Vec::new();
        while !lines.last().is_some_and(|line| wanted(line)) {
            match self.lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(line) => lines.push(line),
                Err(error) => panic!("{what} was not printed ({error}), but {lines:#?}"),
            }
        }
        lines
    }
}
