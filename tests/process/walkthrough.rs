//! The commands of `docs/operations.md`, `docs/maintenance.md` and `docs/storage.md`, run as they stand there. A block that a test cannot run
//! is marked `sh by-hand: REASON`.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::Command,
    thread::sleep,
    time::{Duration, Instant},
};

use serde_json::Value;
use tautan_test_support::{DEADLINE, FencedBlock};

use crate::{
    shell::{Shell, document, section},
    stage::{NUMBER, Stage},
    watch::{Requests, Seen, Watch, Watched},
};

const OPERATIONS: &str = "docs/operations.md";
const MAINTENANCE: &str = "docs/maintenance.md";
const STORAGE: &str = "docs/storage.md";
const WALK: &str = "Two instances on one Redis behind Caddy";
const ERASE: &str = "Erase a tenant";
const UPGRADE: &str = "Upgrade";
const BACKUP: &str = "Backup of Redis";
const RESTORE: &str = "Restore of Redis";
const ENCRYPTION_KEY: &str = "Change the encryption key";
const TOKEN_KEY: &str = "Change the key of the tokens";
const KEY_SET: &str = "Key set";
const EMPTY_REDIS: &str = "Begin with an empty Redis";
const EMBEDDED: &str = "One instance with the embedded store";
const EMPTY_STORE: &str = "Begin with an empty store";
const STORE_BACKUP: &str = "Backup of the embedded store";
const STORE_RESTORE: &str = "Restore of the embedded store";
const STORE_KEY: &str = "Change the key of the embedded store";
const MOVE: &str = "Move from the embedded store to Redis";

/// The sections of maintenance that tests run. Each test runs the walk before.
const SECTIONS: [&str; 13] = [
    UPGRADE,
    BACKUP,
    RESTORE,
    ENCRYPTION_KEY,
    TOKEN_KEY,
    KEY_SET,
    EMPTY_REDIS,
    EMBEDDED,
    EMPTY_STORE,
    STORE_BACKUP,
    STORE_RESTORE,
    STORE_KEY,
    MOVE,
];
/// How many blocks there are that no test runs.
const BY_HAND: usize = 1;
/// Shorter than the documents' drain delay, where no stream is watched.
const QUICK: [(&str, &str); 1] = [("DELAY", "500ms")];

/// The walk up to the linked phone, without the block that ends everything.
fn walked(settings: &[(&str, &str)]) -> Option<(Shell, FencedBlock)> {
    let mut shell = Shell::start(settings)?;
    let mut blocks = section(OPERATIONS, WALK);
    let end = blocks.pop().expect("it has blocks");
    let printed: Vec<String> = blocks.iter().map(|block| shell.run(block)).collect();
    is_connected(printed.last().expect("it has blocks"));
    Some((shell, end))
}

/// The last status that was printed.
fn status(printed: &str) -> Value {
    let begin = printed.rfind("{\n").unwrap_or_else(|| panic!("a status is printed, and not {printed}"));
    serde_json::from_str(&printed[begin..]).unwrap_or_else(|error| panic!("{error}: {printed}"))
}

#[track_caller]
fn is_connected(printed: &str) {
    let status = status(printed);
    assert_eq!((&status["status"], &status["phoneNumber"]), (&"connected".into(), &NUMBER.into()), "{status}");
}

/// The arguments of a curl that asks for this path through Caddy.
fn curl(shell: &mut Shell, path: &str) -> Vec<String> {
    let root = shell.here().join("caddy/pki/authorities/local/root.crt").display().to_string();
    let header = shell.ask("echo \"authorization: Bearer $TOKEN\"");
    let url = shell.ask(&format!("echo \"https://localhost:$PORT/api/whatsapp/{path}\""));
    vec!["--cacert".to_owned(), root, "--header".to_owned(), header, url]
}

/// A page that is open.
fn page(shell: &mut Shell) -> Watch {
    let watch = Watch::start(curl(shell, "events"));
    watch.until_newest("connected", |seen| seen.data["status"] == "connected");
    watch
}

fn ids(watched: &Watched) -> BTreeSet<String> {
    watched.statuses.iter().filter_map(|seen| seen.id.clone()).collect()
}

fn is_new_link(seen: &Seen, known: &BTreeSet<String>) -> bool {
    seen.data["status"] == "connected" && seen.id.as_ref().is_some_and(|id| !known.contains(id))
}

