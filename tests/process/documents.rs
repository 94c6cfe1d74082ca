//! `/openapi.json` and `/asyncapi.json`, held against their standards, against the types that users import, and against
//! the running service, both of its listeners.

use std::{fs, path::Path, process::Command};

use serde_json::Value;
use tautan_test_support::{npm_packages, pip_packages, token};

use crate::{
    admin::with_admin,
    stage::{Stage, TENANT},
};

const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/documents");

fn target() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
}

fn runs(command: &mut Command) {
    let ran = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let (out, err) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert!(ran.status.success(), "{command:?} failed:\n{out}\n{err}");
}

/// The events of the stream's document, as a type: the data of each by its name.
fn events(asyncapi: &Path) -> String {
    let document: Value = serde_json::from_slice(&fs::read(asyncapi).expect("a document")).expect("JSON");
    let messages = document["components"]["messages"].as_object().expect("the events");
    let fields = messages.iter().map(|(name, message)| {
        let schema = message["payload"]["$ref"].as_str().and_then(|path| path.rsplit('/').next());
        format!("  '{name}': components['schemas']['{}'];\n", schema.expect("a schema"))
    });
    let fields: String = fields.collect();
    format!("import type {{ components }} from './openapi';\nexport interface Described {{\n{fields}}}\n")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn documents_are_valid_and_match_the_types() {
    let Some(packages) = npm_packages(Path::new(SOURCE), &target().join("documents-npm")) else { return };
    let stage = Stage::new().await;
    let program = stage.settings().with("TAUTAN_PUBLIC_URL", "https://wa.tautan.test").start();
    for name in ["openapi.json", "asyncapi.json"] {
        let answer = reqwest::get(format!("{}/{name}", program.base())).await.expect("it answers");
        assert_eq!(answer.headers()["content-type"], "application/json");
        fs::write(packages.join(name), answer.bytes().await.expect("a document")).expect("it can be written");
    }
    fs::write(packages.join("events.d.ts"), events(&packages.join("asyncapi.json"))).expect("it can be written");
    for name in ["lint.mjs", "equal.ts"] {
        fs::copy(Path::new(SOURCE).join(name), packages.join(name)).expect("it can be copied");
    }
    let types = Path::new(env!("CARGO_MANIFEST_DIR")).join("static/api.d.ts");
    fs::copy(types, packages.join("api.d.ts")).expect("it can be copied");
    runs(Command::new("node").args(["lint.mjs", "openapi.json", "asyncapi.json"]).current_dir(&packages));
    let generated = ["node_modules/.bin/openapi-typescript", "openapi.json", "--output", "openapi.d.ts"];
    runs(Command::new("node").args(generated).current_dir(&packages));
    let compiled =
        ["node_modules/.bin/tsc", "--noEmit", "--strict", "--moduleResolution", "bundler", "--module", "esnext"];
    runs(Command::new("node").args(compiled).arg("equal.ts").current_dir(&packages));
}

/// Requests that a generator makes of the document: no answer is one that the document does not describe.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "it takes minutes; `make long` runs it"]
async fn schemathesis_finds_nothing() {
    let Some(python) = pip_packages(Path::new(SOURCE), &target().join("documents-pip")) else { return };
    let stage = Stage::new().await;
    let program = with_admin(stage.settings().with("TAUTAN_LIMIT_COMMANDS", "1000/s")).start();
    let (admin, document) = (program.admin(), format!("{}/openapi.json", program.base()));
    let listeners = [
        ("--exclude-tag", program.base().to_owned(), token(TENANT)),
        ("--include-tag", format!("http://{}", admin.address()), admin.token().to_owned()),
    ];
    for (which, base, token) in listeners {
        let mut command = Command::new(&python);
        command.args(["-m", "schemathesis.cli", "--config-file", &format!("{SOURCE}/schemathesis.toml")]);
        command.args(["run", &document, "--url", &base, which, "admin"]);
        command.args(["--header", &format!("Authorization: Bearer {token}")]);
        command.args(["--max-examples", "200", "--request-timeout", "30"]);
        // It leaves a folder where it runs.
        runs(command.current_dir(target()));
    }
}
