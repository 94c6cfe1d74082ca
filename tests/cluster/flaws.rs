//! The history check is proved on planted faults (`ci/flaws.sh`, in `make long`). Here only that they can still be planted.

use std::{fs, path::Path, process::Command};

const FLAWS: usize = 10;

#[test]
fn every_planted_flaw_still_applies_to_the_sources() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let patches = fs::read_dir(root.join("tests/cluster/flaws")).expect("a folder of patches");
    let patches: Vec<_> = patches.map(|entry| entry.expect("an entry").path()).collect();
    assert_eq!(patches.len(), FLAWS);
    for patch in patches {
        let check = Command::new("git").args(["apply", "--check"]).arg(&patch).current_dir(root).output();
        let check = check.expect("git runs");
        assert!(check.status.success(), "{}: {}", patch.display(), String::from_utf8_lossy(&check.stderr));
    }
}
