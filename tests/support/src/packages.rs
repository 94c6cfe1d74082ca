//! Programs of other projects that tests compare with: pinned in the repository with the hashes of the downloads,
//! installed through npm and pip outside the source tree, and kept from run to run.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Installs `package-lock.json` of `source` into `folder`, which it returns. `None`: there is no node or npm, and this has
/// said so.
pub fn npm_packages(source: &Path, folder: &Path) -> Option<PathBuf> {
    needs(&["node", "npm"])?;
    install(source, folder, &["package.json", "package-lock.json"], |folder| {
        run(Command::new("npm").args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]).current_dir(folder));
    });
    Some(folder.to_owned())
}

/// Installs `requirements.txt` of `source` into a virtual environment in `folder`; its interpreter. `None`: there is no
/// Python with venv, and this has said so.
pub fn pip_packages(source: &Path, folder: &Path) -> Option<PathBuf> {
    needs(&["python3"])?;
    let has_venv = Command::new("python3").args(["-c", "import ensurepip, venv"]).stderr(Stdio::null()).status();
    if !has_venv.is_ok_and(|status| status.success()) {
        return not_run("python3-venv");
    }
    let python = folder.join("venv/bin/python");
    install(source, folder, &["requirements.txt"], |folder| {
        run(Command::new("python3").args(["-m", "venv", "--clear", "venv"]).current_dir(folder));
        let pip = "-m pip install --quiet --no-compile --require-hashes --requirement requirements.txt";
        run(Command::new(&python).args(pip.split(' ')).current_dir(folder));
    });
    Some(python)
}

fn needs(programs: &[&str]) -> Option<()> {
    for program in programs {
        let found = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        if !found.is_ok_and(|status| status.success()) {
            return not_run(program);
        }
    }
    Some(())
}

fn not_run<T>(missing: &str) -> Option<T> {
    println!("NOT RUN: {missing} is not installed");
    assert!(std::env::var_os("CI").is_none(), "a test was not run, and this is CI");
    None
}

/// The last of the files is the lock. A copy of it is written when all is installed, so an installation that was cut off
/// is made again, as is one from another lock.
fn install(source: &Path, folder: &Path, files: &[&str], fetch: impl FnOnce(&Path)) {
    fs::create_dir_all(folder).expect("the target directory can be written");
    let stamp = folder.join("installed");
    let lock = fs::read(source.join(files.last().expect("a lock"))).expect("the lock is there");
    if fs::read(&stamp).is_ok_and(|installed| installed == lock) {
        return;
    }
    for file in files {
        fs::copy(source.join(file), folder.join(file)).expect("the target directory can be written");
    }
    fetch(folder);
    fs::write(stamp, lock).expect("the target directory can be written");
}

fn run(command: &mut Command) {
    let ran = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(ran.status.success(), "{command:?} failed:\n{}", String::from_utf8_lossy(&ran.stderr));
}
