//! The files in `deploy` name settings that exist, and give the program the time that a drain takes.

use std::{collections::BTreeSet, fs, path::PathBuf};

use tautan::config::Variable;

use tautan_test_support::FencedBlock;

use crate::{files, read, root};

/// A drain may take the drain delay and 25 s; the remaining tasks are ended within the other 5.
const AFTER_THE_DELAY_S: u64 = 30;
/// Variables that the files for Compose and Caddy define themselves.
pub const OTHERS: [&str; 2] = ["TAUTAN_DOMAIN", "TAUTAN_UPSTREAMS"];

const KUBERNETES: [&str; 2] = ["deploy/kubernetes/embedded.yaml", "deploy/kubernetes/redis.yaml"];
/// Of every Deployment.
const POD: &[&str] = &[
    "enableServiceLinks: false",
    "automountServiceAccountToken: false",
    "runAsNonRoot: true",
    "runAsUser: 10001",
    "readOnlyRootFilesystem: true",
    "allowPrivilegeEscalation: false",
    "capabilities: { drop: [ALL] }",
    "startupProbe:",
    "failureThreshold: 300",
    "livenessProbe:",
    "httpGet: { path: /healthz, port: http }",
    "readinessProbe:",
    "httpGet: { path: /readyz, port: http }",
    "- { name: JWT_SECRET_FILE, value: /run/secrets/tautan/jwt-secret }",
    "- { name: TAUTAN_ENCRYPTION_KEY_FILE, value: /run/secrets/tautan/encryption-key }",
    "- { name: secrets, mountPath: /run/secrets/tautan, readOnly: true }",
];
/// Lines that `docs/deployment.md` promises, by their file.
const PROMISED: &[(&str, &[&str])] = &[
    (
        "deploy/kubernetes/embedded.yaml",
        &["replicas: 1", "strategy: { type: Recreate }", "kind: PersistentVolumeClaim"],
    ),
    (
        "deploy/kubernetes/redis.yaml",
        &[
            "replicas: 2",
            "kind: PodDisruptionBudget",
            "maxUnavailable: 1",
            "rollingUpdate: { maxSurge: 1, maxUnavailable: 0 }",
            "- { name: REDIS_URL_FILE, value: /run/secrets/tautan/redis-url }",
        ],
    ),
    (
        "Dockerfile",
        &[
            "USER 10001:10001",
            "VOLUME /data",
            "STOPSIGNAL SIGTERM",
            "HEALTHCHECK --interval=10s --timeout=6s --start-period=5s --retries=3 CMD [\"/usr/local/bin/tautan\", \"healthcheck\"]",
        ],
    ),
    (
        "deploy/compose.yaml",
        &[
            "read_only: true",
            "cap_drop: [ALL]",
            "secrets: [jwt, encryption, redis_url]",
            "JWT_SECRET_FILE: /run/secrets/jwt",
            "TAUTAN_ENCRYPTION_KEY_FILE: /run/secrets/encryption",
            "REDIS_URL_FILE: /run/secrets/redis_url",
        ],
    ),
    (
        "deploy/systemd/tautan.service",
        &[
            "LoadCredential=jwt:/etc/tautan/jwt",
            "Environment=JWT_SECRET_FILE=%d/jwt",
            "DynamicUser=yes",
            "ProtectSystem=strict",
            "RestartPreventExitStatus=64",
        ],
    ),
    ("deploy/haproxy.cfg", &["option abortonclose", "option http-no-delay"]),
];

/// Every file with its text, without comments.
fn deployed() -> Vec<(PathBuf, String)> {
    let mut paths = vec![root().join("deploy/Caddyfile"), root().join("Dockerfile")];
    for extension in ["yaml", "conf", "cfg", "service"] {
        files(&root().join("deploy"), extension, &mut paths);
    }
    assert!(paths.len() >= 8, "the files were found: {paths:?}");
    let settings = |path: &PathBuf| {
        let text = fs::read_to_string(path).unwrap();
        text.lines().filter(|line| !line.trim_start().starts_with('#')).flat_map(|line| [line, "\n"]).collect()
    };
    paths.into_iter().map(|path| (path.clone(), settings(&path))).collect()
}

fn names(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !c.is_ascii_uppercase() && !c.is_ascii_digit() && c != '_');
    words.filter(|word| ["TAUTAN_", "JWT_", "REDIS_"].iter().any(|prefix| word.starts_with(prefix))).collect()
}