/// A backup is restored under the page's open stream: the link resumes, and no event has the id of another one.
#[track_caller]
fn restore(shell: &mut Shell, backup: &str, restart: &str, restored: &str) {
    let page = page(shell);
    shell.run_section(MAINTENANCE, backup);
    let first = ids(&page.watched());
    shell.ask(&format!("{restart}; connected"));
    let given = ids(&page.until_newest("an event of after the backup", |seen| is_new_link(seen, &first)));
    is_connected(&shell.run_section(MAINTENANCE, restored));
    let newer = page.until_newest("an event of the restored store", |seen| is_new_link(seen, &given));
    let mut known = BTreeMap::new();
    for seen in newer.statuses {
        assert_ne!(seen.data["status"], "disconnected", "{seen:?}");
        // A status that is sent again has the id that it had.
        let (Some(id), what) = (seen.id, [&seen.data["status"], &seen.data["since"]].map(Value::clone)) else {
            continue;
        };
        let first = known.entry(id).or_insert(what.clone());
        assert_eq!(*first, what, "two events have one id");
    }
}

#[test]
fn walk_links_a_phone_and_an_upgrade_keeps_its_stream() {
    let Some((mut shell, end)) = walked(&[]) else { return };
    let page = page(&mut shell);
    let requests = Requests::start(curl(&mut shell, "status"));
    // To another program, and back.
    shell.ask("ln -s \"$PROGRAM\" next; NEW=$HERE/next");
    is_connected(&shell.run_section(MAINTENANCE, UPGRADE));
    let upgraded = shell.ask("readlink bin/tautan; unset NEW");
    assert!(upgraded.ends_with("/here/next"), "{upgraded}");
    is_connected(&shell.run_section(MAINTENANCE, UPGRADE));
    let (answered, failed) = requests.end();
    assert!(answered > 20 && failed.is_empty(), "{answered} were answered, and {failed:?} were not");
    let watched = page.until_newest("connected", |seen| seen.data["status"] == "connected");
    // Both instances were replaced twice, so the stream ended once at least.
    assert!(watched.opened > 1 && watched.refused == 0, "{watched:#?}");
    for seen in &watched.statuses {
        assert!(seen.data["status"] == "connected" || seen.data["status"] == "connecting", "{watched:#?}");
    }
    assert!(shell.run_section(STORAGE, ERASE).contains("erased"));
    page.until_newest("never-linked", |seen| seen.data["reason"] == "never-linked");
    drop(page);
    shell.run(&end);
}

#[test]
fn restored_redis_resumes_the_link_with_new_event_ids() {
    let Some((mut shell, _)) = walked(&QUICK) else { return };
    restore(&mut shell, BACKUP, "restart", RESTORE);
}

#[test]
#[ignore = "takes half a minute: `make long`"]
fn change_of_the_encryption_key_keeps_the_link() {
    let Some((mut shell, _)) = walked(&QUICK) else { return };
    let blocks = section(MAINTENANCE, ENCRYPTION_KEY);
    let [both_read, both_write, old_goes] = blocks.as_slice() else { panic!("three steps: {blocks:#?}") };
    shell.run(both_read);
    is_connected(&shell.ask("connected"));
    shell.run(both_write);
    is_connected(&shell.ask("connected"));
    let old_alone = "(with env -u TAUTAN_ENCRYPTION_KEY_PREVIOUS_FILE TAUTAN_ENCRYPTION_KEY_FILE=encryption.old \
                     tautan check) || echo refused";
    let refused = shell.ask(old_alone);
    assert!(refused.contains("encryption key") && refused.ends_with("refused"), "{refused}");
    is_connected(&shell.run(old_goes));
    assert!(!shell.here().join("encryption.old").exists());
}

#[test]
#[ignore = "takes half a minute: `make long`"]
fn change_of_the_token_key_accepts_old_tokens_until_the_end() {
    let Some((mut shell, _)) = walked(&QUICK) else { return };
    let code = "api status | jq -r '.code // .status' || true";
    let with = |token: &str| format!("TOKEN={token}; {code}");
    let old = shell.ask("echo \"$TOKEN\"");
    let blocks = section(MAINTENANCE, TOKEN_KEY);
    let [both, new_alone] = blocks.as_slice() else { panic!("two steps: {blocks:#?}") };
    shell.run(both);
    let new = shell.ask("echo \"$TOKEN\"");
    assert_ne!(old, new);
    shell.run(new_alone);
    assert_eq!(shell.ask(&with(&new)), "connected");
    assert!(shell.ask(&with(&old)).ends_with("wrong-signature"), "the old secret's token");

    shell.run_section(MAINTENANCE, KEY_SET);
    let second = shell.ask("echo \"$TOKEN\"");
    let until_refused =
        "TOKEN=$(sign first); while api status; do sleep 0.5; done 2> /dev/null | tail -n 1; api status || true";
    assert!(shell.ask(until_refused).contains("unknown-key"), "the first key is published no more");
    assert_eq!(shell.ask(&with(&second)), "connected");
}

