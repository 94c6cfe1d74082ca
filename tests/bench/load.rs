//! The load generator as a process of its own, so that its work is not counted as the server's.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::OnceLock,
};

use serde_json::Value;
use tautan_test_support::SECRET;

/// Built alone: it is what a user builds.
pub fn program() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        // What cargo tells a test of the test's own package would make build scripts run again.
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy();
            if name.starts_with("CARGO_MANIFEST_") || name.starts_with("CARGO_PKG_") {
                command.env_remove(&*name);
            }
        }
        let build = ["build", "--quiet", "--release", "--package", "tautan-load"];
        let built = command.args(build).current_dir(env!("CARGO_MANIFEST_DIR")).status().expect("cargo runs");
        assert!(built.success(), "tautan-load does not build");
        let executable = std::env::current_exe().expect("this process has an executable");
        executable.ancestors().nth(3).expect("it lies in the target directory").join("release/tautan-load")
    })
}

/// Runs one command of it, and prints the command and what it measured.
pub fn run(words: &str) -> Value {
    println!("$ tautan-load {words}");
    let output = children_end(program())
        .args(words.split(' '))
        .arg("--json")
        .env("JWT_SECRET", SECRET)
        .stderr(Stdio::inherit())
        .output()
        .expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout);
    println!("  {}", text.trim_end());
    assert!(output.status.success(), "tautan-load failed");
    serde_json::from_str(&text).expect("one line of JSON")
}

/// A command that the kernel ends when this process ends, however it does.
pub fn children_end(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]).arg(program);
    command
}

/// A process that is killed when dropped.
pub struct Killed(pub Child);

impl Killed {
    pub fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Killed {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
