//! Baileys shares no line with whatsapp-rust or the simulator: what it accepts is not our misunderstanding of ourselves.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use serde_json::Value;
use tautan_simulator::{CodeError, Fault, Simulator};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::DEADLINE;

/// Where Baileys is installed: outside the source tree, and kept from run to run. `None` without Node.
fn installed() -> Option<&'static Path> {
    static INSTALLED: OnceLock<Option<PathBuf>> = OnceLock::new();
    INSTALLED.get_or_init(install).as_deref()
}

fn install() -> Option<PathBuf> {
    let has_node = ["node", "npm"].iter().all(|program| {
        let found = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        found.is_ok_and(|status| status.success())
    });
    if !has_node {
        assert!(std::env::var_os("CI").is_none(), "the Baileys tests need `node` and `npm` on the PATH");
        println!("NOT RUN: `node` or `npm` is missing");
        return None;
    }
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("baileys");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("baileys");
    std::fs::create_dir_all(&folder).expect("the target directory can be written");
    let lock = std::fs::read(source.join("package-lock.json")).expect("the lock file is there");
    // npm writes this last, so an installation that was cut off is made again, as is one from another lock file.
    let stamp = folder.join("installed-lock.json");
    for file in ["package.json", "package-lock.json", "strict.mjs", "client.mjs"] {
        std::fs::copy(source.join(file), folder.join(file)).expect("the scripts can be copied");
    }
    if std::fs::read(&stamp).ok().as_ref() != Some(&lock) {
        let npm = Command::new("npm")
            .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"])
            .current_dir(&folder)
            .output()
            .expect("npm starts");
        assert!(npm.status.success(), "npm ci failed:\n{}", String::from_utf8_lossy(&npm.stderr));
        std::fs::write(&stamp, lock).expect("the target directory can be written");
    }
    Some(folder)
}

/// A node process whose facts are read line by line.
struct Baileys {
    child: Child,
    facts: mpsc::UnboundedReceiver<Value>,
}

impl Baileys {
    fn start(folder: &Path, sim: &Simulator, root: [u8; 32]) -> Self {
        Self::start_with(folder, sim, root, &[])
    }

    fn start_with(folder: &Path, sim: &Simulator, root: [u8; 32], more: &[&str]) -> Self {
        let root: String = root.iter().map(|byte| format!("{byte:02x}")).collect();
        let mut child = Command::new("node")
            .args(["client.mjs", &sim.url(), &root])
            .args(more)
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("node starts");
        let stdout = child.stdout.take().expect("stdout is piped");
        let (sender, facts) = mpsc::unbounded_channel();
        // Ends with the process, whose stdout it reads.
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if let Ok(fact) = serde_json::from_str(&line) {
                    let _ = sender.send(fact);
                }
            }
        });
        Self { child, facts }
    }

    /// The next fact that has this key. The others are kept so that a failure says what happened instead.
    async fn fact(&mut self, key: &str) -> Value {
        let mut others = Vec::new();
        let wait = async {
            while let Some(fact) = self.facts.recv().await {
                if fact.get(key).is_some() {
                    return Some(fact);
                }
                others.push(fact);
            }
            None
        };
        let found = timeout(DEADLINE, wait).await.ok().flatten();
        found.unwrap_or_else(|| panic!("Baileys never said {key}, but {others:?}"))
    }

    async fn text(&mut self, key: &str) -> String {
        self.fact(key).await[key].as_str().expect("a text").to_owned()
    }

    /// Why it gave up.
    async fn closed(&mut self) -> (u64, String) {
        let closed = self.fact("closed").await;
        (closed["closed"].as_u64().unwrap_or(0), closed["reason"].as_str().unwrap_or_default().to_owned())
    }
}

impl Drop for Baileys {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn baileys_in_strict_mode_pairs_opens_and_decrypts() {
    let Some(folder) = installed() else { return };
    let sim = Simulator::start().await.unwrap();
    let phone = sim.phone("6281234567890", "Toko Sari");
    let mut baileys = Baileys::start(folder, &sim, sim.root_public_key());
    let device = phone.scan(&baileys.text("qr").await).await.unwrap();
    assert_eq!(baileys.text("open").await, device.to_string());
    assert_eq!(phone.devices(), [device]);
    phone.send_text(device, "halo").await.unwrap();
    assert_eq!(baileys.text("text").await, "halo");
    let stranger = sim.phone("6289876543210", "Budi");
    stranger.send_text(device, "dari Budi").await.unwrap();
    assert_eq!(baileys.text("text").await, "dari Budi");
    assert!(phone.unlink(device));
    assert_eq!(baileys.closed().await.0, 401);
}

#[tokio::test]
async fn strict_baileys_pairs_by_a_code_and_not_by_a_wrong_one() {
    let Some(folder) = installed() else { return };
    let sim = Simulator::start().await.unwrap();
    let phone = sim.phone("6281234567890", "Toko Sari");
    let mut baileys = Baileys::start_with(folder, &sim, sim.root_public_key(), &["6281234567890"]);
    let code = baileys.text("code").await;
    // It tells its code before the server has it.
    sim.wait_until(DEADLINE, |sim| sim.codes_requested() == 1).await.unwrap();
    let other = if code.starts_with('A') { "B" } else { "A" };
    assert_eq!(phone.enter_code(&format!("{other}{}", &code[1..])).await, Err(CodeError::Wrong));
    let device = phone.enter_code(&code).await.unwrap();
    assert_eq!(baileys.text("open").await, device.to_string());
    phone.send_text(device, "halo").await.unwrap();
    assert_eq!(baileys.text("text").await, "halo");
}

#[tokio::test]
async fn baileys_in_strict_mode_refuses_a_corrupted_account_signature() {
    let Some(folder) = installed() else { return };
    let sim = Simulator::start().await.unwrap();
    let phone = sim.phone("6281234567890", "Toko Sari");
    sim.faults().set(Fault::CorruptSignature);
    let mut baileys = Baileys::start(folder, &sim, sim.root_public_key());
    let scanned = phone.scan(&baileys.text("qr").await).await;
    assert!(scanned.is_err(), "{scanned:?}");
    assert!(phone.devices().is_empty());
    assert_eq!(baileys.closed().await.1, "Failed to verify account signature");
}

#[tokio::test]
async fn baileys_in_strict_mode_refuses_a_foreign_certificate_root() {
    let Some(folder) = installed() else { return };
    let sim = Simulator::start().await.unwrap();
    let stranger = Simulator::start().await.unwrap();
    let mut baileys = Baileys::start(folder, &sim, stranger.root_public_key());
    assert_eq!(baileys.closed().await.1, "noise intermediate certificate signature invalid");
    assert_eq!(sim.refs_handed_out(), 0);
}