#[test]
#[ignore = "takes half a minute: `make long`"]
fn embedded_store_is_restored_sealed_anew_and_moved() {
    let Some((mut shell, end)) = walked(&QUICK) else { return };
    for heading in [EMPTY_REDIS, EMBEDDED, EMPTY_STORE] {
        let printed = shell.run_section(MAINTENANCE, heading);
        assert!(printed.contains("\"never-linked\""), "{heading}: {printed}");
        is_connected(&printed);
    }
    restore(&mut shell, STORE_BACKUP, "stop \"$FIRST\"; start \"$FIRST\"", STORE_RESTORE);
    is_connected(&shell.run_section(MAINTENANCE, STORE_KEY));
    assert!(!shell.here().join("data/encryption.key").exists());
    let page = page(&mut shell);
    is_connected(&shell.run_section(MAINTENANCE, MOVE));
    drop(page);
    shell.run(&end);
}

/// The commands of the README, with the link that local mode prints and the address that is free here.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readme_links_an_account_with_curl() {
    let stage = Stage::new().await;
    let mut program = stage.settings().with("JWT_SECRET", "").start();
    let line = program.wait_for_line("/local/sign-in");
    let link = line.split_whitespace().find(|word| word.contains("/local/sign-in")).expect("it is a word");
    let blocks = FencedBlock::all("README.md", &document("README.md"));
    let block = blocks.iter().find(|block| block.heading == "With curl").expect("the README has it");
    let text = block.text.replace("http://127.0.0.1:8080/local/sign-in?code=…", link);
    let text = text.replace("http://127.0.0.1:8080", program.base());
    let directory = tempfile::tempdir().expect("a directory");
    let until_printed = |command: &str, expected: &str| {
        let until = Instant::now() + DEADLINE;
        loop {
            let bash =
                Command::new("bash").args(["-euc", command]).current_dir(&directory).output().expect("bash runs");
            let printed = String::from_utf8_lossy(&bash.stdout);
            if printed.contains(expected) {
                return;
            }
            assert!(Instant::now() < until, "{command} prints {printed:?}, without {expected:?}");
            sleep(Duration::from_millis(50));
        }
    };
    let commands: Vec<&str> =
        text.lines().map(|line| line.strip_prefix("$ ").expect("every line is a command")).collect();
    let [sign_in, connect, qr, events, status, disconnect] = commands[..] else { panic!("six commands: {text}") };
    until_printed(sign_in, "");
    until_printed(connect, "\"connecting\"");
    until_printed(qr, "█");
    // A stream has no end.
    until_printed(&events.replacen("curl", "timeout 1 curl", 1), "event: qr-code");
    until_printed(status, "\"qr_pending\"");
    until_printed(disconnect, "\"status\"");
    until_printed(status, "\"cancelled\"");
}

/// No block slips away: each is run by a test above, or is marked.
#[test]
fn every_block_is_run_or_marked_as_run_by_hand() {
    let (mut ran, mut by_hand) = (0, Vec::new());
    for path in [OPERATIONS, MAINTENANCE, STORAGE] {
        for block in FencedBlock::all(path, &document(path)) {
            let place = format!("{path}:{}", block.line);
            if let Some(reason) = block.info.strip_prefix("sh by-hand: ") {
                by_hand.push(format!("{place}: {reason}"));
            } else if block.info == "sh" {
                let is_run = match path {
                    OPERATIONS => block.heading == WALK,
                    STORAGE => block.heading == ERASE,
                    _ => SECTIONS.contains(&block.heading.as_str()),
                };
                assert!(is_run, "no test runs the commands in {place}, below {:?}", block.heading);
                ran += 1;
            }
        }
    }
    println!("{ran} blocks are run by tests, {} are not: {by_hand:#?}", by_hand.len());
    assert_eq!(by_hand.len(), BY_HAND, "{by_hand:#?}");
    assert!(ran > 20, "the blocks were read: {ran}");
}