#[test]
fn deployed_files_name_settings_that_exist() {
    let mut named = 0;
    for (path, text) in deployed() {
        for name in names(&text).into_iter().filter(|name| !OTHERS.contains(name)) {
            named += 1;
            let is_file = |name: &str| {
                name.strip_suffix("_FILE").and_then(Variable::find).is_some_and(|variable| variable.secret)
            };
            assert!(Variable::find(name).is_some() || is_file(name), "{} names {name}", path.display());
        }
    }
    assert!(named > 20, "settings were read: {named}");
}

/// The number behind each `key: `, or `key=`.
fn seconds(text: &str, key: &str) -> Vec<u64> {
    let values = text.split(key).skip(1).map(|rest| rest.trim_start_matches([':', '=', ' ', ',', '"']));
    let digits = values.map(|rest| rest.chars().take_while(char::is_ascii_digit).collect::<String>());
    digits.filter_map(|digits| digits.parse().ok()).collect()
}

#[test]
fn supervisors_wait_longer_than_a_drain_takes() {
    let mut waits = 0;
    for (path, text) in deployed() {
        let delays = [seconds(&text, "TAUTAN_DRAIN_DELAY"), seconds(&text, "TAUTAN_DRAIN_DELAY, value")].concat();
        let delay = delays.into_iter().max().unwrap_or(0);
        for key in ["stop_grace_period", "terminationGracePeriodSeconds", "TimeoutStopSec"] {
            // The time of Redis has another reason.
            for wait in seconds(&text, key).into_iter().take(1) {
                waits += 1;
                assert!(wait >= delay + AFTER_THE_DELAY_S, "{}: {key} {wait} beside {delay} s", path.display());
            }
        }
    }
    assert_eq!(waits, 4, "each kind of supervisor was read");
}

#[test]
fn deployed_files_have_the_lines_that_are_promised() {
    let files = deployed();
    let promised = PROMISED.iter().copied().chain(KUBERNETES.map(|path| (path, POD)));
    for (path, lines) in promised {
        let (_, text) = files.iter().find(|(file, _)| file.ends_with(path)).unwrap_or_else(|| panic!("no {path}"));
        for line in lines {
            assert!(text.lines().any(|found| found.trim() == *line), "{path} lacks the line {line:?}");
        }
    }
    for path in KUBERNETES {
        let (_, text) = files.iter().find(|(file, _)| file.ends_with(path)).expect("it was read");
        let [startup, liveness] = ["startupProbe:", "livenessProbe:"].map(|probe| {
            let probe = text.split(probe).nth(1).expect("it stands there");
            seconds(probe, "periodSeconds")[0] * seconds(probe, "failureThreshold")[0]
        });
        assert_eq!((startup, liveness), (600, 30), "{path}: docs/deployment.md names ten minutes and 30 s");
    }
}

/// `ci/test.sh` measures the exposure of the unit and fails above its maximum.
#[test]
fn documented_exposure_is_the_one_that_is_held() {
    let (script, document) = (read("ci/test.sh"), read("docs/deployment.md"));
    let held = script.lines().find_map(|line| line.strip_prefix("EXPOSURE_MAX=")).expect("a maximum");
    assert!(document.contains(&format!("(`systemd-analyze security`: exposure {held})")), "exposure {held}");
}

/// The first block of the walk is run by hand: on a machine without one of these its last command fails.
#[test]
fn walk_installs_what_a_build_in_ci_installs() {
    let walk = FencedBlock::all("docs/operations.md", &read("docs/operations.md")).swap_remove(0);
    let words: BTreeSet<&str> = walk.text.split_whitespace().collect();
    let workflow = read(".github/workflows/ci.yml");
    let line = workflow.lines().find(|line| line.contains("apt-get install")).expect("CI installs packages");
    let (_, packages) = line.split_once("--no-install-recommends ").expect("behind the option");
    let walked = ["redis-server", "caddy", "jq", "openssl", "https://sh.rustup.rs"];
    for package in packages.split(' ').chain(walked) {
        assert!(words.contains(package), "the first block does not install {package}");
    }
    let toolchain = read("rust-toolchain.toml");
    let version =
        toolchain.lines().find_map(|line| line.strip_prefix("channel = ")).expect("a channel").trim_matches('"');
    for text in [&walk.text, &workflow] {
        assert!(text.contains(&format!("--default-toolchain {version}")), "Rust {version} in {text}");
    }
    assert!(walk.text.contains("git clone ") && !walk.text.contains("~/tautan\n"), "the source is not in ~/tautan");
}
